"""Calls under a policy: what the caller gets, how often and how long it is tried, and what goes through untouched."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from prodkit.resilience import (
    AnswerError,
    Call,
    DeadlineError,
    Failure,
    FailureClass,
    OpenError,
    Policy,
    Target,
    arun_call,
    run_call,
)
from prodkit.resilience.call import AttemptTimeoutError
from prodkit.resilience.isolate import run_isolated
from prodkit.testing import VirtualClock

BACKUP = Target("openai", "backup", region="eu")


class UnavailableError(Exception):
    status_code = 503


class ThrottledError(Exception):
    status_code = 429

    def __init__(self, seconds: float) -> None:
        self.response = type("Response", (), {"headers": {"retry-after": str(seconds)}, "status_code": 429})()


class WrongKeyError(Exception):
    status_code = 401


class Script:
    """Answers one after the other, by target; an exception is raised."""

    def __init__(self, primary: list, backup: list | None = None) -> None:
        self.plan = {"primary": primary, "backup": backup or []}
        self.asked: list[str] = []
        self.timeouts: list[float | None] = []

    def __call__(self, target: Target, timeout: float | None):
        self.asked.append(target.model)
        self.timeouts.append(timeout)
        plan = self.plan[target.model]
        outcome = plan.pop(0) if len(plan) > 1 else plan[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def later(self, target: Target, seconds: float | None):
        return self(target, seconds)


def policy(**changes) -> Policy:
    return Policy(**{"clock": VirtualClock(), "fallbacks": {"": (BACKUP,)}, **changes})


def ask(script: Script, under: Policy, mode: str, **options):
    """The same call, sync or async."""
    if mode == "sync":
        return run_call(under, Call("openai", "primary", script, **options))
    return asyncio.run(arun_call(under, Call("openai", "primary", script.later, **options)))


both = pytest.mark.parametrize("mode", ["sync", "async"])


@both
def test_good_call_is_told_as_such(mode):
    """A call that goes well has one attempt, isn't degraded, and cost nothing in vain."""
    served = ask(Script(["yes"]), policy(), mode)
    assert (served.value, served.served_by, served.degraded) == ("yes", "openai/primary", False)
    assert [attempt.failure_class for attempt in served.attempts] == [""]
    assert served.cost_of_failed_attempts == 0


@both
def test_retry_waits_and_tells(mode):
    """A 503 is tried again after a growing wait, and each attempt is told with class, wait, target and breaker."""
    told = []
    under = policy()
    served = ask(Script([UnavailableError(), UnavailableError(), "yes"]), under, mode, on_attempt=told.append)
    assert served.value == "yes"
    assert [attempt.failure_class for attempt in told] == ["unavailable", "unavailable", ""]
    assert told == list(served.attempts)
    assert told[0].http_status == 503
    assert told[0].breaker == "closed"
    first, second = under.clock.sleeps
    assert 0.5 <= first <= 1.0 <= second <= 1.5
    assert [attempt.waited for attempt in told] == [0.0, first, second]


@both
def test_fallback_is_degraded(mode):
    """When the target stays down, the next one answers, and the result says so."""
    script = Script([UnavailableError()], ["yes"])
    served = ask(script, policy(), mode)
    assert (served.served_by, served.degraded) == ("openai/backup", True)
    assert script.asked == ["primary", "primary", "primary", "backup"]


@both
def test_retry_after_is_honoured_up_to_half_of_the_time_left(mode):
    """A wait that fits is waited for; one that takes more than half of the time left goes to the next target at once."""
    under = policy(deadline=10.0)
    assert ask(Script([ThrottledError(3.0), "yes"]), under, mode).served_by == "openai/primary"
    assert under.clock.sleeps == [3.0]
    under = policy(deadline=10.0)
    script = Script([ThrottledError(6.0)], ["yes"])
    assert ask(script, under, mode).served_by == "openai/backup"
    assert under.clock.sleeps == []
    ask(script, under, mode)
    assert script.asked == ["primary", "backup", "backup"], "the target is left alone for as long as it asked"
    under.clock.advance(6.5)
    ask(script, under, mode)
    assert script.asked[-2:] == ["primary", "backup"]


@both
def test_timeout_is_repeated_only_without_a_fallback(mode):
    """A call that timed out may have been billed: with a fallback it isn't sent again to the same target."""
    script = Script([TimeoutError()], ["yes"])
    served = ask(script, policy(), mode)
    assert script.asked == ["primary", "backup"]
    assert served.cost_of_failed_attempts is None, "nobody knows what the lost attempt has cost"
    script = Script([TimeoutError(), "yes"])
    assert ask(script, policy(fallbacks={}), mode).value == "yes"


@both
def test_our_own_fault_is_said_loudly(mode):
    """A wrong key isn't tried again, goes nowhere else, and isn't hidden behind a static reply."""
    script = Script([WrongKeyError()], ["yes"])
    with pytest.raises(WrongKeyError) as refused:
        ask(script, policy(static_reply="Later."), mode, static=str)
    assert script.asked == ["primary"]
    assert refused.value.__notes__ == ["prodkit tried: openai/primary refused after 0.00 s"]


@both
def test_garbage_is_never_passed_on(mode):
    """An answer that isn't one goes to the next target, what it cost is told, and without a next one it is an error."""

    def validate(value):
        return Failure(FailureClass.BAD_ANSWER, "empty", billed=True) if value == "" else None

    options = {"validate": validate, "price": lambda value, target: Decimal("0.25")}
    served = ask(Script([""], ["yes"]), policy(), mode, **options)
    assert served.value == "yes"
    assert served.cost_of_failed_attempts == Decimal("0.25")
    assert served.attempts[0].cost_usd == Decimal("0.25")
    with pytest.raises(AnswerError) as refused:
        ask(Script([""], [""]), policy(), mode, **options)
    assert len(refused.value.attempts) == 2


@both
def test_last_resorts_in_order(mode):
    """An earlier answer comes before the static reply, only where the policy wants it; both are told as degraded."""
    down, asked = [UnavailableError()], []
    under = policy(static_reply="Later.", stale_for=60.0)

    def old(seconds: float) -> str:
        asked.append(seconds)
        return "old"

    served = ask(Script(down, down), under, mode, stale=old, static=str.upper)
    assert (served.value, served.served_by, served.degraded, asked) == ("old", "cache", True, [60.0])
    served = ask(Script(down, down), policy(static_reply="Later."), mode, stale=old, static=str.upper)
    assert (served.value, asked) == ("LATER.", [60.0])
    under = policy(static_reply="Later.", stale_for=60.0)
    served = ask(Script(down, down), under, mode, stale=lambda _: None, static=str.upper)
    assert (served.value, served.served_by, served.degraded) == ("LATER.", "static-reply", True)
    assert len(served.attempts) == 6


@both
def test_last_exception_is_the_callers(mode):
    """Without a last resort the caller gets the very exception of the last attempt, with all attempts in a note."""
    last = UnavailableError()
    with pytest.raises(UnavailableError) as raised:
        ask(Script([UnavailableError()], [UnavailableError(), UnavailableError(), last]), policy(), mode)
    assert raised.value is last
    assert raised.value.__notes__[0].count("unavailable") == 6


@both
def test_deadline_counts_waits(mode):
    """Waits and attempts together keep to the deadline, and the error chains what happened last."""
    clock = VirtualClock()

    def slow(target: Target, timeout: float | None):
        clock.sleep(min(60.0 if 3.0 in clock.sleeps else 3.0, timeout))
        raise TimeoutError

    under = Policy(clock=clock, deadline=10.0)
    started = clock.now()

    async def later(target: Target, seconds: float | None):
        return slow(target, seconds)

    def run() -> None:
        if mode == "sync":
            run_call(under, Call("openai", "primary", slow))
        asyncio.run(arun_call(under, Call("openai", "primary", later)))

    with pytest.raises(DeadlineError) as late:
        run()
    assert 9.0 < clock.now() - started <= 10.0
    assert isinstance(late.value.__cause__, TimeoutError)
    assert isinstance(late.value, TimeoutError)
    assert late.value.exit_code == 75


@both
def test_open_targets_are_not_asked(mode):
    """When every target is being left alone, the caller is told so, and nobody is asked."""
    under = policy()
    for target in under.chain("openai", "primary"):
        under.breaker_of(target).hold(20.0)
    script = Script(["yes"], ["yes"])
    with pytest.raises(OpenError, match="try again in 20 s"):
        ask(script, under, mode)
    assert script.asked == []


@both
def test_targets_that_cannot_serve_are_passed_over(mode):
    """A fallback that the call can't go to is passed over, which is an event and doesn't count against it."""
    script, told = Script([UnavailableError()], ["yes"]), []
    refusal = lambda target: "no key" if target.model == "backup" else ""  # noqa: E731
    under = policy()
    with pytest.raises(UnavailableError):
        ask(script, under, mode, refusal=refusal, on_attempt=told.append)
    assert "backup" not in script.asked
    assert [(one.target, one.failure_class) for one in told][-1] == ("openai/backup", "passed-over")
    assert under.breaker_of(under.chain("openai", "primary")[1]).state == "closed"


@both
@pytest.mark.parametrize("bug", [TypeError("x"), ZeroDivisionError(), KeyError("x")])
def test_programming_errors_go_through_at_once(mode, bug):
    """A programming error is raised as it is, after one attempt, and trips nothing."""
    under, script = policy(), Script([bug], ["yes"])
    for _ in range(10):
        with pytest.raises(type(bug)) as raised:
            ask(script, under, mode)
        assert raised.value is bug
    assert set(script.asked) == {"primary"}
    assert under.breaker_of(under.chain("openai", "primary")[0]).state == "closed"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_go_through_at_once(end):
    """An interrupt is never swallowed, nor taken for a failure of the target."""
    script = Script([end()], ["yes"])
    with pytest.raises(end):
        run_call(policy(), Call("openai", "primary", script))
    assert script.asked == ["primary"]


@pytest.mark.parametrize("moment", ["call", "wait"])
async def test_cancellation_is_never_swallowed(moment):
    """A task that is cancelled during an attempt or during a wait ends as cancelled, and nothing more is sent."""
    asked = []

    async def proceed(target: Target, seconds: float | None):
        asked.append(target.model)
        if moment == "call":
            await asyncio.sleep(60)
        raise UnavailableError

    under = Policy(wait_initial=30.0, wait_max=30.0, deadline=100.0)
    task = asyncio.create_task(arun_call(under, Call("openai", "primary", proceed)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked == ["primary"]
    assert under.breaker_of(under.chain("openai", "primary")[0]).state == "closed"


async def test_cancelled_probe_frees_its_place():
    """When the one probe at half-open is cancelled, the next caller is the probe."""
    clock = VirtualClock()
    under = Policy(clock=clock, deadline=None)
    breaker = under.breaker_of(under.chain("openai", "primary")[0])
    breaker.hold(5.0)
    clock.advance(5.0)

    async def hang(target: Target, seconds: float | None):
        await asyncio.sleep(60)

    probe = asyncio.create_task(arun_call(under, Call("openai", "primary", hang)))
    await asyncio.sleep(0)
    assert breaker.state == "half-open"
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    served = await arun_call(under, Call("openai", "primary", Script(["yes"]).later))
    assert served.value == "yes"
    assert breaker.state == "closed"


async def test_async_deadline_is_real():
    """A task that would take a minute ends at the deadline, 50 ms late at most."""

    async def hang(target: Target, seconds: float | None):
        await asyncio.sleep(60)

    began = time.monotonic()
    with pytest.raises(DeadlineError):
        await arun_call(Policy(deadline=0.3), Call("openai", "primary", hang))
    assert 0.3 <= time.monotonic() - began < 2.0


def test_isolated_deadline_is_real():
    """Without being asked, a blocking call that ignores its timeout is left behind at the deadline; it saw its context."""
    name = contextvars.ContextVar("name", default="nobody")
    name.set("ada")
    seen = []
    free = threading.Event()

    def deaf(target: Target, timeout: float | None):
        seen.append(name.get())
        free.wait(30)

    began = time.monotonic()
    with pytest.raises(DeadlineError):
        run_call(Policy(deadline=0.3), Call("openai", "primary", deaf))
    assert 0.3 <= time.monotonic() - began < 2.0
    free.set()
    assert seen == ["ada"]


def test_isolated_calls_share_a_thread():
    """Calls one after the other share a thread; one that is left behind at work gets nothing more to do."""
    free, seen = threading.Event(), []

    def note() -> int:
        seen.append(threading.get_ident())
        return seen[-1]

    def hang() -> None:
        note()
        free.wait(30)

    assert len({run_isolated(note, 5.0) for _ in range(50)}) <= 2  # a second one, when an earlier test's comes back
    with pytest.raises(AttemptTimeoutError):
        run_isolated(hang, 0.05)
    left = seen[-1]
    assert left not in {run_isolated(note, 5.0) for _ in range(50)}
    free.set()
    with pytest.raises(ZeroDivisionError):
        run_isolated(lambda: 1 // 0, 5.0)
    assert run_isolated(lambda: "yes", 5.0) == "yes"


def test_bad_outage_costs_five_requests():
    """Fifteen calls in an outage send the primary five requests at most; all of them are answered."""
    script = Script([UnavailableError()], ["yes"])
    under = policy()
    answers = [run_call(under, Call("openai", "primary", script)).value for _ in range(15)]
    assert answers == ["yes"] * 15
    assert script.asked.count("primary") <= 5


def test_storm_is_not_amplified():
    """Fifty callers at once send a broken primary no more requests than they are, and all are answered."""
    lock, asked = threading.Lock(), []
    gate = threading.Barrier(50)

    def proceed(target: Target, timeout: float | None):
        with lock:
            asked.append(target.model)
        time.sleep(0.01)
        if target.model == "primary":
            raise UnavailableError
        return "yes"

    under = Policy(fallbacks={"": (BACKUP,)}, wait_initial=0.1)

    def come(_):
        gate.wait()
        return run_call(under, Call("openai", "primary", proceed)).value

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(come, range(50))) == ["yes"] * 50
    assert asked.count("primary") <= 50


def test_no_exception_is_lost_between_threads():
    """16 threads that switch every 10 us make 6,400 failing calls, and each gets its own exception back."""
    under = Policy(clock=VirtualClock(), attempts=2, breaker=policy().breaker, fallbacks={})
    wrong = []

    class OwnError(Exception):
        status_code = 503

    def work(thread: int) -> None:
        for turn in range(400):
            mine = (thread, turn)
            model = f"m{thread}-{turn}"  # a breaker of its own, so that each call really runs

            def proceed(target: Target, timeout: float | None, mine=mine):
                raise OwnError(*mine)

            try:
                run_call(under, Call("", model, proceed, isolate=False))
            except OwnError as error:
                if error.args != mine:
                    wrong.append((mine, error.args))
            except BaseException as error:
                wrong.append((mine, error))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_allowance_stops_a_storm_of_retries():
    """When a provider's retry budget is spent, failing calls are tried once each."""
    under = Policy(clock=VirtualClock(), fallbacks={}, deadline=None)
    asked = 0

    def proceed(target: Target, timeout: float | None):
        nonlocal asked
        asked += 1
        raise UnavailableError

    for number in range(100):
        with pytest.raises(UnavailableError):
            run_call(under, Call("openai", f"model-{number}", proceed))
    assert asked == 100 + 500 // 14
