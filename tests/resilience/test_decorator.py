"""`@resilient` around functions of one's own."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time

import pytest

import prodkit
from prodkit.errors import ConfigError
from prodkit.resilience import AnswerError, BreakerSettings, DeadlineError, OpenError, StreamRestart, resilient
from prodkit.testing import VirtualClock


class DownError(Exception):
    status_code = 503


def flaky(times: int, answer="yes"):
    """A function that fails so often before it answers, and how often it was called."""
    calls: list[tuple] = []

    def work(*args, **kwargs):
        calls.append((args, kwargs))
        if len(calls) <= times:
            raise DownError
        return answer

    return work, calls


def test_is_at_the_front_door():
    """`prodkit.resilient` is this decorator."""
    assert prodkit.resilient is resilient


def test_sync_is_retried():
    """A function that fails twice is tried three times, with its arguments; the caller gets the answer."""
    work, calls = flaky(2)
    assert resilient(clock=VirtualClock())(work)("a", b=1) == "yes"
    assert calls == [(("a",), {"b": 1})] * 3


async def test_async_is_retried():
    """The same for a coroutine function, which stays one."""
    work, calls = flaky(2)

    async def later(*args, **kwargs):
        return work(*args, **kwargs)

    wrapped = resilient(clock=VirtualClock())(later)
    assert inspect.iscoroutinefunction(wrapped)
    assert await wrapped("a", b=1) == "yes"
    assert len(calls) == 3


def test_bare_decorator_keeps_the_function():
    """Without arguments it decorates as well, and name, docstring and signature stay."""

    @resilient
    def ask(question: str) -> str:
        """Ask."""
        return question

    assert ask("x") == "x"
    assert (ask.__name__, ask.__doc__) == ("ask", "Ask.")
    assert list(inspect.signature(ask).parameters) == ["question"]


def test_result_is_told_by_served():
    """`served` gives the answer with who gave it and what it took."""
    work, _ = flaky(99)

    def small(*args, **kwargs):
        return "small"

    wrapped = resilient(clock=VirtualClock(), fallback=small, name="ask")(work)
    served = wrapped.served()
    assert served.value == "small"
    assert served.degraded
    assert served.served_by.startswith("ask -> ")
    assert [attempt.failure_class for attempt in served.attempts] == ["unavailable"] * 3 + [""]


async def test_async_result_is_told_by_served():
    """`served` of an async function is awaited."""

    @resilient
    async def ask() -> str:
        return "yes"

    assert (await ask.served()).value == "yes"


def test_static_reply_comes_last():
    """The static reply is what remains, of whatever type; None is a reply, too."""
    work, _ = flaky(99)
    assert resilient(clock=VirtualClock(), static_reply={"answer": "later"})(work)() == {"answer": "later"}
    assert resilient(clock=VirtualClock(), static_reply=None)(flaky(99)[0])() is None
    with pytest.raises(DownError):
        resilient(clock=VirtualClock())(flaky(99)[0])()


def test_own_exceptions_are_named():
    """An exception that nobody knows goes through at once, unless `on` says that it is an outage."""

    class OddError(Exception):
        pass

    calls = []

    def odd():
        calls.append(1)
        raise OddError

    with pytest.raises(OddError):
        resilient(clock=VirtualClock())(odd)()
    assert len(calls) == 1
    with pytest.raises(OddError):
        resilient(clock=VirtualClock(), on=(OddError,))(odd)()
    assert len(calls) == 4


def test_unaccepted_answers_are_not_passed_on():
    """An answer that `accept` turns down goes to the fallback, and without one it is an error."""
    wrapped = resilient(accept=bool, fallback=lambda: "full", clock=VirtualClock())(lambda: "")
    assert wrapped() == "full"
    with pytest.raises(AnswerError):
        resilient(accept=bool, clock=VirtualClock())(lambda: "")()


def test_breaker_leaves_the_function_alone():
    """After its failures the function isn't called for a while, then again."""
    clock = VirtualClock()
    work, calls = flaky(5)
    wrapped = resilient(clock=clock, attempts=1, breaker=BreakerSettings(open_for=10.0))(work)
    for _ in range(5):
        with pytest.raises(DownError):
            wrapped()
    with pytest.raises(OpenError):
        wrapped()
    assert len(calls) == 5
    clock.advance(10.0)
    assert wrapped() == "yes"


def test_sync_deadline_holds():
    """A blocking function is left behind at the deadline."""
    free = threading.Event()
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        resilient(deadline=0.2)(lambda: free.wait(20))()
    assert time.monotonic() - began < 2
    free.set()


async def test_async_deadline_holds():
    """A coroutine is cancelled at the deadline."""
    ended = []

    @resilient(deadline=0.2)
    async def slow():
        try:
            await asyncio.sleep(20)
        finally:
            ended.append(True)

    with pytest.raises(DeadlineError):
        await slow()
    assert ended == [True]


def test_timeout_is_passed_to_who_keeps_it():
    """With `timeout_to` the function gets the seconds of its attempt, and runs in the caller's own thread."""
    seen = []

    @resilient(deadline=10.0, timeout_to="timeout", fallback=lambda timeout: "other")
    def ask(timeout: float = 0.0):
        seen.append((round(timeout, 1), threading.current_thread() is threading.main_thread()))
        raise TimeoutError

    assert ask() == "other"
    assert seen == [(5.0, True)]


async def test_async_timeout_is_passed_on_too():
    """The same for coroutine functions."""
    seen = []

    @resilient(deadline=10.0, timeout_to="limit")
    async def ask(limit: float = 0.0):
        seen.append(round(limit, 1))
        return "yes"

    assert await ask() == "yes"
    assert seen == [10.0]


def test_generator_falls_back():
    """A generator that fails before its first piece is replaced by its fallback."""

    def broken():
        raise DownError
        yield ""

    def whole():
        yield from "ab"

    assert list(resilient(fallback=whole, attempts=1, clock=VirtualClock())(broken)()) == ["a", "b"]


async def test_async_generator_restarts():
    """An async generator with `restart` tells its reader to begin anew."""

    async def broken():
        yield "x"
        raise DownError

    async def whole():
        yield "a"

    wrapped = resilient(fallback=whole, attempts=1, commit="restart", name="tell", clock=VirtualClock())(broken)
    pieces = [piece async for piece in wrapped()]
    assert pieces[0] == "x"
    assert isinstance(pieces[1], StreamRestart)
    assert pieces[2:] == ["a"]


def test_refuses_what_contradicts_itself():
    """A looping fallback, one of another kind and a policy that contradicts itself are refused when decorating."""

    def ask():
        return 1

    async def other():
        return 1

    with pytest.raises(ConfigError, match=r"resilience\.loop"):
        resilient(fallback=ask)(ask)
    with pytest.raises(ConfigError, match=r"resilience\.loop"):
        resilient(fallback=[len, len])(ask)
    with pytest.raises(ConfigError, match=r"resilience\.fallback-kind"):
        resilient(fallback=other)(ask)
    with pytest.raises(ConfigError, match=r"resilience\.contradiction"):
        resilient(deadline=1.0, attempt_timeout=2.0)(ask)


def test_methods_work():
    """A method keeps its object."""

    class Asker:
        name = "ada"

        @resilient
        def ask(self):
            return self.name

    assert Asker().ask() == "ada"
