"""The guard around the SDKs' own requests, below MLflow's span: kill switch, budget, resilience, settlement.

The user's code isn't changed. What a call is, is read from the SDK's request; where no run is open, the guard steps
aside.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from prodkit.capture import payload, sdks
from prodkit.capture.admission import admit
from prodkit.capture.calls import Call
from prodkit.capture.context import current_run, current_stamp
from prodkit.capture.sending import Sender, policy_of
from prodkit.capture.streams import AsyncStreamReader, StreamReader
from prodkit.resilience import abegin_stream, arun_call, arun_stream, begin_stream, run_call, run_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.capture.runs import OpenRun


class _Guard:
    placed = False


def place() -> None:
    """Put the guard around openai and anthropic, now or when they are imported. Once per process."""
    if not _Guard.placed:
        _Guard.placed = True
        sdks.patch(_request, _arequest)


def _request(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    call = _begin(client, args, kwargs)
    if call is None:
        return wrapped(*args, **kwargs)
    try:
        call.admission = admit(call)
        sender, policy = Sender(call, wrapped, client, args, kwargs), policy_of(call.run.project)
        if policy is None:
            return _receive(call, sender, sender.bare())
        if call.streamed:
            pieces = begin_stream(run_stream(policy, sender.as_call(sender.open_stream, stream=True)))
            return _read_along(call, sender, pieces)
        return _receive(call, sender, sender.settle(run_call(policy, sender.as_call(sender.attempt, stream=False))))
    except BaseException as error:
        call.fail(error)
        raise


async def _arequest(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    call = _begin(client, args, kwargs)
    if call is None:
        return await wrapped(*args, **kwargs)
    try:
        call.admission = admit(call)
        sender, policy = Sender(call, wrapped, client, args, kwargs), policy_of(call.run.project)
        if policy is None:
            return _receive(call, sender, await sender.bare())
        if call.streamed:
            pieces = await abegin_stream(arun_stream(policy, sender.as_call(sender.aopen_stream, stream=True)))
            return _read_along(call, sender, pieces)
        served = await arun_call(policy, sender.as_call(sender.attempt, stream=False))
        return _receive(call, sender, sender.settle(served))
    except BaseException as error:
        call.fail(error)
        raise


def _begin(client: Any, args: Any, kwargs: Any) -> Call | None:
    """The call that this request is; None where it costs nothing or no run is open."""
    run = current_run()
    options = sdks.options_of(args, kwargs)
    kind = sdks.kind_of(options) if run is not None else ""
    if run is None or not kind:
        return None
    body = sdks.body_of(options)
    provider, known = _provider(run, client, body)
    call = Call(run, current_stamp().over(run.stamp), provider, body, known_host=known)
    call.streamed = bool(body.get("stream"))
    call.simulated = sdks.is_simulated(client)
    call.attach(kind)
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
    answer = sdks.parsed(result)
    if sdks.is_stream(answer):
        call.streamed = True
        sender.first = result
        return _read_along(call, sender, sdks.iterator_of(answer))
    if payload.is_raw(answer):
        call.unread()
    else:
        call.answered(answer)
    return result


def _read_along(call: Call, sender: Sender, pieces: Any) -> Any:
    """Put the pieces into the stream that the SDK gave, past a reader of ours."""
    awaited = hasattr(pieces, "__anext__")
    result = sender.first
    if result is None:  # the last resort, after no server has sent a stream
        result = sdks.empty_stream(sender.client, asynchronous=awaited)
    kind = AsyncStreamReader if awaited else StreamReader
    reader = kind(pieces, call, hide_usage=sender.asks_usage)
    call.reader = weakref.ref(reader)
    sdks.replace_iterator(sdks.parsed(result), reader)
    return result
