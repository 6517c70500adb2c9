"""The course of one failing call: what comes next, decided without doing any of it.

The drivers (sync, async, streams) wait and call; this decides. It is made when the first attempt has failed, or was not
let through, so that a call that goes well never pays for it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from prodkit.records import PASSED_OVER, Attempt
from prodkit.resilience.call import (
    STALE,
    STATIC,
    AnswerError,
    Call,
    DeadlineError,
    OpenError,
    ResilienceError,
    Served,
)
from prodkit.resilience.failures import Failure, FailureClass, Rule

if TYPE_CHECKING:
    import tenacity

    from prodkit.resilience.policy import Policy, Target

R = TypeVar("R")


class Step(NamedTuple):
    """One more attempt: where, after which wait."""

    target: Target
    wait: float


class Course(Generic[R]):
    """Decides for one call. `attempts` fills up as attempts are reported."""

    def __init__(self, policy: Policy, call: Call[R], chain: tuple[Target, ...], started: float) -> None:
        self.policy, self.call, self.chain = policy, call, chain
        self.ends = None if policy.deadline is None else started + policy.deadline
        self.attempts: list[Attempt] = []
        self.error: BaseException | None = None  # of the latest failed attempt
        self._failed_cost: Decimal | None = Decimal(0)
        self._at = 0  # position in the chain
        self._tries = 0  # at this target
        self._wait = 0.0
        self._retrying: tenacity.Retrying | None = None
        self._given_up = False
        self._late = False

    # ------------------------------------------------------------------------------------ what comes next

    def step(self) -> Step | None:
        """The next attempt, or None when there is none left to make."""
        while not self._given_up and self._at < len(self.chain):
            remaining = self.remaining()
            if remaining is not None and remaining <= 0:
                self._late = True
                return None
            target = self.chain[self._at]
            if self.call.refusal is not None and self._at and not self._tries and self.call.refusal(target):
                self._tell(Attempt(target.key, PASSED_OVER, 0.0, breaker=self.policy.breaker_of(target).state.value))
                self._onward()
            elif remaining is not None and self._wait >= remaining:
                self._onward()  # a wait that outlasts the call helps nobody
            else:
                return Step(target, self._wait)
        return None

    def admit(self, step: Step) -> int | None:
        """A ticket of the target's breaker, or None; then the next step is at another target."""
        ticket = self.policy.breaker_of(step.target).enter()
        if ticket is None:
            self._onward()
        return ticket

    def timeout(self) -> float | None:
        """Seconds that the attempt about to be made may take."""
        return self.policy.timeout(self.remaining(), last=self._at >= len(self.chain) - 1)

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self.ends is None else self.ends - self.policy.clock.now()

    # ------------------------------------------------------------------------------------ what happened

    def failed(
        self,
        step: Step,
        ticket: int,
        failure: Failure,
        seconds: float,
        *,
        error: BaseException | None = None,
        value: Any = None,
    ) -> None:
        """Report a failed attempt: an exception, or a value that may not be passed on. Decides on the next step."""
        rule = self.policy.rule(failure.kind)
        breaker = self.policy.breaker_of(step.target)
        state = breaker.state.value
        if rule.trips:
            breaker.failure(ticket)
        else:
            breaker.release(ticket)
        self.error = error
        self._tries += 1
        cost = self._cost(step.target, failure, value)
        self._failed_cost = None if cost is None or self._failed_cost is None else self._failed_cost + cost
        self._tell(Attempt(step.target.key, failure.kind.value, seconds, step.wait, state, failure.http_status, cost))
        self._decide(step.target, failure, rule)

    def raised(self, step: Step, ticket: int, error: BaseException, began: float) -> None:
        """Report an attempt that ended with an exception.

        Raises:
            BaseException: the exception itself, when it must go through untouched; the ticket is given back.
        """
        failure = self.call.classify(error) if isinstance(error, Exception) else None
        if failure is None or failure.kind is FailureClass.NEVER:
            self.policy.breaker_of(step.target).release(ticket)
            raise error
        self.failed(step, ticket, failure, self.policy.clock.now() - began, error=error)

    def answered(self, step: Step, ticket: int, value: R, began: float) -> Served[R] | None:
        """Report an attempt that ended with an answer; None when it may not be passed on."""
        seconds = self.policy.clock.now() - began
        wrong = self.call.validate(value) if self.call.validate is not None else None
        if wrong is None:
            return self.served(step, ticket, seconds, value)
        self.failed(step, ticket, wrong, seconds, value=value)
        return None

    def refused(self) -> None:
        """Report that the breaker didn't let the first attempt through."""
        self._onward()

    def served(self, step: Step, ticket: int, seconds: float, value: R) -> Served[R]:
        """Report a good answer."""
        breaker = self.policy.breaker_of(step.target)
        state = breaker.state.value
        breaker.success(ticket)
        self.policy.allowance_of(step.target.provider).earn()
        self._tell(Attempt(step.target.key, "", seconds, step.wait, state))
        degraded = step.target is not self.chain[0]
        return Served(value, step.target.key, degraded=degraded, attempts=self.attempts, failed_cost=self._failed_cost)

    # ---------------------------------------------------------------------------------------- the end

    def last_resort(self) -> Served[R]:
        """A stale answer or the static reply; else raises what a caller must know.

        Raises:
            BaseException: the last attempt's own exception, with a note of all attempts; or a `ResilienceError`.
        """
        if not self._given_up:  # our own fault is said loudly: a static reply would hide a wrong key for weeks
            limit = self.policy.stale_for
            if limit is not None and self.call.stale is not None and (value := self.call.stale(limit)) is not None:
                return self.resort(value, STALE)
            if self.policy.static_reply is not None and self.call.static is not None:
                return self.resort(self.call.static(self.policy.static_reply), STATIC)
        error = self.final_error()
        if error is self.error:
            raise error
        raise error from self.error

    def final_error(self) -> BaseException:
        """What a caller must know: the last attempt's own exception with a note of all attempts, or our own."""
        if self._late:
            return self._told(
                DeadlineError(
                    "resilience.deadline",
                    f"The call didn't succeed within {self.policy.deadline:g} s.",
                    fix="raise resilience.deadline, or name a fallback in prodkit.yaml",
                )
            )
        if self.error is not None:
            self.error.add_note(f"prodkit tried: {self.summary()}")
            return self.error
        last = next((attempt for attempt in reversed(self.attempts) if attempt.failed), None)
        if last is not None and last.failure_class == FailureClass.FILTERED:
            return self._told(
                AnswerError(
                    "resilience.filtered",
                    "The provider's content filter took the answer away.",
                    where=last.target,
                    fix="look at the prompt; `fallback_also_on: [filtered]` lets another model try",
                )
            )
        if last is not None:
            return self._told(
                AnswerError(
                    "resilience.bad-answer",
                    f"No target gave an answer that may be passed on ({last.failure_class}).",
                    where=last.target,
                    fix="name a fallback in prodkit.yaml, or look at the request: a token limit may cut the answer off",
                )
            )
        wait = min((self.policy.breaker_of(target).remaining() for target in self.chain), default=0.0)
        return self._told(
            OpenError(
                "resilience.open",
                "Every target is being left alone after its failures.",
                where=", ".join(target.key for target in self.chain),
                fix=f"try again in {wait:.0f} s, or name another fallback in prodkit.yaml",
            )
        )

    def summary(self) -> str:
        """The attempts in one line: target, class, seconds. Never arguments."""
        parts = [f"{a.target} {a.failure_class or 'ok'} after {a.seconds:.2f} s" for a in self.attempts]
        return "; ".join(parts) or "nothing, every target is being left alone"

    # --------------------------------------------------------------------------------------- the rules

    def _decide(self, target: Target, failure: Failure, rule: Rule) -> None:
        more = self._at + 1 < len(self.chain)
        hold = rule.hold
        again = rule.again and not (failure.kind is FailureClass.TIMEOUT and more)
        wait = 0.0
        if again:
            wait = max(self._own_wait(), failure.retry_after or 0.0)
            remaining = self.remaining()
            if failure.retry_after and remaining is not None and failure.retry_after > remaining / 2:
                again, hold = False, failure.retry_after
        if hold:
            self.policy.breaker_of(target).hold(max(hold, failure.retry_after or 0.0))
        if again and not self._stopped() and self.policy.allowance_of(target.provider).spend(failure.kind):
            self._wait = wait
        elif rule.onward:
            self._onward()
        else:
            self._given_up = True

    def _onward(self) -> None:
        self._at += 1
        self._tries, self._wait, self._retrying = 0, 0.0, None

    def _tenacity(self) -> tenacity.Retrying:
        """A fresh `Retrying` for this call at this target: a shared one loses errors between threads."""
        if self._retrying is None:
            import tenacity

            self._retrying = tenacity.Retrying(
                stop=tenacity.stop_after_attempt(self.policy.attempts),
                wait=tenacity.wait_exponential(multiplier=self.policy.wait_initial, max=self.policy.wait_max)
                + tenacity.wait_random(0, self.policy.wait_initial),
            )
        return self._retrying

    def _tenacity_state(self) -> tenacity.RetryCallState:
        import tenacity

        state = tenacity.RetryCallState(self._tenacity(), None, (), {})
        state.attempt_number = self._tries
        return state

    def _own_wait(self) -> float:
        return min(self.policy.wait_max, self._tenacity().wait(self._tenacity_state()))

    def _stopped(self) -> bool:
        return bool(self._tenacity().stop(self._tenacity_state()))

    def resort(self, value: R, name: str) -> Served[R]:
        """The result of a last resort."""
        return Served(value, name, degraded=True, attempts=self.attempts, failed_cost=self._failed_cost)

    def _cost(self, target: Target, failure: Failure, value: Any) -> Decimal | None:
        if failure.billed is False:
            return Decimal(0)
        return self.call.price(value, target) if self.call.price is not None and value is not None else None

    def _tell(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        if self.call.on_attempt is not None:
            self.call.on_attempt(attempt)

    def _told(self, error: ResilienceError) -> ResilienceError:
        error.attempts = tuple(self.attempts)
        error.add_note(f"prodkit tried: {self.summary()}")
        return error
