"""The simulated provider: an OpenAI- and Anthropic-compatible HTTP server on loopback that computes its answers.

    python -m prodkit.testing.provider --port 0

prints `{"url": "http://127.0.0.1:PORT", ...}` on its first line and serves until it is stopped. What it answers is
marked: ids hold `-sim-`, `system_fingerprint` begins with `simulated-`, and each response has the header
`x-prodkit-simulated: true`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from prodkit.testing import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SIMULATED_HEADER = "x-prodkit-simulated"
_CONTROL = "/_prodkit/"


@dataclass
class State:
    """What one running provider remembers."""

    seed: int
    latency: float  # median seconds until a response begins
    spread: float = 0.35  # sigma of the log-normal distribution around it
    number: int = 0
    failing: int = 0  # how many of the next requests fail
    failing_status: int = 503
    counts: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    rng: random.Random = field(default_factory=random.Random)

    def draw_latency(self) -> float:
        """Seconds until this response begins."""
        return self.latency * self.rng.lognormvariate(0.0, self.spread) if self.latency else 0.0

    def count(self, reply: wire.Reply) -> None:
        """Add a reply to the figures."""
        self.models[reply.model] += 1
        self.tokens["input"] += reply.input_tokens
        self.tokens["output"] += reply.output_tokens

    def stats(self) -> dict[str, Any]:
        """The figures as the control endpoint gives them."""
        return {
            "simulated": True,
            "pid": os.getpid(),
            "requests": self.number,
            "failed": self.counts["failed"],
            "by_path": {path: count for path, count in self.counts.items() if path != "failed"},
            "by_model": dict(self.models),
            "tokens": {"input": self.tokens["input"], "output": self.tokens["output"]},
            "failing": self.failing,
        }


STATE: web.AppKey[State] = web.AppKey("state", State)


def make_app(*, seed: int = 0, latency: float = 0.03) -> web.Application:
    """The application.

    Args:
        seed: of the latencies and of answers with a temperature above 0.
        latency: median seconds until a response begins; streams add a tenth of it for each piece.
    """
    app = web.Application(middlewares=[_guard])
    app[STATE] = State(seed, latency, rng=random.Random(seed))  # noqa: S311  latencies, no secret
    for path in ("/v1/chat/completions", "/chat/completions"):
        app.router.add_post(path, _chat)
    app.router.add_post("/v1/embeddings", _embeddings)
    app.router.add_post("/v1/responses", _responses)
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/messages", _messages)
    app.router.add_get(_CONTROL + "stats", _stats)
    app.router.add_post(_CONTROL + "outage", _outage)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count, fail when an outage was ordered, wait as long as a model would, and mark as simulated."""
    if request.path.startswith(_CONTROL):
        return await handler(request)
    state = request.app[STATE]
    state.number += 1
    state.counts[request.path] += 1
    if state.failing:
        state.failing -= 1
        state.counts["failed"] += 1
        response: web.StreamResponse = _refuse(request, state.failing_status, "simulated outage", "server_error")
    elif not (request.headers.get("authorization", "Bearer ")[7:] or request.headers.get("x-api-key")):
        response = _refuse(request, 401, "you didn't provide an API key", "authentication_error")
    else:
        await asyncio.sleep(state.draw_latency())
        response = await _handled(request, handler)
    if not response.prepared:
        response.headers[SIMULATED_HEADER] = "true"
    return response


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except wire.BadRequestError as error:
        return _refuse(request, 400, str(error), "invalid_request_error")
    except ValueError:
        return _refuse(request, 400, "the body isn't valid JSON", "invalid_request_error")


def _refuse(request: web.Request, status: int, message: str, kind: str) -> web.Response:
    anthropic = request.path == "/v1/messages"
    body = wire.anthropic_error(message, kind) if anthropic else wire.openai_error(message, kind)
    return web.json_response(body, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    body = await request.json()
    if not isinstance(body, dict):
        raise wire.BadRequestError("the body must be an object")
    return body


async def _chat(request: web.Request) -> web.StreamResponse:
    body, state = await _body(request), request.app[STATE]
    reply = wire.chat_reply(body, state.seed, state.number)
    state.count(reply)
    created = int(time.time())
    if not body.get("stream"):
        return web.json_response(wire.chat_completion(reply, created))
    include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    chunks = (
        f"data: {json.dumps(chunk)}\n\n" for chunk in wire.chat_chunks(reply, created, include_usage=include_usage)
    )
    return await _stream(request, [*chunks, "data: [DONE]\n\n"])


async def _messages(request: web.Request) -> web.StreamResponse:
    body, state = await _body(request), request.app[STATE]
    reply = wire.messages_reply(body, state.seed, state.number)
    state.count(reply)
    if not body.get("stream"):
        return web.json_response(wire.message(reply))
    return await _stream(
        request, [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in wire.message_events(reply)]
    )


async def _stream(request: web.Request, events: Iterable[str]) -> web.StreamResponse:
    state = request.app[STATE]
    headers = {"content-type": "text/event-stream", "cache-control": "no-cache", SIMULATED_HEADER: "true"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for event in events:
        await response.write(event.encode())
        await asyncio.sleep(state.draw_latency() / 10)
    await response.write_eof()
    return response


async def _embeddings(request: web.Request) -> web.StreamResponse:
    body = await _body(request)
    result = wire.embeddings(body)
    state = request.app[STATE]
    state.models[body["model"]] += 1
    state.tokens["input"] += result["usage"]["prompt_tokens"]
    return web.json_response(result)


async def _responses(request: web.Request) -> web.StreamResponse:
    body, state = await _body(request), request.app[STATE]
    if body.get("stream"):
        raise wire.BadRequestError("stream: the simulated provider streams chat completions and messages only")
    result = wire.responses_object(body, state.seed, state.number, int(time.time()))
    state.models[result["model"]] += 1
    state.tokens["input"] += result["usage"]["input_tokens"]
    state.tokens["output"] += result["usage"]["output_tokens"]
    return web.json_response(result)


async def _models(request: web.Request) -> web.StreamResponse:  # noqa: ARG001  aiohttp's signature
    return web.json_response(wire.model_list())


async def _stats(request: web.Request) -> web.StreamResponse:
    return web.json_response(request.app[STATE].stats())


async def _outage(request: web.Request) -> web.StreamResponse:
    body, state = await _body(request), request.app[STATE]
    state.failing, state.failing_status = int(body["requests"]), int(body["status"])
    return web.json_response(state.stats())


async def serve(app: web.Application, port: int) -> AsyncIterator[str]:
    """Serve on 127.0.0.1 and yield the URL once; the server lives until the iterator is closed."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _main(options: argparse.Namespace) -> None:
    app = make_app(seed=options.seed, latency=options.latency)
    async for url in serve(app, options.port):
        print(json.dumps({"url": url, "pid": os.getpid(), "simulated": True}), flush=True)  # noqa: T201  the interface
        await asyncio.Event().wait()


def _die_with_parent(parent: int) -> None:
    """End this process when the parent closes our stdin or is gone."""

    def read() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    def watch() -> None:  # a fork of the parent may hold the pipe open, so its end alone isn't enough
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(0)

    for target in (read, watch):
        threading.Thread(target=target, daemon=True).start()


def main(argv: list[str] | None = None) -> None:
    """Parse the flags and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m prodkit.testing.provider", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.03, help="median seconds until a response begins")
    parser.add_argument("--parent", type=int, default=0, help="process id to live no longer than; also ends with stdin")
    options = parser.parse_args(argv)
    if options.parent:
        _die_with_parent(options.parent)
    try:
        asyncio.run(_main(options))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
