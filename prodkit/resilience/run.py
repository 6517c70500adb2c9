"""Running a call under a policy: `run_call` for sync code, `arun_call` for async code.

The first attempt runs directly; a `Course` is made when it has failed or wasn't let through.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from prodkit.records import Attempt
from prodkit.resilience.call import AttemptTimeoutError, Call, Served
from prodkit.resilience.course import Course, Step
from prodkit.resilience.isolate import run_isolated

if TYPE_CHECKING:
    from prodkit.resilience.policy import Policy, Route, Target

R = TypeVar("R")


def run_call(policy: Policy, call: Call[R]) -> Served[R]:
    """Run a call under a policy, blocking.

    ```python
    def proceed(target: Target, timeout: float | None) -> ChatCompletion:
        return client.with_options(max_retries=0, timeout=timeout).chat.completions.create(model=target.model, ...)

    served = run_call(policy, Call("openai", "gpt-4o", proceed, validate=validate_response))
    served.value, served.degraded, served.served_by, served.attempts, served.cost_of_failed_attempts
    ```

    Raises:
        BaseException: the last attempt's own exception when no target could answer; cancellation, interrupts and
            programming errors at once and untouched.
        DeadlineError: the deadline has passed.
        OpenError: all targets are being left alone.
        FullError: `max_concurrent` calls are on their way, and none ended within the deadline.
        AnswerError: the targets answered with nothing that may be passed on.
    """
    if policy.max_concurrent is not None:
        with policy.bulkhead().place():
            return _run(policy, call)
    return _run(policy, call)


def _run(policy: Policy, call: Call[R]) -> Served[R]:
    clock, route = policy.clock, policy.route(call.provider, call.model)
    started, target = clock.now(), route.chain[0]
    ticket = route.breaker.enter()
    if ticket is None:
        course = Course(policy, call, route.chain, started)
        course.refused()
    else:
        try:
            value = _attempt(call, target, route.timeout)
        except BaseException as error:
            course = Course(policy, call, route.chain, started)
            course.raised(Step(target, 0.0), ticket, error, started)
        else:
            seconds = clock.now() - started
            wrong = call.validate(value) if call.validate is not None else None
            if wrong is None:
                return _served_at_once(route, call, ticket, value, seconds)
            course = Course(policy, call, route.chain, started)
            course.failed(Step(target, 0.0), ticket, wrong, seconds, value=value)
    return continue_course(course)


def _served_at_once(route: Route, call: Call[R], ticket: int, value: R, seconds: float) -> Served[R]:
    """The first attempt went well, as nearly all do: no course is made for it."""
    key, breaker = route.chain[0].key, route.breaker
    state = breaker.state.value if call.on_attempt is not None else ""
    breaker.success(ticket)
    route.allowance.earn()
    if call.on_attempt is not None:
        call.on_attempt(Attempt(key, "", seconds, 0.0, state))
    return Served(value, key, seconds=seconds)


def continue_course(course: Course[R]) -> Served[R]:
    """Make the attempts that are left after the first one has been reported."""
    clock = course.policy.clock
    while (step := course.step()) is not None:
        if step.wait:
            clock.sleep(step.wait)
        ticket = course.admit(step)
        if ticket is None:
            continue
        began = clock.now()
        try:
            value = _attempt(course.call, step.target, course.timeout())
        except BaseException as error:
            course.raised(step, ticket, error, began)
        else:
            if (served := course.answered(step, ticket, value, began)) is not None:
                return served
    return course.last_resort()


async def arun_call(policy: Policy, call: Call[R]) -> Served[R]:
    """Run a call under a policy in a task; `call.proceed` returns an awaitable. The deadline cancels it.

    `call.validate`, `call.static` and `call.stale` deal with the awaited value, not with the awaitable. Raises as
    `run_call`; a task's cancellation goes through untouched.
    """
    if policy.max_concurrent is not None:
        async with policy.bulkhead().aplace():
            return await _arun(policy, call)
    return await _arun(policy, call)


async def _arun(policy: Policy, call: Call[R]) -> Served[R]:
    clock, route = policy.clock, policy.route(call.provider, call.model)
    started, target = clock.now(), route.chain[0]
    ticket = route.breaker.enter()
    if ticket is None:
        course = Course(policy, call, route.chain, started)
        course.refused()
    else:
        try:
            value = await _aattempt(call, target, route.timeout)
        except BaseException as error:
            course = Course(policy, call, route.chain, started)
            course.raised(Step(target, 0.0), ticket, error, started)
        else:
            seconds = clock.now() - started
            wrong = call.validate(value) if call.validate is not None else None
            if wrong is None:
                return _served_at_once(route, call, ticket, value, seconds)
            course = Course(policy, call, route.chain, started)
            course.failed(Step(target, 0.0), ticket, wrong, seconds, value=value)
    return await acontinue_course(course)


async def acontinue_course(course: Course[R]) -> Served[R]:
    """`continue_course` in a task."""
    clock = course.policy.clock
    while (step := course.step()) is not None:
        if step.wait:
            await clock.asleep(step.wait)
        ticket = course.admit(step)
        if ticket is None:
            continue
        began = clock.now()
        try:
            value = await _aattempt(course.call, step.target, course.timeout())
        except BaseException as error:
            course.raised(step, ticket, error, began)
        else:
            if (served := course.answered(step, ticket, value, began)) is not None:
                return served
    return course.last_resort()


def _attempt(call: Call[R], target: Target, timeout: float | None) -> R:
    if call.isolate and timeout is not None:
        return run_isolated(lambda: call.proceed(target, timeout), timeout)
    value: R = call.proceed(target, timeout)
    return value


async def _aattempt(call: Call[Any], target: Target, seconds: float | None) -> Any:
    if seconds is None:
        return await call.proceed(target, seconds)
    return await within(seconds, call.proceed(target, seconds))


async def within(seconds: float, work: Any) -> Any:
    """Await `work`, and cancel it after so many seconds.

    Raises:
        AttemptTimeoutError: the time is over. A `TimeoutError` of the work itself goes through as it is.
    """
    try:
        async with asyncio.timeout(seconds) as scope:
            return await work
    except TimeoutError as error:
        if scope.expired():
            raise AttemptTimeoutError(f"no answer within {seconds:.3g} s") from error
        raise
