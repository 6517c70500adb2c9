"""Reading along with a stream: what was said so far, when it began, and how it ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from prodkit.capture import payload, terms
from prodkit.records import Usage
from prodkit.resilience import StreamRestart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Listener(Protocol):
    """Who is told about a stream."""

    def first_content(self, clock: float) -> None:
        """The first chunk has come, by the clock of `time.perf_counter`."""

    def stream_ended(self, heard: Heard, error: BaseException | None, *, complete: bool) -> None:
        """The stream is over: read to its end, broken by an error, or left by the reader."""


class Heard:
    """What a stream has said so far, put together to the answer that it would have been in one piece."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.tools: dict[int, dict[str, Any]] = {}
        self.usage, self.terms = Usage(), terms.STANDARD
        self.id = self.model = ""
        self.finish = ""
        self.simulated = False
        self.chunks: list[Any] | None = None  # their JSON, where the answer may be kept
        self.whole: Any = None  # an API that repeats the whole answer at the end

    def take(self, chunk: Any) -> None:
        """Add one chunk."""
        if isinstance(chunk, StreamRestart):  # what came so far is told anew
            keeps = self.chunks is not None
            self.__init__()  # type: ignore[misc]
            self.chunks = [] if keeps else None
            return
        if self.chunks is not None:
            self.chunks.append(payload.wire(chunk))
        kind = getattr(chunk, "type", "") or ""
        if kind.startswith("response."):
            self._take_response(chunk, kind)
        elif kind.startswith(("message_", "content_block_")):
            self._take_message(chunk, kind)
        else:
            self._take_completion(chunk)

    def answer(self) -> Any:
        """The answer, in the shape of a chat completion's message."""
        if self.whole is not None:
            return payload.plain(self.whole)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.text)}
        if self.tools:
            message["tool_calls"] = [self.tools[index] for index in sorted(self.tools)]
        return {
            "id": self.id,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish or None}],
        }

    def _take_completion(self, chunk: Any) -> None:
        self.id = getattr(chunk, "id", "") or self.id
        self.model = getattr(chunk, "model", "") or self.model
        self.simulated = self.simulated or payload.is_simulated(chunk)
        self.terms = self.terms.then(terms.read(chunk))
        if getattr(chunk, "usage", None) is not None:
            self.usage = payload.usage(chunk)
        for choice in getattr(chunk, "choices", None) or ():
            delta = getattr(choice, "delta", None)
            said = getattr(delta, "content", None) if delta is not None else getattr(choice, "text", None)
            if isinstance(said, str):
                self.text.append(said)
            self.finish = getattr(choice, "finish_reason", None) or self.finish
            for part in getattr(delta, "tool_calls", None) or ():
                self._take_tool(part.index, getattr(part, "id", None), getattr(part, "function", None))

    def _take_tool(self, index: int, name: str | None, function: Any) -> None:
        tool = self.tools.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        tool["id"] = name or tool["id"]
        tool["function"]["name"] += getattr(function, "name", None) or ""
        tool["function"]["arguments"] += getattr(function, "arguments", None) or ""

    def _take_response(self, chunk: Any, kind: str) -> None:
        if kind == "response.output_text.delta":
            self.text.append(chunk.delta)
        response = getattr(chunk, "response", None)
        if response is not None:
            self.model = getattr(response, "model", "") or self.model
        if kind in {"response.completed", "response.incomplete", "response.failed"}:
            self.whole, self.usage, self.finish = response, payload.usage(response), kind.removeprefix("response.")
            self.terms = terms.read(response)

    def _take_message(self, chunk: Any, kind: str) -> None:
        if kind == "message_start":
            self.id, self.model = chunk.message.id, chunk.message.model
            self.usage, self.terms = payload.usage(chunk.message), terms.read(chunk.message)
        elif kind == "content_block_start" and getattr(chunk.content_block, "type", "") == "tool_use":
            self._take_tool(chunk.index, chunk.content_block.id, chunk.content_block)
        elif kind == "content_block_delta":
            self.text.append(getattr(chunk.delta, "text", None) or "")
            arguments = getattr(chunk.delta, "partial_json", None)
            if arguments:
                self.tools[chunk.index]["function"]["arguments"] += arguments
        elif kind == "message_delta":
            self.finish = chunk.delta.stop_reason or self.finish
            self._add_final(payload.usage(chunk))
            self.terms = self.terms.then(terms.read(chunk))

    def _add_final(self, last: Usage) -> None:
        first = self.usage
        self.usage = Usage(
            input_tokens=first.input_tokens if last.input_tokens is None else last.input_tokens,
            output_tokens=last.output_tokens if last.output_tokens is not None else first.output_tokens,
            cache_read_tokens=last.cache_read_tokens or first.cache_read_tokens,
            cache_write_tokens=last.cache_write_tokens or first.cache_write_tokens,
        )


class _Reader:
    """The part that reading in steps and reading with await have in common."""

    def __init__(self, source: Any, listener: Listener, *, hide_usage: bool) -> None:
        self._source, self._listener, self._hide_usage = source, listener, hide_usage
        self.heard = Heard()
        self._started = self._over = False

    def _hear(self, chunk: Any) -> bool:
        """Take a chunk; False when it is the one that we asked for and the reader didn't."""
        if not self._started:
            self._started = True
            self._listener.first_content(time.perf_counter())
        self.heard.take(chunk)
        return not (self._hide_usage and not getattr(chunk, "choices", None) and getattr(chunk, "usage", None))

    def finish(self, error: BaseException | None = None, *, complete: bool = False) -> None:
        """Tell the listener, once."""
        if not self._over:
            self._over = True
            self._listener.stream_ended(self.heard, error, complete=complete)

    def __del__(self) -> None:
        self.finish()


class StreamReader(_Reader):
    """Stands in an SDK's stream for its iterator."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                chunk = next(self._source)
            except StopIteration:
                self.finish(complete=True)
                raise
            except BaseException as error:
                self.finish(error)
                raise
            if self._hear(chunk):
                return chunk

    def close(self) -> None:
        """The reader leaves."""
        self.finish()
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


class AsyncStreamReader(_Reader):
    """Stands in an SDK's asynchronous stream for its iterator."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                chunk = await anext(self._source)
            except StopAsyncIteration:
                self.finish(complete=True)
                raise
            except BaseException as error:
                self.finish(error)
                raise
            if self._hear(chunk):
                return chunk

    async def aclose(self) -> None:
        """The reader leaves."""
        self.finish()
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()
