"""The faults: what providers and networks really do, each as a small function over an `Exchange`.

What a good client makes of each is written beside it: an answer (from the same target or a fallback) or an error that
says what is wrong, and how many requests the faulty target may get on the way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodkit.testing.exchange import Exchange

Kind = Literal["status", "connection", "body", "stream"]
FOREVER = 3600.0
_UP_TO_TEXT = {False: 2, True: 3}  # OpenAI sends the role first, Anthropic the message and the block


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a provider fails.

    Attributes:
        name: how it is injected.
        kind: what is wrong: the status, the connection, the body, or the stream.
        what: one line for a report.
        expect: what a good client with a fallback gives its user: `answer`, `refused` (the provider's own error, at
            once) or `filtered` (said, and not tried elsewhere unless asked for).
        most_requests: how many requests the faulty target may get for one call.
        times: how many requests it spoils; None: all.
        play: what the server does; None for faults that lie in the address.
        address: `tls`, `dns` or `refused` for faults that lie in the address.
    """

    name: str
    kind: Kind
    what: str
    expect: Literal["answer", "refused", "filtered"]
    most_requests: int
    times: int | None
    play: Callable[[Exchange], Awaitable[None]] | None
    address: Literal["", "tls", "dns", "refused"] = ""


FAULTS: dict[str, Fault] = {}
"""All faults by name."""


def _fault(
    name: str,
    kind: Kind,
    what: str,
    most_requests: int,
    *,
    expect: Literal["answer", "refused", "filtered"] = "answer",
    times: int | None = None,
) -> Callable[[Callable[[Exchange], Awaitable[None]]], Callable[[Exchange], Awaitable[None]]]:
    def register(play: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Awaitable[None]]:
        FAULTS[name] = Fault(name, kind, what, expect, most_requests, times, play)
        return play

    return register


# ---------------------------------------------------------------------------------------------------- statuses


def _status(name: str, status: int, kind: str, what: str, most: int, **options: Any) -> None:
    code = options.pop("code", None)

    @_fault(name, "status", what, most, **options)
    async def play(exchange: Exchange) -> None:
        await exchange.error(status, kind, code=code)


_status("503-once", 503, "server_error", "503 once, then well", 2, times=1)
_status("503", 503, "server_error", "503 for every request", 3)
_status("500", 500, "server_error", "500 for every request", 3)
_status("502", 502, "server_error", "502 from a proxy in front", 3)
_status("529", 529, "overloaded_error", "529, Anthropic's sign of overload", 3)
_status("408", 408, "timeout_error", "408, the provider gave up waiting", 3)
_status("409", 409, "conflict_error", "409, a lock at the provider", 3)
_status("402", 402, "billing_error", "402, no credit left", 1)
_status("quota", 429, "insufficient_quota", "429 that means: no credit left", 1, code="insufficient_quota")
_status("400", 400, "invalid_request_error", "400, the request is wrong", 1, expect="refused")
_status("401", 401, "authentication_error", "401, the key is wrong", 1, expect="refused")
_status("403", 403, "permission_error", "403, the key may not do this", 1, expect="refused")
_status("404", 404, "not_found_error", "404, there is no such model", 1, expect="refused")
_status("422", 422, "invalid_request_error", "422, a value is out of range", 1, expect="refused")
_status(
    "filtered-400",
    400,
    "invalid_request_error",
    "400 from the content filter",
    1,
    expect="filtered",
    code="content_filter",
)


@_fault("429-1s", "status", "429 once with Retry-After: 1", 2, times=1)
async def _throttled(exchange: Exchange) -> None:
    await exchange.error(429, "rate_limit_error", {"retry-after": f"{exchange.scale:g}"})


@_fault("429-60s", "status", "429 with Retry-After: 60", 1)
async def _throttled_long(exchange: Exchange) -> None:
    await exchange.error(429, "rate_limit_error", {"retry-after": "60"})


@_fault("429-date", "status", "429 once with a date one second ahead", 2, times=1)
async def _throttled_date(exchange: Exchange) -> None:
    # dates know whole seconds only, so the wait is between one and two of them
    await exchange.error(429, "rate_limit_error", {"retry-after": exchange.date(1.0)})


@_fault("429-skewed-date", "status", "429 once with a date, by a clock that is an hour ahead", 2, times=1)
async def _throttled_skewed(exchange: Exchange) -> None:
    exchange.skew = 3600.0
    await exchange.error(429, "rate_limit_error", {"retry-after": exchange.date(1.0)})


@_fault("429-bad-date", "status", "429 once with a Retry-After that is nonsense", 2, times=1)
async def _throttled_nonsense(exchange: Exchange) -> None:
    await exchange.error(429, "rate_limit_error", {"retry-after": "soon"})


# -------------------------------------------------------------------------------------------------- connection


@_fault("hang", "connection", "no answer at all", 1)
async def _hang(exchange: Exchange) -> None:
    await exchange.wait(FOREVER)


@_fault("reset-once", "connection", "the connection is reset once, then well", 2, times=1)
async def _reset_once(exchange: Exchange) -> None:
    exchange.reset()


@_fault("reset", "connection", "every connection is reset", 3)
async def _reset(exchange: Exchange) -> None:
    exchange.reset()


@_fault("closed", "connection", "the connection is closed without an answer", 3)
async def _closed(exchange: Exchange) -> None:
    exchange.writer.close()


@_fault("slow-head", "connection", "the head of the answer trickles in, a byte at a time", 1)
async def _slow_head(exchange: Exchange) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nx-padding: " + b"." * 10_000:
        await exchange.write(bytes([byte]))
        await exchange.wait(0.1)


for _name, _address, _what in (
    ("tls-reset", "tls", "the connection is reset in the TLS handshake"),
    ("dns", "dns", "the host's name can't be resolved"),
    ("refused", "refused", "nobody listens at the port"),
):
    # a fault of the address never reaches the server, so there is nothing to count
    FAULTS[_name] = Fault(_name, "connection", _what, "answer", 3, None, None, _address)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ bodies


@_fault("html", "body", "200 with an HTML page of a proxy", 1)
async def _html(exchange: Exchange) -> None:
    page = b"<html><body><h1>Service is being updated</h1></body></html>"
    await exchange.send(200, page, {"content-type": "text/html"})


@_fault("broken-json", "body", "200 with half of a JSON object", 1)
async def _broken(exchange: Exchange) -> None:
    half = json.dumps(exchange.good()).encode()
    await exchange.send(200, half[: len(half) // 2], {"content-type": "application/json"})


@_fault("no-body", "body", "200 with nothing in it", 1)
async def _no_body(exchange: Exchange) -> None:
    await exchange.send(200, b"", {"content-type": "application/json"})


@_fault("no-choices", "body", "200 with an empty list of answers", 1)
async def _no_choices(exchange: Exchange) -> None:
    await exchange.json(200, exchange.good() | ({"content": []} if exchange.anthropic else {"choices": []}))


@_fault("empty", "body", "200 with an empty text", 1)
async def _empty(exchange: Exchange) -> None:
    await exchange.json(200, _with_text(exchange.good(), ""))


@_fault("truncated", "body", "200 with a text that the provider has cut off", 1)
async def _truncated(exchange: Exchange) -> None:
    await exchange.json(200, _with_finish(exchange.good(), "length", None))


@_fault("filtered-200", "body", "200, but the content filter took the text away", 1, expect="filtered")
async def _filtered(exchange: Exchange) -> None:
    await exchange.json(200, _with_finish(_with_text(exchange.good(), ""), "content_filter", "refusal"))


@_fault("wrong-length", "body", "a Content-Length that is longer than the body", 3)
async def _wrong_length(exchange: Exchange) -> None:
    body = json.dumps(exchange.good()).encode()
    await exchange.send(200, body, {"content-type": "application/json", "connection": "close"}, length=len(body) + 100)
    exchange.writer.close()


@_fault("short-length", "body", "a Content-Length that cuts the body off", 1)
async def _short_length(exchange: Exchange) -> None:
    body = json.dumps(exchange.good()).encode()
    await exchange.send(200, body, {"content-type": "application/json", "connection": "close"}, length=len(body) // 2)
    exchange.writer.close()


@_fault("bad-gzip", "body", "a body that says it is compressed, and isn't", 1)
async def _bad_gzip(exchange: Exchange) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    await exchange.send(200, json.dumps(exchange.good()).encode(), headers)


@_fault("trickle", "body", "a body that trickles in, a byte at a time", 1)
async def _trickle(exchange: Exchange) -> None:
    body = json.dumps(exchange.good()).encode() + b" " * 10_000
    await exchange.send(200, b"", {"content-type": "application/json"}, length=len(body))
    for byte in body:
        await exchange.write(bytes([byte]))
        await exchange.wait(0.1)


# ----------------------------------------------------------------------------------------------------- streams


@_fault("stream-dead", "stream", "the stream is cut before its first byte", 3)
async def _stream_dead(exchange: Exchange) -> None:
    await exchange.begin_stream()
    exchange.reset()


@_fault("stream-cut", "stream", "the stream is cut in the middle", 3)
async def _stream_cut(exchange: Exchange) -> None:
    await _half(exchange)
    exchange.reset()


@_fault("stream-no-end", "stream", "the stream ends in the middle as if that were its end", 3)
async def _stream_no_end(exchange: Exchange) -> None:
    await _half(exchange)
    await exchange.end_stream()


@_fault("stream-empty", "stream", "a stream without a single piece", 3)
async def _stream_empty(exchange: Exchange) -> None:
    await exchange.stream([])


@_fault("stream-stall", "stream", "the stream falls silent in the middle", 1)
async def _stream_stall(exchange: Exchange) -> None:
    await _half(exchange)
    await exchange.wait(FOREVER)


@_fault("stream-silent", "stream", "the stream begins with nothing but keep-alives", 1)
async def _stream_silent(exchange: Exchange) -> None:
    await exchange.begin_stream()
    while True:
        await exchange.piece(b": keep-alive\n\n")
        await exchange.wait(0.2)


@_fault("stream-error", "stream", "an error event in the middle of the stream", 3)
async def _stream_error(exchange: Exchange) -> None:
    await _half(exchange)
    if exchange.anthropic:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "injected fault"}}
        await exchange.piece(f"event: error\ndata: {json.dumps(error)}\n\n".encode())
    else:
        error = {"error": {"message": "injected fault", "type": "server_error", "code": "server_error"}}
        await exchange.piece(f"data: {json.dumps(error)}\n\n".encode())
    await exchange.end_stream()


@_fault("stream-garbage", "stream", "an event in the middle of the stream isn't JSON", 1)
async def _stream_garbage(exchange: Exchange) -> None:
    await _half(exchange)
    await exchange.piece(b'event: content_block_delta\ndata: {"choices": [{"del\n\n')
    await exchange.end_stream()


async def _half(exchange: Exchange) -> None:
    """The beginning of the good stream, up to the first piece of its text."""
    await exchange.begin_stream()
    for event in exchange.events()[: _UP_TO_TEXT[exchange.anthropic]]:
        await exchange.piece(event)


def _with_text(body: dict[str, Any], text: str) -> dict[str, Any]:
    if "choices" in body:
        body["choices"][0]["message"]["content"] = text
    elif "content" in body:
        body["content"][0]["text"] = text
    return body


def _with_finish(body: dict[str, Any], openai: str, anthropic: str | None) -> dict[str, Any]:
    if "choices" in body:
        body["choices"][0]["finish_reason"] = openai
    elif "content" in body:
        body["stop_reason"] = anthropic
    return body
