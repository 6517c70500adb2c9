"""`@resilient`: the policy around a function of one's own. Sync, async, generators and async generators."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from prodkit.errors import ConfigError
from prodkit.resilience.breaker import BreakerSettings
from prodkit.resilience.call import Call, Served
from prodkit.resilience.classify import classify
from prodkit.resilience.clock import SYSTEM_CLOCK, Clock
from prodkit.resilience.course import Course, Step
from prodkit.resilience.failures import Failure, FailureClass
from prodkit.resilience.policy import Commit, Policy, Target
from prodkit.resilience.run import acontinue_course, arun_call, continue_course, run_call, within
from prodkit.resilience.streams import arun_stream, run_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

P = ParamSpec("P")
R = TypeVar("R")
Kind = Literal["sync", "async", "stream", "async stream"]

_NONE: Any = object()


@dataclass(frozen=True, slots=True)
class _Around:
    """What a decorated function and its policy have in common."""

    policy: Policy
    targets: dict[str, Callable[..., Any]]  # the target's model -> what it calls
    name: str
    on: tuple[type[Exception], ...]
    accept: Callable[[Any], bool] | None
    static: Any
    commit: Commit
    timeout_to: str | None

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, isolate: bool = False) -> Call[Any]:
        """The call of these arguments."""

        def proceed(target: Target, timeout: float | None) -> Any:
            if self.timeout_to is not None and timeout is not None:
                return self.targets[target.model](*args, **{**kwargs, self.timeout_to: timeout})
            return self.targets[target.model](*args, **kwargs)

        return Call(
            provider="",
            model=self.name,
            proceed=proceed,
            classify=self.classify,
            validate=self.validate if self.accept is not None else None,
            static=None if self.static is _NONE else lambda _: self.static,
            isolate=isolate,
        )

    def classify(self, error: BaseException) -> Failure:
        """As everywhere, and the exceptions that the user named count as an outage."""
        if self.on and isinstance(error, self.on):
            return Failure(FailureClass.UNAVAILABLE, type(error).__name__)
        return classify(error)

    def validate(self, value: Any) -> Failure | None:
        """The user's own test of an answer."""
        good = self.accept is None or self.accept(value)
        return None if good else Failure(FailureClass.BAD_ANSWER, "not accepted")


@overload
def resilient(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def resilient(
    *,
    on: tuple[type[Exception], ...] = (),
    fallback: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    static_reply: Any = _NONE,
    accept: Callable[[Any], bool] | None = None,
    deadline: float | None = None,
    attempt_timeout: float | None = None,
    attempts: int = 3,
    wait_initial: float = 0.5,
    wait_max: float = 8.0,
    stream_idle_timeout: float = 30.0,
    max_concurrent: int | None = None,
    commit: Commit = "first_token",
    timeout_to: str | None = None,
    breaker: BreakerSettings | None = None,
    name: str = "",
    clock: Clock = SYSTEM_CLOCK,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def resilient(
    function: Callable[P, R] | None = None,
    /,
    *,
    on: tuple[type[Exception], ...] = (),
    fallback: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    static_reply: Any = _NONE,
    accept: Callable[[Any], bool] | None = None,
    deadline: float | None = None,
    attempt_timeout: float | None = None,
    attempts: int = 3,
    wait_initial: float = 0.5,
    wait_max: float = 8.0,
    stream_idle_timeout: float = 30.0,
    max_concurrent: int | None = None,
    commit: Commit = "first_token",
    timeout_to: str | None = None,
    breaker: BreakerSettings | None = None,
    name: str = "",
    clock: Clock = SYSTEM_CLOCK,
) -> Any:
    """Put retry, deadline, circuit breaker and fallback around a function; the function's type stays the same.

    ```python
    @prodkit.resilient(deadline=10, fallback=ask_the_small_model, static_reply="We will come back to you.")
    def ask(question: str) -> str: ...

    ask("...")          # the answer
    ask.served("...")   # a Served: the answer, who gave it, the attempts (not for streams)
    ```

    Outages, throttling and timeouts are known by their shape (HTTP statuses, the SDKs' and the builtin exceptions);
    everything else is a programming error, and goes through at once.

    Args:
        function: the function, for use without arguments.
        on: further exceptions that count as an outage.
        fallback: functions of the same kind and arguments, tried in order.
        static_reply: what is returned when nothing else answers; without it the last exception is raised.
        accept: says whether an answer may be passed on; one that may not goes to the fallback.
        deadline: seconds for everything together. A sync function that isn't given a `timeout_to` then runs in a worker
            thread with a copy of the caller's context, and the thread is left behind when the time is over.
        attempt_timeout: seconds for one attempt; without it half of the deadline while a fallback waits.
        attempts: at most so many of each function.
        wait_initial: seconds before the first retry; doubles, with jitter.
        wait_max: the longest wait, in seconds.
        stream_idle_timeout: seconds of silence after which a stream counts as stalled.
        max_concurrent: so many calls run at once; others wait, at most as long as the deadline.
        commit: for generators: "first_token", "buffer" or "restart".
        timeout_to: the function's argument that takes an attempt's seconds, when it keeps to them by itself.
        breaker: when the function is left alone.
        name: of its breaker; default: the function's qualified name.
        clock: the time, for tests.

    Raises:
        ConfigError: `resilience.contradiction`, `resilience.loop` or `resilience.fallback-kind`, when decorating.
    """

    def decorate(target: Callable[P, R]) -> Callable[P, R]:
        others = (fallback,) if callable(fallback) else tuple(fallback)
        _check_fallbacks(target, others)
        label = name or f"{target.__module__}.{target.__qualname__}"
        keys = [label, *(f"{label} -> {other.__qualname__}" for other in others)]
        policy = Policy(
            deadline=deadline,
            attempt_timeout=attempt_timeout,
            attempts=attempts,
            wait_initial=wait_initial,
            wait_max=wait_max,
            stream_idle_timeout=stream_idle_timeout,
            max_concurrent=max_concurrent,
            breaker=breaker or BreakerSettings(),
            static_reply=None if static_reply is _NONE else "",
            fallbacks={"": tuple(Target("", key) for key in keys[1:])},
            clock=clock,
        )
        targets = dict(zip(keys, (target, *others), strict=True))
        around = _Around(policy, targets, label, on, accept, static_reply, commit, timeout_to)
        return cast("Callable[P, R]", _WRAPPERS[_kind(target)](around, target))

    return decorate if function is None else decorate(function)


def _wrap_sync(around: _Around, function: Callable[..., Any]) -> Callable[..., Any]:
    policy, accept, now = around.policy, around.accept, around.policy.clock.now
    route = policy.route("", around.name)
    enter, success, earn = route.breaker.enter, route.breaker.success, route.allowance.earn
    isolate = route.timeout is not None and around.timeout_to is None
    limited = route.timeout is not None or policy.max_concurrent is not None

    def served(*args: Any, **kwargs: Any) -> Served[Any]:
        return run_call(policy, around.call(args, kwargs, isolate=isolate))

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if limited:
            return served(*args, **kwargs).value
        started, ticket = now(), enter()
        if ticket is None:
            return served(*args, **kwargs).value
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            course = Course(policy, around.call(args, kwargs), route.chain, started)
            course.raised(Step(route.chain[0], 0.0), ticket, error, started)
        else:
            if accept is None or accept(value):
                success(ticket)
                earn()
                return value
            course = Course(policy, around.call(args, kwargs), route.chain, started)
            course.answered(Step(route.chain[0], 0.0), ticket, value, started)
        return continue_course(course).value

    return _with_served(wrapper, served)


def _wrap_async(around: _Around, function: Callable[..., Any]) -> Callable[..., Any]:
    policy, accept, now = around.policy, around.accept, around.policy.clock.now
    route = policy.route("", around.name)
    enter, success, earn, seconds = route.breaker.enter, route.breaker.success, route.allowance.earn, route.timeout

    limited = (around.timeout_to is not None and seconds is not None) or policy.max_concurrent is not None

    async def served(*args: Any, **kwargs: Any) -> Served[Any]:
        return await arun_call(policy, around.call(args, kwargs))

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if limited:
            return (await served(*args, **kwargs)).value
        started, ticket = now(), enter()
        if ticket is None:
            return (await served(*args, **kwargs)).value
        try:
            work = function(*args, **kwargs)
            value = await (work if seconds is None else within(seconds, work))
        except BaseException as error:
            course = Course(policy, around.call(args, kwargs), route.chain, started)
            course.raised(Step(route.chain[0], 0.0), ticket, error, started)
        else:
            if accept is None or accept(value):
                success(ticket)
                earn()
                return value
            course = Course(policy, around.call(args, kwargs), route.chain, started)
            course.answered(Step(route.chain[0], 0.0), ticket, value, started)
        return (await acontinue_course(course)).value

    return _with_served(wrapper, served)


def _wrap_stream(around: _Around, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return run_stream(around.policy, around.call(args, kwargs), commit=around.commit)

    return wrapper


def _wrap_async_stream(around: _Around, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return arun_stream(around.policy, around.call(args, kwargs), commit=around.commit)

    return wrapper


_WRAPPERS: dict[Kind, Callable[[_Around, Callable[..., Any]], Callable[..., Any]]] = {
    "sync": _wrap_sync,
    "async": _wrap_async,
    "stream": _wrap_stream,
    "async stream": _wrap_async_stream,
}


def _with_served(wrapper: Callable[..., Any], served: Callable[..., Any]) -> Callable[..., Any]:
    wrapper.served = served  # type: ignore[attr-defined]
    return wrapper


def _kind(function: Callable[..., Any]) -> Kind:
    inner = inspect.unwrap(function)
    if inspect.isasyncgenfunction(inner):
        return "async stream"
    if inspect.iscoroutinefunction(inner):
        return "async"
    return "stream" if inspect.isgeneratorfunction(inner) else "sync"


def _check_fallbacks(function: Callable[..., Any], others: tuple[Callable[..., Any], ...]) -> None:
    seen = {inspect.unwrap(function)}
    for other in others:
        if inspect.unwrap(other) in seen:
            raise ConfigError(
                "resilience.loop",
                f"The fallback `{other.__qualname__}` is already in the chain of `{function.__qualname__}`.",
                fix="name each function once",
            )
        seen.add(inspect.unwrap(other))
        if _kind(other) != _kind(function):
            raise ConfigError(
                "resilience.fallback-kind",
                f"`{function.__qualname__}` is {_kind(function)}, its fallback `{other.__qualname__}` {_kind(other)}.",
                fix="let both be of the same kind",
            )
