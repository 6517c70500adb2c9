"""One request and what is sent back, byte by byte: the fault server's hands. Breaking HTTP needs no HTTP library."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prodkit.testing import wire

if TYPE_CHECKING:
    from collections.abc import Iterable

_REASONS = {200: "OK", 400: "Bad Request", 429: "Too Many Requests", 503: "Service Unavailable"}


@dataclass
class Exchange:
    """A request that has been read, and the ways to answer it.

    Attributes:
        scale: by how much the durations of faults are multiplied.
        skew: seconds by which the server's clock is wrong.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    scale: float = 1.0
    skew: float = 0.0

    @property
    def anthropic(self) -> bool:
        """Whether the request is shaped for Anthropic."""
        return self.path.endswith("/messages")

    @property
    def model(self) -> str:
        """The model that is asked for."""
        return str(self.body.get("model", ""))

    async def read(self, begun: bytes = b"") -> bool:
        """Read a request of which `begun` is already here; False when the client has closed the connection."""
        try:
            head = begun + await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        self.path = first.split(" ")[1].split("?")[0]
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        length = int(self.headers.get("content-length", 0))
        raw = await self.reader.readexactly(length) if length else b""
        self.body = json.loads(raw) if raw else {}
        return True

    # ------------------------------------------------------------------------------------------ whole answers

    def good(self) -> dict[str, Any]:
        """The answer that a well provider would give, as JSON."""
        if self.anthropic:
            return wire.message(wire.messages_reply(self.body, 0, self.number))
        if self.path.endswith("/embeddings"):
            return wire.embeddings(self.body)
        if self.path.endswith("/models"):
            return wire.model_list()
        return wire.chat_completion(wire.chat_reply(self.body, 0, self.number), int(time.time()))

    def events(self) -> list[bytes]:
        """The pieces of the stream that a well provider would send."""
        if self.anthropic:
            events = wire.message_events(wire.messages_reply(self.body, 0, self.number))
            return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
        reply = wire.chat_reply(self.body, 0, self.number)
        usage = bool((self.body.get("stream_options") or {}).get("include_usage"))
        chunks = wire.chat_chunks(reply, int(time.time()), include_usage=usage)
        return [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n"]

    async def answer(self) -> None:
        """Answer well."""
        if self.body.get("stream"):
            await self.stream(self.events())
        else:
            await self.json(200, self.good())

    async def json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        """Send a JSON body."""
        await self.send(status, json.dumps(value).encode(), {"content-type": "application/json", **(headers or {})})

    async def error(
        self, status: int, kind: str, headers: dict[str, str] | None = None, *, code: str | None = None
    ) -> None:
        """Send an error in the provider's shape."""
        message = f"injected fault: {kind}"
        body = wire.anthropic_error(message, kind) if self.anthropic else wire.openai_error(message, kind, code)
        await self.json(status, body, headers)

    async def send(self, status: int, body: bytes, headers: dict[str, str], *, length: int | None = None) -> None:
        """Send a response with a body; `length` lies about it."""
        await self.write(
            self._head(status, {**headers, "content-length": str(len(body) if length is None else length)})
        )
        await self.write(body)

    # ----------------------------------------------------------------------------------------------- streams

    async def begin_stream(self) -> None:
        """Send the head of a stream of server-sent events."""
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked", "cache-control": "no-cache"}
        await self.write(self._head(200, headers))

    async def piece(self, data: bytes) -> None:
        """Send one piece of a stream."""
        await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_stream(self) -> None:
        """End a stream as HTTP wants it."""
        await self.write(b"0\r\n\r\n")

    async def stream(self, pieces: Iterable[bytes]) -> None:
        """Send a whole stream."""
        await self.begin_stream()
        for piece in pieces:
            await self.piece(piece)
        await self.end_stream()

    # ------------------------------------------------------------------------------------------- misbehaviour

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Tear the connection down with a RST, losing what is on its way."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait(self, seconds: float) -> None:
        """Do nothing for so many seconds, scaled; ends early when the client has left."""
        until = time.monotonic() + seconds * self.scale
        while (left := until - time.monotonic()) > 0:
            if self.reader.at_eof() or self.writer.is_closing():
                raise ConnectionResetError("the client has left")
            await asyncio.sleep(min(left, 0.05))

    def date(self, ahead: float = 0.0) -> str:
        """An HTTP date so many seconds ahead of the server's clock."""
        return email.utils.formatdate(time.time() + self.skew + ahead, usegmt=True)

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        lines = [
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}",
            f"date: {self.date()}",
            "x-prodkit-simulated: true",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
