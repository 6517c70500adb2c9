"""One guarded call on its way: the manifest's resilience policy around the SDK's own request, the SDK's retries off."""

from __future__ import annotations

import functools
import os
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit import resilience
from prodkit.capture import cache, payload, sdks, terms, wires
from prodkit.capture.context import stream_commit
from prodkit.pricing import price
from prodkit.records import now
from prodkit.resilience import AnswerError, Failure, FailureClass, Policy
from prodkit.resilience.call import STALE, STATIC

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
        self._foreign_bodies: dict[
            str, tuple[wires.Wire, dict[str, Any]]
        ] = {}  # by the target that has another wire format
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
        if target.key in self._foreign_bodies:
            return self._aforeign(target, timeout) if sdks.is_async(self.client) else self._foreign(target, timeout)
        client = self.client if target.key == self._first_key else self._client_for(target)
        return self._request(client, self._body(target.model), max_retries=0, timeout=timeout)

    def _foreign(self, target: Target, timeout: float | None) -> Any:
        """One attempt in another wire format; gives what the user's SDK would have given."""
        send, options = self._foreign_request(target, timeout)
        return self.rebuild(self._translated(target, send(cast_to=object, options=options)))

    async def _aforeign(self, target: Target, timeout: float | None) -> Any:  # noqa: ASYNC109  it is passed on
        """`_foreign` for an async client."""
        send, options = self._foreign_request(target, timeout)
        return await self.rebuild(self._translated(target, await send(cast_to=object, options=options)))

    def _foreign_request(self, target: Target, timeout: float | None) -> tuple[Callable[..., Any], Any]:
        options, (wire, body) = sdks.options_of(self._args, self._kwargs), self._foreign_bodies[target.key]
        client = self._client_for(target)
        limit = sdks.shortest_timeout(self.client, options, timeout)
        made = sdks.foreign_options(client, options, wire.path, body, key_for(target), limit)
        return functools.partial(self._wrapped.__func__, client), made  # type: ignore[attr-defined]

    def _translated(self, target: Target, answer: Any) -> Any:
        """The other side's JSON in the caller's format: one object, or a stream's chunks."""
        wire, _ = self._foreign_bodies[target.key]
        try:
            return (wire.chunks if self.call.streamed else wire.answer)(answer, self.call.body)
        except (wires.Unfaithful, AttributeError, KeyError, TypeError) as error:
            why = str(error) if isinstance(error, wires.Unfaithful) else "it isn't of the provider's shape"
            raise AnswerError(
                "resilience.foreign-answer", f"The fallback's answer couldn't be translated: {why}."
            ) from error

    def open_stream(self, target: Target, timeout: float | None) -> Any:
        """One attempt at a stream; gives its chunks."""
        return self.chunks(self.attempt(target, timeout))

    async def aopen_stream(self, target: Target, timeout: float | None) -> Any:  # noqa: ASYNC109  it is passed on
        """`open_stream` for an async client."""
        return self.chunks(await self.attempt(target, timeout))

    def refusal(self, target: Target) -> str:
        """Why this call can't go there; empty when it can. It is said on the card."""
        why = self._refusal(target)
        if why:
            self.call.run.note(f"The fallback {target.key} was passed over: {why}.")
        return why

    def _refusal(self, target: Target) -> str:
        if target.provider == self.call.provider:
            return ""
        if not target.base_url and target.provider not in sdks.BASES:
            return f"the manifest gives no base_url for the provider {target.provider}"
        if not key_for(target):
            return f"there is no key in {_key_variable(target)}"
        if (target.provider == "anthropic") == (sdks.sdk_of(self.client) == "anthropic"):
            return ""
        return self._translate(target)

    def _translate(self, target: Target) -> str:
        """Put the request into the target's wire format; says why where that isn't possible."""
        options = sdks.options_of(self._args, self._kwargs)
        wire = wires.wire_of(sdks.path_of(options))
        if wire is None:
            return "this kind of request has no equivalent in its wire format"
        if sdks.is_beta(options):
            return "the request asks for beta features"
        try:
            self._foreign_bodies[target.key] = wire, wire.request(self.call.body, target.model, target.provider)
        except wires.Unfaithful as error:
            return str(error)
        except (AttributeError, KeyError, TypeError):  # a body that the first provider would have refused
            return "the request isn't of the shape that its API asks for"
        if left_out := sorted(wire.left_out & set(wires.given(self.call.body))):
            self.call.run.note(f"The fallback {target.key} was asked without {', '.join(left_out)}: its API has none.")
        return ""

    def classify(self, error: BaseException) -> Failure:
        """As everywhere; an answer that couldn't be translated is no answer."""
        if isinstance(error, AnswerError):
            return Failure(FailureClass.BAD_ANSWER, "not translatable")
        return resilience.classify(error)

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
            classify=self.classify,
            validate=None if stream or self.call.uploads else self.validate,  # a transcription may be a bare text
            inspect=self.inspect if told else None,
            refusal=self.refusal,
            static=self._static if "messages" in body else None,
            stale=self._stale,
            price=None if stream else self.price,
            on_attempt=self.call.attempted,
        )

    def commit(self, policy: Policy) -> resilience.Commit:
        """When the pieces of this stream are passed on: as the request says, else as the policy does."""
        return stream_commit() or policy.commit

    def settle(self, served: Served[Any]) -> Any:
        """Note who has answered, and what failed attempts have cost."""
        self.call.served(served.served_by, degraded=served.degraded, failed_cost=served.cost_of_failed_attempts)
        return served.value

    def _request(
        self, client: Any, body: dict[str, Any] | None, *, max_retries: int | None, timeout: float | None
    ) -> Any:
        options = sdks.options_of(self._args, self._kwargs)
        limit = sdks.shortest_timeout(client, options, timeout)
        alone = self.call.leaf
        headers = {"traceparent": alone.traceparent} if alone is not None else None
        changed = sdks.changed(options, body=body, headers=headers, max_retries=max_retries, timeout=limit)
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
        return sdks.fresh_client(self.client, _address(target), key_for(target))

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
        self._note_resort(STATIC)
        return sdks.static_answer(self.client, self.call.body, text, stream=self.call.streamed)

    def _stale(self, seconds: float) -> Any:
        """An earlier answer to the same request, as the SDK gives it; for a stream, its chunks."""
        kept = cache.find(self.call, seconds)
        if kept is None:
            return None
        result = self.rebuild(kept.content)
        if sdks.is_async(self.client):
            result = finished(result)  # it waits for nothing: the whole answer is here
        if self.call.streamed:
            pieces = self.chunks(result)
            pieces = finished(_all(pieces)) if hasattr(pieces, "__anext__") else list(pieces)
            whole = any(resilience.inspect_chunk(piece) == resilience.Chunk.END for piece in pieces)
            result = pieces if whole else None
        elif self.validate(result) is not None:
            result = None
        if result is not None:
            self._note_resort(STALE)
            self.call.provider, self.call.model = kept.provider, kept.model
        return result

    def _note_resort(self, name: str) -> None:
        sent = [attempt for attempt in self.call.attempts if attempt.failed]
        answered = all(attempt.http_status is not None for attempt in sent)  # by an error, which is free
        self.call.served(name, degraded=True, failed_cost=Decimal(0) if answered else None)


def finished(work: Any) -> Any:
    """What a coroutine returns that never waits.

    Raises:
        RuntimeError: it does wait.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise RuntimeError("the kept answer isn't here as a whole")


async def _all(pieces: Any) -> list[Any]:
    return [piece async for piece in pieces]


def _address(target: Target) -> str:
    """Where a target is; a provider's usual address can be changed by the variable that its own SDK reads."""
    return target.base_url or os.environ.get(f"{target.provider.upper()}_BASE_URL") or sdks.BASES[target.provider]


def _key_variable(target: Target) -> str:
    return target.api_key or f"{target.provider.upper().replace('-', '_')}_API_KEY"


def key_for(target: Target) -> str:
    """The key for another provider, from the environment; a server on this machine needs none."""
    local = target.base_url and sdks.is_loopback(sdks.host_in(target.base_url))
    return os.environ.get(_key_variable(target)) or ("none" if local else "")
