"""The policy: what is allowed to happen around a call. Contradictions are refused when it is built."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from prodkit.resilience.allowance import Allowance
from prodkit.resilience.breaker import Breaker, BreakerSettings
from prodkit.resilience.bulkhead import Bulkhead
from prodkit.resilience.clock import SYSTEM_CLOCK, Clock
from prodkit.resilience.failures import RULES, FailureClass, Rule
from prodkit.resilience.shared import SqliteState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prodkit.manifest import Manifest


Commit = Literal["first_token", "buffer", "restart"]
"""When a stream's pieces are passed on: from the first content on (no fallback after it), only when it is complete, or
from the first content on with a `StreamRestart` among the pieces when another target has to begin anew."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place that can answer a call.

    Attributes:
        provider: `openai`, `anthropic`, ... as the manifest spells it.
        model: the model's name there.
        region: where it computes; empty when the manifest doesn't say.
        base_url: its address; empty for the provider's own.
        api_key: the name of the environment variable with its key; empty for the provider's usual one.
        key: `openai/gpt-4o`; the name of its breaker, and how records call it.
    """

    provider: str
    model: str
    region: str = ""
    base_url: str = ""
    api_key: str = ""
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # a field, because each call reads it several times
        object.__setattr__(self, "key", f"{self.provider}/{self.model}" if self.provider else self.model)


class Route(NamedTuple):
    """What a call to one model needs at once, looked up together.

    Attributes:
        chain: the targets in order.
        breaker: the first target's.
        allowance: the first target's provider's retry budget.
        timeout: seconds for the first attempt.
    """

    chain: tuple[Target, ...]
    breaker: Breaker
    allowance: Allowance
    timeout: float | None


@dataclass
class _Memory:
    """What a policy learns while it is used. A copy with other settings begins anew."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    breakers: dict[str, Breaker] = field(default_factory=dict)
    allowances: dict[str, Allowance] = field(default_factory=dict)
    bulkhead: Bulkhead | None = None
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """How often, how long and where else a call is tried. Durations are seconds.

    Attributes:
        deadline: for one call with all its attempts, waits and fallbacks; None: no limit.
        attempt_timeout: for one attempt; None: half of the deadline while there is another target, else all of it.
        attempts: at most so many at one target.
        wait_initial: the first wait before a retry; it doubles, with jitter, up to `wait_max`.
        wait_max: the longest wait of our own choice. What a provider asks for is honoured up to half of the time left.
        breaker: when a target is left alone.
        stream_idle_timeout: the longest silence between two pieces of a stream.
        max_concurrent: so many calls are on their way at once, in threads or in the tasks of one loop; others wait
            outside of their deadline, and at most as long. None: no limit.
        stale_for: seconds for which an earlier answer may stand in when no target answers, before the static reply;
            None: never. The call's `stale` finds it.
        static_reply: the last resort. None: the last error is raised.
        commit: when a stream's pieces are passed on, unless the call says otherwise; see `Commit`.
        onward_also: classes that go to the next target although they usually don't: only `filtered` makes sense.
        fallbacks: model -> the targets that come after it; the key "" is for every other model.
        models: the targets that are known, by model.
        clock: the time; tests use `prodkit.testing.VirtualClock`.
        state: folder for the breakers' shared state; None: this process keeps it to itself.

    Raises:
        ConfigError: `resilience.contradiction` or `resilience.unknown-class`.
    """

    deadline: float | None = 60.0
    attempt_timeout: float | None = None
    attempts: int = 3
    wait_initial: float = 0.5
    wait_max: float = 8.0
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    stream_idle_timeout: float = 30.0
    max_concurrent: int | None = None
    stale_for: float | None = None
    static_reply: str | None = None
    commit: Commit = "first_token"
    onward_also: tuple[str, ...] = ()
    fallbacks: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    models: Mapping[str, Target] = field(default_factory=dict)
    clock: Clock = SYSTEM_CLOCK
    state: Path | None = None
    memory: _Memory = field(default_factory=_Memory, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from prodkit.resilience.checks import check_numbers

        check_numbers(self)

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest,
        *,
        source: Path | None = None,
        state: Path | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """The policy that a manifest describes.

        Args:
            manifest: the manifest.
            source: its file, so that an error can name the line (`project.manifest_path`).
            state: folder for state that processes share (`project.state`); used when `resilience.breaker.shared` is on.
            clock: the time.

        Raises:
            ConfigError: `resilience.contradiction`, `resilience.loop`, `resilience.unknown-model`,
                `resilience.residency`, `resilience.classification` or `resilience.unknown-class`, with the line.
        """
        from prodkit.resilience.checks import check_manifest

        check_manifest(manifest, source)
        said = manifest.resilience
        known = {
            model.name: Target(model.provider, model.name, model.region, model.base_url, model.api_key)
            for model in manifest.models
        }
        fallbacks = {
            model.name: tuple(known[name] for name in model.fallbacks) for model in manifest.models if model.fallbacks
        }
        return cls(
            deadline=said.deadline,
            attempt_timeout=said.attempt_timeout,
            attempts=said.retry.attempts,
            wait_initial=said.retry.wait_initial,
            wait_max=max(said.retry.wait_max, said.retry.wait_initial),
            breaker=BreakerSettings(
                said.breaker.window, said.breaker.minimum, said.breaker.failure_share, said.breaker.open_for
            ),
            stream_idle_timeout=min(said.stream_idle_timeout, said.deadline),
            max_concurrent=said.max_concurrent,
            stale_for=None if said.cached is None else said.cached.max_age,
            static_reply=said.last_words,
            commit=said.commit,
            onward_also=said.fallback_also_on,
            fallbacks=fallbacks | {"": tuple(known[name] for _, name in said.models)},
            models=known,
            clock=clock,
            state=state if said.breaker.shared else None,
        )

    def route(self, provider: str, model: str) -> Route:
        """Where a call to this model goes; the first target is the model itself."""
        route = self.memory.routes.get((provider, model))
        return route or self._route(provider, model)

    def chain(self, provider: str, model: str) -> tuple[Target, ...]:
        """The targets of a call to this model, in order."""
        return self.route(provider, model).chain

    def breaker_of(self, target: Target) -> Breaker:
        """The breaker of a target; made on first use."""
        breaker = self.memory.breakers.get(target.key)
        if breaker is None:
            with self.memory.lock:
                shared = SqliteState(self.state / "breakers.db", wall=self.clock.wall) if self.state else None
                made = Breaker(target.key, self.breaker, clock=self.clock, shared=shared)
                breaker = self.memory.breakers.setdefault(target.key, made)
        return breaker

    def bulkhead(self) -> Bulkhead:
        """The places of this policy's calls; made on first use. Only for a policy with `max_concurrent`."""
        if self.memory.bulkhead is None:
            with self.memory.lock:
                if self.memory.bulkhead is None:
                    self.memory.bulkhead = Bulkhead(self.max_concurrent or 1, self.deadline)
        return self.memory.bulkhead

    def allowance_of(self, provider: str) -> Allowance:
        """The retry budget of a provider; made on first use."""
        return self.memory.allowances.setdefault(provider, Allowance())

    def timeout(self, remaining: float | None, *, last: bool) -> float | None:
        """Seconds for one attempt, never more than what remains.

        Without an `attempt_timeout` it is half of the deadline while other targets wait (`last` is False).
        """
        limit = self.attempt_timeout
        if limit is None and not last and self.deadline is not None:
            limit = self.deadline / 2
        if remaining is None or limit is None:
            return limit if remaining is None else max(remaining, 0.0)
        return max(min(limit, remaining), 0.0)

    def _route(self, provider: str, model: str) -> Route:
        first = self.models.get(model)
        if first is None or (provider and first.provider != provider):
            first = Target(provider, model)
        after = self.fallbacks.get(model, self.fallbacks.get("", ()))
        chain = (first, *(target for target in after if target.key != first.key))
        timeout = self.timeout(self.deadline, last=len(chain) == 1)
        route = Route(chain, self.breaker_of(first), self.allowance_of(first.provider), timeout)
        return self.memory.routes.setdefault((provider, model), route)

    def rule(self, kind: FailureClass) -> Rule:
        """The row of the table for a class of failures, with this policy's exceptions."""
        rule = RULES[kind]
        return dataclasses.replace(rule, onward=True) if kind.value in self.onward_also else rule
