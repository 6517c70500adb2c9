"""What the policy costs when nothing goes wrong, and what it saves when something does. Run with `--benchmark-enable`.

Each claim is a ratio against a peer in the same run, so that a slow machine slows both.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import stamina
import tenacity

from prodkit.resilience import Call, DeadlineError, Policy, arun_call, resilient, run_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROUNDS, NUMBER = 7, 5000


@pytest.fixture(autouse=True)
def only_when_measuring(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("benchmark_enable"):
        pytest.skip("timed claims are checked with --benchmark-enable")


def plain() -> int:
    return 1


async def aplain() -> int:
    return 1


def seconds_each(work: Callable[[], object]) -> float:
    """The best of several rounds: what the work costs when the machine lets it."""

    def once() -> float:
        began = time.perf_counter()
        for _ in range(NUMBER):
            work()
        return (time.perf_counter() - began) / NUMBER

    return min(once() for _ in range(ROUNDS))


def aseconds_each(work: Callable[[], Awaitable[object]]) -> float:
    """The same for a coroutine function, in one running loop."""

    async def run() -> float:
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for _ in range(NUMBER):
                await work()
            best = min(best, (time.perf_counter() - began) / NUMBER)
        return best

    return asyncio.run(run())


def told_overhead(benchmark, ours: float, peers: dict[str, float]) -> None:
    figures = {name: round(value * 1e6, 2) for name, value in {"prodkit": ours, **peers}.items()}
    benchmark.extra_info["overhead_us"] = figures
    print(f"\noverhead, us a call: {figures}")


def test_sync_overhead(benchmark):
    """Around a sync call that goes well: at least 8 times cheaper than tenacity and stamina; 1.5 us on a quiet machine."""
    ours = resilient(plain)
    benchmark(ours)
    base = seconds_each(plain)
    cost = seconds_each(ours) - base
    peers = {
        "tenacity": seconds_each(tenacity.retry(plain)) - base,
        "stamina": seconds_each(stamina.retry(on=OSError)(plain)) - base,
    }
    told_overhead(benchmark, cost, peers)
    assert cost * 8 < min(peers.values())


def test_async_overhead(benchmark):
    """Around an async call that goes well: at least 8 times cheaper than tenacity and stamina; 2 us on a quiet machine."""
    benchmark.pedantic(lambda: asyncio.run(resilient(aplain)()), rounds=20)
    base = aseconds_each(aplain)
    cost = aseconds_each(resilient(aplain)) - base
    peers = {
        "tenacity": aseconds_each(tenacity.retry(aplain)) - base,
        "stamina": aseconds_each(stamina.retry(on=OSError)(aplain)) - base,
    }
    told_overhead(benchmark, cost, peers)
    assert cost * 8 < min(peers.values())


def test_async_overhead_with_deadline(benchmark):
    """With a deadline that holds: at most twice `asyncio.timeout` alone, and below tenacity without any deadline."""

    async def timed() -> int:
        async with asyncio.timeout(10):
            return await aplain()

    benchmark.pedantic(lambda: asyncio.run(resilient(deadline=10)(aplain)()), rounds=20)
    base = aseconds_each(aplain)
    cost = aseconds_each(resilient(deadline=10)(aplain)) - base
    peers = {"asyncio.timeout": aseconds_each(timed) - base, "tenacity": aseconds_each(tenacity.retry(aplain)) - base}
    told_overhead(benchmark, cost, peers)
    assert cost < 2 * peers["asyncio.timeout"]
    assert cost < peers["tenacity"]


def test_sync_overhead_with_deadline(benchmark):
    """With a deadline that the function keeps to itself, as an SDK does with its `timeout`: below half of tenacity's."""

    def timed(timeout: float = 0.0) -> int:
        return 1

    ours = resilient(deadline=10, timeout_to="timeout")(timed)
    benchmark(ours)
    base = seconds_each(timed)
    cost = seconds_each(ours) - base
    peers = {
        "tenacity, no deadline": seconds_each(tenacity.retry(timed)) - base,
        "prodkit, in a worker thread": seconds_each(resilient(deadline=10)(plain)) - seconds_each(plain),
    }
    told_overhead(benchmark, cost, peers)
    assert cost * 2 < peers["tenacity, no deadline"]


def test_run_call_overhead(benchmark):
    """`run_call`, which also tells who served, costs a quarter of tenacity at most."""
    policy, call = Policy(), Call("openai", "m", lambda target, timeout: 1, isolate=False)
    benchmark(run_call, policy, call)
    base = seconds_each(plain)
    cost = seconds_each(lambda: run_call(policy, call)) - base
    peers = {"tenacity": seconds_each(tenacity.retry(plain)) - base}
    told_overhead(benchmark, cost, peers)
    assert cost * 4 < peers["tenacity"]


def test_overhead_around_an_sdk(benchmark):
    """As the guard uses it, with a check of the answer and a word on each attempt, it costs a third of tenacity at most."""
    told: list[object] = []

    def call() -> None:
        told.clear()
        run_call(policy, guarded)

    policy, limited = Policy(deadline=None), Policy(deadline=10)
    guarded = Call(
        "openai", "m", lambda target, timeout: 1, validate=lambda value: None, on_attempt=told.append, isolate=False
    )
    benchmark(call)
    base = seconds_each(told.clear)
    cost = seconds_each(call) - base
    isolated = Call("openai", "m", lambda target, timeout: 1)
    peers = {
        "tenacity": seconds_each(tenacity.retry(plain)) - seconds_each(plain),
        "with a deadline, in a worker thread": seconds_each(lambda: run_call(limited, isolated)) - base,
    }
    told_overhead(benchmark, cost, peers)
    assert cost * 3 < peers["tenacity"]


@pytest.mark.parametrize("mode", ["async", "isolated"])
def test_deadline_overshoot(benchmark, mode):
    """A call that hangs ends at most 50 ms after its deadline, in a task and in a thread."""

    async def ahang(target, seconds):
        await asyncio.sleep(30)

    def hang(target, seconds):
        time.sleep(1)

    def call() -> None:
        policy = Policy(deadline=0.2)  # a new one, or its breaker would open
        if mode == "async":
            asyncio.run(arun_call(policy, Call("openai", "m", ahang)))
        run_call(policy, Call("openai", "m", hang, isolate=True))

    def once() -> float:
        began = time.monotonic()
        with pytest.raises(DeadlineError):
            call()
        return time.monotonic() - began - 0.2

    overshoots = sorted(once() for _ in range(11))
    benchmark.extra_info["overshoot_ms"] = round(overshoots[5] * 1000, 1)
    benchmark.pedantic(once, rounds=1)
    print(f"\novershoot, ms: median {overshoots[5] * 1000:.1f}, worst {overshoots[-1] * 1000:.1f}")
    assert 0 <= overshoots[5] < 0.05


@pytest.fixture(scope="module")
def stacks():
    path = Path(__file__).with_name("fault_table.py")
    spec = importlib.util.spec_from_file_location("fault_table", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fault_table"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_outage_and_storm(benchmark, stacks):
    """In an outage 15 calls send 5 requests at most, in a storm 50 calls at most 50; the SDK alone sends three times that."""
    requests, seconds = stacks.outage("prodkit")
    ratio, worst = stacks.storm("prodkit")
    theirs, their_worst = stacks.storm("openai as it comes")
    benchmark.extra_info.update(outage_requests=requests, storm=ratio, storm_sdk=theirs)
    benchmark.pedantic(stacks.try_fault, args=("prodkit", "503"), rounds=1)
    print(
        f"\noutage: {requests} requests, {seconds:.1f} s; storm: {ratio:.2f}x, {worst:.1f} s; SDK {theirs:.2f}x, {their_worst:.1f} s"
    )
    assert requests <= 5
    assert ratio <= 1.0 < theirs


def test_all_classic_faults_pass(benchmark, stacks):
    """The policy passes every classic fault in the same harness in which the SDK's defaults pass fewer than half."""
    names = ("openai as it comes", "prodkit")
    results = stacks.table(stacks.CLASSIC, names)
    benchmark.pedantic(stacks.try_fault, args=("prodkit", "503-once"), rounds=1)
    print("\n" + stacks.markdown(results, names))
    passed = {name: sum(results[name, fault].passed for fault in stacks.CLASSIC) for name in names}
    assert passed["prodkit"] == len(stacks.CLASSIC)
    assert passed["openai as it comes"] < len(stacks.CLASSIC) / 2
