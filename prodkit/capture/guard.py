"""The guard around the SDKs' own requests, below MLflow's span: kill switch, budget, resilience, settlement.

The user's code isn't changed. What a call is, is read from the SDK's request; where no run is
open, the guard steps aside.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from prodkit.capture import payload, sdks
from prodkit.capture.admission import admit
from prodkit.capture.calls import Call
from prodkit.capture.context import current_run, current_stamp
from prodkit.capture.streams import AsyncStreamReader, StreamReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.capture.runs import OpenRun

_USAGE = {"include_usage": True}


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
        args, kwargs, hidden = _prepare(call, args, kwargs)
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        call.fail(error)
        raise
    return _receive(call, result, hide_usage=hidden)


async def _arequest(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    call = _begin(client, args, kwargs)
    if call is None:
        return await wrapped(*args, **kwargs)
    try:
        call.admission = admit(call)
        args, kwargs, hidden = _prepare(call, args, kwargs)
        result = await wrapped(*args, **kwargs)
    except BaseException as error:
        call.fail(error)
        raise
    return _receive(call, result, hide_usage=hidden)


def _begin(client: Any, args: Any, kwargs: Any) -> Call | None:
    """The call that this request is; None where it costs nothing or no run is open."""
    run = current_run()
    options = sdks.options_of(args, kwargs)
    kind = sdks.kind_of(options) if run is not None else ""
    if run is None or not kind:
        return None
    host = sdks.host_of(client)
    body = sdks.body_of(options)
    provider, known = _provider(run, client, host, body)
    call = Call(run, current_stamp().over(run.stamp), provider, body, known_host=known)
    call.streamed = bool(body.get("stream"))
    call.attach(kind)
    return call


def _provider(run: OpenRun, client: Any, host: str, body: dict[str, Any]) -> tuple[str, bool]:
    """The provider, and whether it is certain: by the manifest, or by the host."""
    named = run.manifest.model_named(str(body.get("model") or ""))
    if named is not None:
        return named.provider, True
    known = sdks.provider_of(host)
    return known or sdks.sdk_of(client), bool(known)


def _prepare(call: Call, args: Any, kwargs: Any) -> tuple[Any, dict[str, Any], bool]:
    """The request as it is sent: a stream of chat completions is asked for its usage, which vendors send on request."""
    options = sdks.options_of(args, kwargs)
    chat = str(options.url).rstrip("/").endswith("/completions")
    hidden = chat and call.streamed and not (call.body.get("stream_options") or {}).get("include_usage")
    if hidden:
        asked = {**call.body, "stream_options": {**(call.body.get("stream_options") or {}), **_USAGE}}
        args, kwargs = sdks.with_options(args, kwargs, sdks.changed(options, body=asked))
    return args, kwargs, hidden


def _receive(call: Call, result: Any, *, hide_usage: bool) -> Any:
    """Read the answer, or read along with its stream; the caller gets what the SDK gave."""
    answer = sdks.parsed(result)
    if sdks.is_stream(answer):
        call.streamed = True
        kind = AsyncStreamReader if sdks.is_async_stream(answer) else StreamReader
        call.reader = weakref.ref(
            sdks.replace_iterator(answer, lambda source: kind(source, call, hide_usage=hide_usage))
        )
    elif payload.is_raw(answer):
        call.unread()
    else:
        call.answered(answer)
    return result
