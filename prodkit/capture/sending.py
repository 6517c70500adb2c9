"""One guarded call on its way: the manifest's resilience policy around the SDK's own request, the SDK's retries off."""

from __future__ import annotations

import os
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit import resilience
from prodkit.capture import payload, sdks, terms
from prodkit.pricing import price
from prodkit.records import now
from prodkit.resilience import Failure, FailureClass, Policy
from prodkit.resilience.call import STATIC

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.capture.calls import Call
    from prodkit.manifest import Manifest, Project
    from prodkit.resilience import Served, Target

_policies: dict[Path, tuple[Manifest, Policy | None]] = {}
_lock = threading.Lock()


def policy_of(project: Project) -> Policy | None:
    """The project's policy; one per process, because its breakers learn. None where the manifest switches it off.

    Raises:
        ConfigError: the manifest's `resilience` contradicts itself.
    """
    with _lock:
        manifest, policy = _policies.get(project.root, (None, None))
        if manifest is not project.manifest:
            on = project.manifest.resilience.enabled
            source = project.manifest_path
            policy = Policy.from_manifest(project.manifest, source=source, state=project.state) if on else None
            _policies[project.root] = project.manifest, policy
        return policy


class Sender:
    """Does the attempts of one call: with which options, to which target, and what its answers are worth.

    Args:
        call: the call.
        wrapped: the SDK's own `request`, bound to the user's client.
        client: the user's client.
        args, kwargs: what the SDK passed to `request`.

    `asks_usage` says that a stream was asked for its usage by us, so that the reader must not see it.
    """

    def __init__(self, call: Call, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> None:
        self.call, self._wrapped, self.client, self._args, self._kwargs = call, wrapped, client, args, kwargs
        self.asks_usage = False
        self.first: Any = None  # what the SDK gave for the first stream; the user gets this object
        self._first_key = ""
        self._prepare()

    def _prepare(self) -> None:
        options = sdks.options_of(self._args, self._kwargs)
        chat = str(options.url).rstrip("/").endswith("/completions")
        asked = (self.call.body.get("stream_options") or {}).get("include_usage")
        self.asks_usage = bool(chat and self.call.streamed and not asked)

    def bare(self) -> Any:
        """The request as the SDK would do it, without a policy."""
        return self._request(self.client, self._body(self.call.model), max_retries=None, timeout=None)

    def attempt(self, target: Target, timeout: float | None) -> Any:
        """One attempt at one target."""
        self._first_key = self._first_key or target.key
        self.call.target = target
        client = self.client if target.key == self._first_key else self._client_for(target)
        return self._request(client, self._body(target.model), max_retries=0, timeout=timeout)

    def open_stream(self, target: Target, timeout: float | None) -> Any:
        """One attempt at a stream; gives its chunks."""
        return self.chunks(self.attempt(target, timeout))

    async def aopen_stream(self, target: Target, timeout: float | None) -> Any:  # noqa: ASYNC109  it is passed on
        """`open_stream` for an async client."""
        return self.chunks(await self.attempt(target, timeout))

    def serves(self, target: Target) -> bool:
        """Whether this call can go there: the same provider, or the same protocol with an address and a key."""
        if target.provider == self.call.provider:
            return True
        return bool(target.base_url) and sdks.sdk_of(self.client) == "openai" and bool(_key_for(target))

    def validate(self, result: Any) -> Failure | None:
        """What is wrong with an answer."""
        try:
            answer = self.answer(result)
        except Exception:
            return Failure(FailureClass.BAD_ANSWER, "not the provider's JSON")
        if payload.is_raw(answer):
            return None
        return resilience.validate_response(answer, self.call.body)

    def inspect(self, chunk: Any) -> Any:
        """What a chunk is; notes when the first content came."""
        sign = resilience.inspect_chunk(chunk)
        if sign == resilience.Chunk.CONTENT:
            self.call.first_content(time.perf_counter())
        return sign

    def price(self, result: Any, target: Target) -> Decimal | None:
        """What an answer has cost that wasn't used."""
        answer = self.answer(result)
        told = terms.read(answer)
        return price(
            target.provider,
            target.model,
            payload.usage(answer),
            when=now(),
            manifest=self.call.run.manifest,
            batch=told.batch,
            service_tier=told.service_tier,
            details=told.details,
        ).usd

    def as_call(self, proceed: Callable[..., Any], *, stream: bool) -> resilience.Call[Any]:
        """The call as the policy sees it."""
        body = self.call.body
        told = stream and ("messages" in body or "input" in body)  # legacy completions' chunks don't say what they are
        return resilience.Call(
            self.call.provider,
            self.call.model,
            proceed,
            validate=None if stream or "file" in body else self.validate,
            inspect=self.inspect if told else None,
            serves=self.serves,
            static=self._static if "messages" in body else None,
            price=None if stream else self.price,
            on_attempt=self.call.attempted,
        )

    def settle(self, served: Served[Any]) -> Any:
        """Note who has answered, and what failed attempts have cost."""
        self.call.served(served.served_by, degraded=served.degraded, failed_cost=served.cost_of_failed_attempts)
        return served.value

    def _request(
        self, client: Any, body: dict[str, Any] | None, *, max_retries: int | None, timeout: float | None
    ) -> Any:
        options = sdks.options_of(self._args, self._kwargs)
        limit = sdks.shortest_timeout(client, options, timeout)
        changed = sdks.changed(options, body=body, max_retries=max_retries, timeout=limit)
        args, kwargs = sdks.with_options(self._args, self._kwargs, changed)
        if client is self.client:
            return self._wrapped(*args, **kwargs)
        return self._wrapped.__func__(client, *args, **kwargs)  # type: ignore[attr-defined]  # the same method of another client

    def _body(self, model: str) -> dict[str, Any] | None:
        """The body where it differs from what the user's line says; None where it doesn't."""
        body = dict(self.call.body)
        if self.asks_usage:  # vendors send the usage of a stream on request only
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        if model and model != body.get("model"):
            body["model"] = model
        return None if body == self.call.body else body

    def _client_for(self, target: Target) -> Any:
        if target.provider == self.call.provider:
            return self.client
        return self.client.with_options(base_url=target.base_url, api_key=_key_for(target), max_retries=0)

    def answer(self, result: Any) -> Any:
        """What the SDK's result holds."""
        return sdks.parsed(result)

    def rebuild(self, content: Any) -> Any:
        """A kept answer as what the SDK gives; to be awaited where the client is asynchronous."""
        return sdks.rebuilt(self.client, self._args, self._kwargs, content)

    def is_stream(self, answer: Any) -> bool:
        """Whether the answer comes in chunks."""
        return sdks.is_stream(answer)

    def chunks(self, result: Any) -> Any:
        """The chunks of a stream; the first stream is kept for the user."""
        if self.first is None:
            self.first = result
        return sdks.iterator_of(self.answer(result))

    def deliver(self, reader: Any) -> Any:
        """What the user's line gets for a stream: the SDK's own object, its chunks coming past our reader."""
        result = self.first
        if result is None:  # the last resort, after no server has sent a stream
            result = sdks.empty_stream(self.client, asynchronous=hasattr(reader, "__anext__"))
        sdks.replace_iterator(self.answer(result), reader)
        return result

    def _static(self, text: str) -> Any:
        self._note_static()
        return sdks.static_answer(self.client, self.call.body, text, stream=self.call.streamed)

    def _note_static(self) -> None:
        answered = all(attempt.http_status is not None for attempt in self.call.attempts)  # by an error, which is free
        self.call.served(STATIC, degraded=True, failed_cost=Decimal(0) if answered else None)


def _key_for(target: Target) -> str:
    """The key for another provider, from the environment; a server on this machine needs none."""
    name = f"{target.provider.upper().replace('-', '_')}_API_KEY"
    local = target.base_url and sdks.is_loopback(sdks.host_in(target.base_url))
    return os.environ.get(name) or ("none" if local else "")
