"""One performance of a rehearsal: a call of the notebook, sent by the real SDK through the policy to a fault."""

from __future__ import annotations

import inspect
import json
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prodkit.capture import wires
from prodkit.errors import missing_extra
from prodkit.pricing import price
from prodkit.records import Attempt, Usage, now
from prodkit.resilience import (
    Call,
    Policy,
    StreamError,
    StreamRestart,
    Target,
    inspect_chunk,
    run_call,
    run_stream,
    validator,
)
from prodkit.resilience.call import STATIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.manifest import Project
    from prodkit.testing.catalogue import Fault
    from prodkit.testing.faults import FaultServer

KEY = "rehearsal"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A distinct call of the notebook: where it goes, and its body."""

    sdk: str
    path: str
    body: dict[str, Any] = field(repr=False)

    @property
    def model(self) -> str:
        """The model that it asks for."""
        return str(self.body.get("model", ""))

    @property
    def streamed(self) -> bool:
        """Whether it asks for a stream."""
        return bool(self.body.get("stream"))

    @property
    def label(self) -> str:
        """For the report: `gpt-4o-mini, streamed`."""
        return self.model + (", streamed" if self.streamed else "")


@dataclass
class Stage:
    """One performance: the SDK's client, the policy around it, and what it has cost."""

    server: FaultServer
    lesson: Lesson
    fault: Fault | None
    policy: Policy
    project: Project
    cost: Decimal | None = Decimal(0)
    attempts: list[Attempt] = field(default_factory=list)
    broken_off: bool = False  # a stream, after its first pieces
    clients: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def perform(self) -> tuple[str, bool]:
        """What the user would have seen, and whether it was right."""
        provider = self.policy.chain("", self.lesson.model)[0].provider
        call: Call[Any] = Call(
            provider,
            self.lesson.model,
            self._proceed,
            validate=None if self.lesson.streamed else validator(self.lesson.body),
            inspect=inspect_chunk if self.lesson.streamed else None,
            refusal=self._refusal,
            static=lambda text: text,
            on_attempt=self.attempts.append,
            isolate=True,
        )
        expect = self.fault.expect if self.fault else "answer"
        try:
            if self.lesson.streamed:
                served_by, whole, anew = self._stream(call)
            else:
                served = run_call(self.policy, call)
                served_by, whole, anew = served.served_by, True, ""
                self._pay(served.value, served_by)
        except Exception as error:
            self.broken_off = isinstance(error, StreamError)
            code = getattr(error, "code", None) or getattr(error, "status_code", "")
            return f"{type(error).__name__}{f' ({code})' if code else ''}", expect != "answer"
        if served_by == STATIC:
            return "static reply", expect == "answer"
        model = served_by.partition("/")[2] or served_by
        seen = "answer" if model == self.lesson.model else f"answer of {model}"
        return seen + anew, expect == "answer" and whole

    def _stream(self, call: Call[Any]) -> tuple[str, bool, str]:
        pieces = list(run_stream(self.policy, call))
        last = next((attempt.target for attempt in reversed(self.attempts) if not attempt.failure_class), STATIC)
        for piece in pieces:
            self._pay(piece, last)
        anew = any(isinstance(piece, StreamRestart) for piece in pieces)
        return last, bool(pieces), ", begun anew" if anew else ""

    def _is_foreign(self, target: Target) -> bool:
        return (target.provider == "anthropic") != (self.lesson.sdk == "anthropic")

    def _refusal(self, target: Target) -> str:
        wire = wires.wire_of(self.lesson.path)
        if not self._is_foreign(target):
            return ""
        try:
            return "" if wire and wire.request(self.lesson.body, target.model, target.provider) else "no equivalent"
        except wires.Unfaithful as error:
            return str(error)

    def _foreign(self, target: Target, timeout: float | None) -> Any:
        """An answer in another wire format, translated as the guard does it."""
        wire = wires.wire_of(self.lesson.path)
        if wire is None:
            raise LookupError(self.lesson.path)
        client = self._client_of(target.base_url or self.server.url).with_options(timeout=timeout)
        body = wire.request(self.lesson.body, target.model, target.provider)
        answer = client.post(wire.path, cast_to=object, body=body)
        made = (wire.chunks if self.lesson.streamed else wire.answer)(answer, self.lesson.body)
        return json.loads(json.dumps(made), object_hook=lambda parts: SimpleNamespace(**parts))

    def _proceed(self, target: Target, timeout: float | None) -> Any:
        if self._is_foreign(target):
            return self._foreign(target, timeout)
        client = self._client_of(target.base_url or self.server.url).with_options(timeout=timeout)
        create = _method(client, self.lesson.path)
        body = {**self.lesson.body, "model": target.model}
        known = set(inspect.signature(create).parameters)
        strange = {key: value for key, value in body.items() if key not in known}
        options = {"extra_body": strange} if strange else {}
        return create(**{key: value for key, value in body.items() if key in known}, **options)

    def _client_of(self, url: str) -> Any:
        with self.lock:
            if url not in self.clients:
                self.clients[url] = _client(self.lesson.sdk, url)
            return self.clients[url]

    def close(self) -> None:
        """Close the SDK's connections."""
        for client in self.clients.values():
            client.close()

    def _pay(self, answer: Any, served_by: str) -> None:
        usage = getattr(answer, "usage", None)
        if usage is None or isinstance(answer, str):
            return
        used = Usage(
            input_tokens=getattr(usage, "prompt_tokens", None) or getattr(usage, "input_tokens", None),
            output_tokens=getattr(usage, "completion_tokens", None) or getattr(usage, "output_tokens", None),
        )
        model = served_by.partition("/")[2] or served_by
        cost = price(self.lesson.sdk, model, used, when=now(), manifest=self.project.manifest).usd
        self.cost = None if cost is None or self.cost is None else self.cost + cost


def _client(sdk: str, url: str) -> Any:
    """The SDK's own client, its retries off."""
    try:
        if sdk == "anthropic":
            from anthropic import Anthropic

            return Anthropic(base_url=url, api_key=KEY, max_retries=0)
        from openai import OpenAI
    except ImportError:
        raise missing_extra("demo", "Rehearsing calls of this SDK") from None
    return OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def _method(client: Any, path: str) -> Callable[..., Any]:
    if path == "/messages":
        return client.messages.create
    return client.embeddings.create if path == "/embeddings" else client.chat.completions.create
