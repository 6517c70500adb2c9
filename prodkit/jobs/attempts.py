"""Attempts of one job: again in a fresh kernel, but only when the end was transient and there is time left."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_exponential, wait_random

from prodkit.jobs.ends import Outcome
from prodkit.jobs.events import AttemptEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.events import OnEvent
    from prodkit.jobs.record import CellFigures
    from prodkit.jobs.signals import StopRequest

_LONGEST_WAIT = 300.0


@dataclass(frozen=True, slots=True)
class Policy:
    """When there is another attempt. Durations are seconds; `deadline` is a point of `time.monotonic()`."""

    retries: int = 2
    wait: float = 5.0
    deadline: float = inf
    retry_dead_kernel: bool = False  # what killed the kernel (memory, a native crash) mostly kills the next one too

    @property
    def limit(self) -> int:
        """Attempts at most."""
        return self.retries + 1

    def transient(self, outcome: Outcome) -> bool:
        """Whether another attempt may end better."""
        return outcome is Outcome.TRANSIENT or (self.retry_dead_kernel and outcome is Outcome.KERNEL_DIED)


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How one attempt ended. Durations are seconds; `waited` is the wait before it."""

    number: int
    outcome: Outcome
    seconds: float
    error_class: str = ""
    message: str = ""  # its text, redacted
    cell: int | None = None
    waited: float = 0.0
    run_id: str = ""
    output: Path | None = None
    cells: tuple[CellFigures, ...] = ()  # those that ran, with what each took

    @property
    def exit_code(self) -> int:
        """What the job would exit with if this were its last attempt."""
        return self.outcome.exit_code


def run_attempts(
    attempt: Callable[[int], AttemptResult], policy: Policy, stop: StopRequest, on_event: OnEvent
) -> tuple[AttemptResult, ...]:
    """Call `attempt(number)` until an attempt ends otherwise than transiently, or the policy says that it is enough.

    Returns:
        All attempts, in order; at least one.
    """
    done: list[AttemptResult] = []
    waited = [0.0]

    def once() -> AttemptResult:
        if done and stop.asked:
            return done[-1]  # the request came while waiting
        number = len(done) + 1
        on_event(AttemptEvent("start", number, policy.limit))
        result = replace(attempt(number), waited=waited[0])
        done.append(result)
        on_event(
            AttemptEvent(
                "end", number, policy.limit, result.outcome, result.seconds, result.error_class, message=result.message
            )
        )
        return result

    def pause(seconds: float) -> None:
        waited[0] = seconds
        on_event(AttemptEvent("wait", len(done), policy.limit, done[-1].outcome, waits=seconds))
        stop.wait(seconds)

    retrying = Retrying(
        retry=retry_if_result(lambda result: policy.transient(result.outcome) and result.error_class != "JobDeadline"),
        stop=_enough(policy, stop),
        wait=wait_exponential(multiplier=policy.wait, max=_LONGEST_WAIT) + wait_random(0, policy.wait / 4),
        sleep=pause,
        retry_error_callback=_settle_for_the_last,
    )
    retrying(once)
    return tuple(done)


def _settle_for_the_last(state: RetryCallState) -> AttemptResult:
    """No RetryError: the last attempt tells its own end."""
    if state.outcome is None:
        raise RuntimeError("tenacity asked for the end before the first attempt")
    return state.outcome.result()


def _enough(policy: Policy, stop: StopRequest) -> Callable[[RetryCallState], bool]:
    """No attempt more: the number is reached, somebody asked to stop, or the wait alone would pass the deadline."""
    by_number = stop_after_attempt(policy.limit)

    def enough(state: RetryCallState) -> bool:
        too_late = time.monotonic() + (state.upcoming_sleep or 0.0) >= policy.deadline
        return by_number(state) or stop.asked or too_late

    return enough
