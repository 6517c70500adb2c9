"""What the policy is put around (`Call`) and what comes out (`Served`)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prodkit.errors import TransientError
from prodkit.records import Attempt
from prodkit.resilience.classify import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.resilience.failures import Failure
    from prodkit.resilience.policy import Target

R = TypeVar("R")
_NOTHING = Decimal(0)

STALE = "cache"
STATIC = "static-reply"
REPLAY = "replay"


class Served(Generic[R]):
    """The outcome of a call, told honestly. Not to be changed.

    Attributes:
        value: the answer.
        served_by: the target's key (`openai/gpt-4o`), or `cache` or `static-reply`.
        degraded: True when anything but the target that was asked for has answered.
        cost_of_failed_attempts: US dollars; None when one of them may have been billed and nobody knows how much.
    """

    __slots__ = ("_attempts", "_seconds", "cost_of_failed_attempts", "degraded", "served_by", "value")

    def __init__(
        self,
        value: R,
        served_by: str,
        *,
        degraded: bool = False,
        attempts: Sequence[Attempt] = (),
        failed_cost: Decimal | None = _NOTHING,
        seconds: float = 0.0,
    ) -> None:
        self.value, self.served_by, self.degraded = value, served_by, degraded
        self.cost_of_failed_attempts = failed_cost
        self._attempts, self._seconds = attempts, seconds

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt, in order. The last one has no failure class, unless the answer is a last resort."""
        # of a call that went well at once it is built here, because most callers never look
        return tuple(self._attempts) or (Attempt(self.served_by, "", self._seconds),)

    def __repr__(self) -> str:
        """Who served, never what."""
        return f"Served(served_by={self.served_by!r}, degraded={self.degraded}, attempts={len(self.attempts)})"


class Chunk(StrEnum):
    """What a piece of a stream is."""

    CONTENT = "content"
    END = "end"  # the provider says that the answer is complete
    OTHER = "other"  # a role, a usage figure, a keep-alive


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One call that the policy is put around.

    Attributes:
        provider: as the manifest spells it.
        model: the model that the user asked for.
        proceed: does one attempt. Gets the target and the seconds that it may take (None: no limit), and returns the
            response, or an awaitable of it for `arun_call`, or an iterable of pieces for streams. It has to pass the
            seconds to its client as the timeout, and to switch the client's own retries off.
        classify: says what an exception means. The default knows the SDKs of OpenAI and Anthropic, httpx, requests and
            the builtin errors by their shape.
        validate: says what is wrong with a response, or None. It must not raise.
        inspect: says what a piece of a stream is, or what is wrong with it. None: pieces are content, and a stream that
            stops has ended.
        refusal: why this call can't go to a target at all (no key, nothing that its wire format has a word for); empty:
            it can. A target that is passed over is an attempt of the class `passed-over`, which sends nothing.
        static: makes the last resort out of the policy's `static_reply`, in the type that the user expects.
        stale: gives an earlier answer to the same request, not older than so many seconds, or None. Asked only under a
            policy with `stale_for`.
        price: US dollars of a response that was not used; None when not known.
        on_attempt: is told each attempt when it has ended, for spans and journals. Must not raise.
        on_served: streams only: is told at the end who has served, with the value None. Must not raise.
        isolate: sync only: run each attempt in a worker thread with a copy of the caller's context. So the deadline
            holds even when the client's timeout doesn't (a response that trickles in restarts it with every byte).
            Costs some 0.2 ms; False is for a `proceed` that certainly ends in time.
    """

    provider: str
    model: str
    proceed: Callable[[Target, float | None], Any]
    classify: Callable[[BaseException], Failure] = classify
    validate: Callable[[R], Failure | None] | None = None
    inspect: Callable[[Any], Chunk | Failure] | None = None
    refusal: Callable[[Target], str] | None = None
    static: Callable[[str], R] | None = None
    stale: Callable[[float], R | None] | None = None
    price: Callable[[R, Target], Decimal | None] | None = None
    on_attempt: Callable[[Attempt], None] | None = None
    on_served: Callable[[Served[None]], None] | None = None
    isolate: bool = True


class ResilienceError(TransientError):
    """No target could answer. `attempts` tells what was tried."""

    attempts: tuple[Attempt, ...] = ()


class DeadlineError(ResilienceError, TimeoutError):
    """The call's deadline has passed."""


class OpenError(ResilienceError):
    """Every target is being left alone after its failures."""


class FullError(ResilienceError):
    """Too many calls are on their way, and no place became free in time."""


class AnswerError(ResilienceError):
    """Targets answered, but with nothing that may be passed on: empty, cut off, or not what was asked for."""


class StreamError(ResilienceError):
    """A stream broke off after its first pieces had been passed on."""


class AttemptTimeoutError(TimeoutError):
    """One attempt took longer than it may."""
