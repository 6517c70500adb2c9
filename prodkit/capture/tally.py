"""The sums of a run: calls, tokens, cost, latency."""

from __future__ import annotations

import bisect
import math
import threading
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.records import ModelUse, Status, altered
from prodkit.resilience.call import REPLAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.records import CallRecord

_WITH_CONTENT = 1_000  # the latest calls, whose prompts and answers are kept here
_TOKENS = ("input_tokens", "output_tokens")
_ENOUGH = 3  # answers seen, before their length says anything about the next one


class Tally:
    """Counts the calls of one run as they end. Safe between threads; a figure is read without looking at each call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: list[CallRecord] = []
        self._ends: Counter[str] = Counter()  # by the status's name, whose hash is a text's
        self._counts: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._cost = Decimal(0)
        self._seconds: list[float] = []  # of answered calls, in order
        self._redacted: Counter[str] = Counter()
        self._uses: dict[str, _Use] = {}
        self._models: set[str] = set()
        self._prompts: set[str] = set()
        self._longest: dict[str, tuple[int, int]] = {}  # model -> (answers seen, tokens of the longest)

    def add(self, call: CallRecord) -> None:
        """Count one call."""
        with self._lock:
            self._keep(call)
            status, counts = call.status.value, self._counts
            self._ends[status] += 1
            if call.cost.usd:
                self._cost += call.cost.usd
            for name in _TOKENS:
                if (count := getattr(call.usage, name)) is not None:
                    self._tokens[name] += count
            self._models.add(call.model)
            self._prompts.update(call.prompts)
            if call.simulated:
                counts["simulated"] += 1
            if call.status is not Status.REFUSED:
                self._add_sent(call)
            if call.served_by == REPLAY:  # its time and its tokens say nothing about a model
                counts["replayed"] += 1
                return
            if call.status is Status.OK:
                bisect.insort(self._seconds, call.seconds)
            if call.usage.output_tokens is not None:
                seen, longest = self._longest.get(call.model, (0, 0))
                self._longest[call.model] = seen + 1, max(longest, call.usage.output_tokens)

    def _keep(self, call: CallRecord) -> None:
        self.calls.append(call)
        if len(self.calls) > _WITH_CONTENT:  # the journal has it all; a kernel's memory needn't
            old = len(self.calls) - _WITH_CONTENT - 1
            self.calls[old] = altered(self.calls[old], prompt=None, response=None)

    def _add_sent(self, call: CallRecord) -> None:
        unpriced = is_unpriced(call)
        use = self._uses.get(call.model)
        if use is None:
            use = self._uses[call.model] = _Use()
        use.add(call, unpriced=unpriced)
        if unpriced:
            self._counts["unpriced"] += 1
        if call.cost.status == "estimated":
            self._counts["estimated"] += 1
        if call.degraded:
            self._counts["degraded"] += 1
        if failed := sum(attempt.failed for attempt in call.attempts):
            self._counts["failed_attempts"] += failed

    def redact(self, found: Mapping[str, int]) -> None:
        """Count what was taken out of a trace before it was written, by class."""
        if found:
            with self._lock:
                self._redacted.update(found)

    @property
    def redactions(self) -> dict[str, int]:
        """Findings that were taken out of what was written, by class."""
        with self._lock:
            return dict(sorted(self._redacted.items()))

    def guess_output(self, model: str, first: int, least: int) -> int:
        """An upper guess at the length of this model's next answer: twice the longest so far, once there are some."""
        seen, longest = self._longest.get(model, (0, 0))
        return max(least, 2 * longest) if seen >= _ENOUGH else max(first, 2 * longest)

    def count(self, *statuses: Status) -> int:
        """Calls that ended in one of these ways."""
        return sum(self._ends[status] for status in statuses)

    @property
    def sent(self) -> int:
        """The calls that weren't refused by us."""
        return self._ends.total() - self._ends[Status.REFUSED]

    @property
    def replayed(self) -> int:
        """Calls that were answered by what an earlier attempt had paid for."""
        return self._counts["replayed"]

    @property
    def cost(self) -> Decimal:
        """US dollars of all calls whose price is known."""
        return self._cost

    @property
    def unpriced(self) -> int:
        """Calls that may have cost something that nobody knows."""
        return self._counts["unpriced"]

    @property
    def estimated(self) -> int:
        """Calls whose cost rests on our own count."""
        return self._counts["estimated"]

    @property
    def degraded(self) -> int:
        """Calls that were answered by something else than the model that was asked for."""
        return self._counts["degraded"]

    @property
    def simulated(self) -> bool:
        """Whether the simulated provider answered any of them."""
        return self._counts["simulated"] > 0

    @property
    def by_model(self) -> tuple[ModelUse, ...]:
        """What each model was used for, in the order of their first calls."""
        with self._lock:
            return tuple(use.told(model) for model, use in self._uses.items())

    def tokens(self, name: str) -> int | None:
        """The sum of `input_tokens` or `output_tokens`; None when no call said."""
        return self._tokens.get(name)

    def percentile(self, share: float) -> float | None:
        """Seconds within which this share of the answered calls came; None without any."""
        with self._lock:
            return nearest_rank(self._seconds, share)

    @property
    def failed_attempts(self) -> int:
        """Requests that came to nothing, also those of calls that were answered in the end."""
        return self._counts["failed_attempts"]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that were asked, as the calls name them."""
        with self._lock:
            return tuple(sorted(self._models - {""}))

    @property
    def prompts(self) -> set[str]:
        """URIs of the registered prompts that the calls were made with."""
        with self._lock:
            return set(self._prompts)

    def metrics(self) -> dict[str, float]:
        """As run metrics; what isn't known is left out."""
        known: dict[str, float | Decimal | None] = {
            "cost_usd": self.cost,
            "llm_calls": self.sent,
            "llm_errors": self.count(Status.ERROR, Status.ABORTED),
            "llm_calls_unpriced": self.unpriced,
            "llm_calls_estimated": self.estimated,
            "llm_calls_degraded": self.degraded,
            "llm_calls_refused": self.count(Status.REFUSED),
            "llm_attempts_failed": self.failed_attempts,
            "llm_calls_replayed": self.replayed or None,
            "input_tokens": self.tokens("input_tokens"),
            "output_tokens": self.tokens("output_tokens"),
            "p50_seconds": self.percentile(0.5),
            "p95_seconds": self.percentile(0.95),
        }
        known |= {f"redacted.{name}": found for name, found in self.redactions.items()}
        return {name: float(value) for name, value in known.items() if value is not None}


def nearest_rank(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values doesn't exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


class _Use:
    """What one model was used for so far: a `ModelUse` that is added to in place, as each call of a run is."""

    __slots__ = ("calls", "tokens", "unpriced", "usd")

    def __init__(self) -> None:
        self.calls = self.unpriced = 0
        self.tokens: dict[str, int | None] = dict.fromkeys(_TOKENS)
        self.usd = Decimal(0)

    def add(self, call: CallRecord, *, unpriced: bool) -> None:
        self.calls += 1
        self.unpriced += unpriced
        for name in _TOKENS:
            if (count := getattr(call.usage, name)) is not None:
                self.tokens[name] = (self.tokens[name] or 0) + count
        if call.cost.usd is not None:
            self.usd += call.cost.usd

    def told(self, model: str) -> ModelUse:
        return ModelUse(model, calls=self.calls, unpriced=self.unpriced, cost_usd=self.usd, **self.tokens)


def is_unpriced(call: CallRecord) -> bool:
    """Whether a call may have cost something that nobody knows."""
    return call.cost.usd is None and not _never_billed(call)


def _never_billed(call: CallRecord) -> bool:
    """A call that the provider answered with an error, or that never reached it, costs nothing."""
    return call.status is Status.ERROR and call.usage.input_tokens is None
