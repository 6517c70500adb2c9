"""The guard around the SDKs' own requests, below MLflow's span: kill switch, budget, resilience, settlement.

The user's code isn't changed. What a call is, is read from the SDK's request; where no run is open, the guard steps
aside.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from prodkit.capture import cache, layers, leaf, payload, replay, sdks
from prodkit.capture.admission import aadmit, admit, check_kill_switch
from prodkit.capture.calls import Call
from prodkit.capture.context import current_run, current_stamp, within_call
from prodkit.capture.sending import Sender, policy_of
from prodkit.capture.streams import AsyncStreamReader, StreamReader
from prodkit.resilience import abegin_stream, arun_call, arun_stream, begin_stream, run_call, run_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.capture.runs import OpenRun


class _Guard:
    placed = False


def place() -> None:
    """Put the guard around openai, anthropic and litellm, now or when they are imported. Once per process."""
    from prodkit.capture import litellm_guard

    if not _Guard.placed:
        _Guard.placed = True
        sdks.patch(_request, _arequest)
        litellm_guard.patch()


def _request(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    args, kwargs = _as_variant(args, kwargs)
    call = _begin(client, args, kwargs)
    return wrapped(*args, **kwargs) if call is None else conduct(call, Sender, wrapped, client, args, kwargs)


async def _arequest(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    args, kwargs = _as_variant(args, kwargs)
    call = _begin(client, args, kwargs)
    return await (wrapped(*args, **kwargs) if call is None else aconduct(call, Sender, wrapped, client, args, kwargs))


def conduct(call: Call, make: type[Sender], *parts: Any) -> Any:
    """Let a call pass: admit it, send it under the policy, read its answer. Gives what the SDK's line expects."""
    try:
        sender, policy = make(call, *parts), policy_of(call.run.project)
        if policy is not None:
            layers.look_around(call)
        check_kill_switch(call.run)
        if (kept := replay.find(call)) is not None:
            return _receive(call, sender, sender.rebuild(kept.content))
        call.admission = admit(call)
        if policy is None:
            return _receive(call, sender, sender.bare())
        if call.streamed:
            told = sender.as_call(sender.open_stream, stream=True)
            pieces = begin_stream(run_stream(policy, told, commit=sender.commit(policy)))
            return _read_along(call, sender, pieces)
        return _receive(call, sender, sender.settle(run_call(policy, sender.as_call(sender.attempt, stream=False))))
    except BaseException as error:
        layers.remember(call)
        call.fail(error)
        raise


async def aconduct(call: Call, make: type[Sender], *parts: Any) -> Any:
    """`conduct` for an async client."""
    try:
        sender, policy = make(call, *parts), policy_of(call.run.project)
        if policy is not None:
            layers.look_around(call)
        check_kill_switch(call.run)
        if (kept := replay.find(call)) is not None:
            return _receive(call, sender, await sender.rebuild(kept.content))
        call.admission = await aadmit(call)
        if policy is None:
            return _receive(call, sender, await sender.bare())
        if call.streamed:
            told = sender.as_call(sender.aopen_stream, stream=True)
            pieces = await abegin_stream(arun_stream(policy, told, commit=sender.commit(policy)))
            return _read_along(call, sender, pieces)
        served = await arun_call(policy, sender.as_call(sender.attempt, stream=False))
        return _receive(call, sender, sender.settle(served))
    except BaseException as error:
        layers.remember(call)
        call.fail(error)
        raise


def _as_variant(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The request with the model of the comparison's variant that is running."""
    run = current_run()
    stead = run.stead if run is not None and not within_call() else None
    if stead is None or not stead.variant.model:
        return args, kwargs
    options = sdks.options_of(args, kwargs)
    if not sdks.kind_of(options) or not sdks.is_text(options):
        return args, kwargs
    body = {**sdks.body_of(options), "model": stead.variant.model}
    return sdks.with_options(args, kwargs, sdks.changed(options, body=body))


def _begin(client: Any, args: Any, kwargs: Any) -> Call | None:
    """The call that this request is; None where it costs nothing, no run is open, or it is part of a guarded call."""
    run = None if within_call() else current_run()
    options = sdks.options_of(args, kwargs)
    kind = sdks.kind_of(options) if run is not None else ""
    if run is None or not kind:
        if replay.is_on() and sdks.kind_of(options) and not within_call():
            raise replay.missing(run)  # nothing knows this call, and nothing may be sent
        return None
    body = sdks.body_of(options)
    provider, known = _provider(run, client, body)
    call = Call(run, current_stamp().over(run.stamp), provider, body, known_host=known)
    call.uploads = sdks.uploads_of(options)
    call.streamed = bool(body.get("stream"))
    call.simulated = sdks.is_simulated(client)
    call.address = sdks.address_of(client, options)
    call.attach(kind, leaf.name_of(sdks.path_of(options), asynchronous=sdks.is_async(client)))
    if run.manifest.resilience.enabled:
        layers.look_below(client, call)
    return call


def _provider(run: OpenRun, client: Any, body: dict[str, Any]) -> tuple[str, bool]:
    """The provider, and whether it is certain: by the manifest, or by the host."""
    named = run.manifest.model_named(str(body.get("model") or ""))
    if named is not None:
        return named.provider, True
    known = sdks.provider_of(sdks.host_of(client))
    return known or sdks.sdk_of(client), bool(known)


def _receive(call: Call, sender: Sender, result: Any) -> Any:
    """Read the answer, or read along with its stream; the caller gets what the SDK gave."""
    answer = sender.answer(result)
    if sender.is_stream(answer):
        call.streamed = True
        return _read_along(call, sender, sender.chunks(result))
    if made := payload.sound(answer):
        call.answered(made)
    elif payload.is_raw(answer):
        call.unread()
    else:
        if (call.question is not None or cache.wanted(call)) and sender.validate(result) is None:
            content = payload.wire(answer)
            replay.keep(call, content)
            cache.keep(call, content)
        call.answered(answer)
    return result


def _read_along(call: Call, sender: Sender, pieces: Any) -> Any:
    """Put the pieces into the stream that the SDK gave, past a reader of ours."""
    kind = AsyncStreamReader if hasattr(pieces, "__anext__") else StreamReader
    reader = kind(pieces, call, hide_usage=sender.asks_usage)
    keeps = (call.question is not None or cache.wanted(call)) and not call.unpaid
    reader.heard.chunks = [] if keeps else None
    call.reader = weakref.ref(reader)
    return sender.deliver(reader)
