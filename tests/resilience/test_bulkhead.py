"""How many calls may be on their way at once."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from prodkit.errors import ConfigError
from prodkit.manifest import parse
from prodkit.resilience import Call, FullError, Policy, arun_call, arun_stream, resilient, run_call, run_stream


class Watch:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.lock, self.inside, self.most = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1


def test_threads_wait_outside():
    """Of twenty threads three are on their way at once, and all come through."""
    watch = Watch()

    def proceed(target, timeout):
        with watch:
            time.sleep(0.01)
        return "yes"

    policy = Policy.from_manifest(parse("resilience: {max_concurrent: 3}"))
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: run_call(policy, Call("openai", "m", proceed)).value, range(20)))
    assert answers == ["yes"] * 20
    assert watch.most == 3


async def test_tasks_wait_outside():
    """The same for tasks, also through the decorator."""
    watch = Watch()

    @resilient(max_concurrent=3)
    async def ask():
        with watch:
            await asyncio.sleep(0.01)
        return "yes"

    assert await asyncio.gather(*(ask() for _ in range(20))) == ["yes"] * 20
    assert watch.most == 3


def test_decorated_functions_wait_outside():
    """The same for a decorated function in threads."""
    watch = Watch()

    @resilient(max_concurrent=2)
    def ask(_):
        with watch:
            time.sleep(0.01)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(ask, range(10)))
    assert watch.most == 2


async def test_waiting_ends_with_an_error():
    """A call that gets no place within its deadline is refused, and was never sent."""
    policy, asked, free = Policy(max_concurrent=1, deadline=0.2), [], threading.Event()
    started = threading.Event()

    def proceed(target, timeout):
        asked.append(1)
        started.set()
        free.wait(5)

    holder = threading.Thread(target=run_call, args=(policy, Call("openai", "m", proceed)))
    holder.start()
    await asyncio.to_thread(started.wait, 5)
    with pytest.raises(FullError, match="1 calls are on their way"):
        run_call(policy, Call("openai", "m", proceed))
    free.set()
    holder.join()
    assert len(asked) == 1

    async def aproceed(target, seconds):
        await asyncio.sleep(0.1)

    slow = Policy(max_concurrent=1, deadline=0.15)
    outcomes = await asyncio.gather(
        *(arun_call(slow, Call("openai", "m", aproceed)) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(FullError) == 1


async def test_stream_holds_its_place_to_the_end():
    """A stream holds its place until it is read or left, and a cancelled waiter takes none."""
    policy = Policy(max_concurrent=1, deadline=0.2)
    pieces = run_stream(policy, Call("openai", "m", lambda target, timeout: iter("abc")))
    assert next(pieces) == "a"
    with pytest.raises(FullError):
        run_call(policy, Call("openai", "m", lambda target, timeout: 1))
    pieces.close()
    assert run_call(policy, Call("openai", "m", lambda target, timeout: 1)).value == 1

    async def tell():
        for piece in "abc":
            yield piece

    apieces = arun_stream(policy, Call("openai", "m", lambda target, timeout: tell()))
    assert await anext(apieces) == "a"

    async def one(target, seconds):
        return 1

    waiter = asyncio.create_task(arun_call(policy, Call("openai", "m", one)))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await apieces.aclose()
    assert (await arun_call(policy, Call("openai", "m", one))).value == 1


def test_no_place_at_all_is_refused():
    """A policy without a single place is refused when it is built."""
    with pytest.raises(ConfigError):
        Policy(max_concurrent=0)
    with pytest.raises(ConfigError):
        parse("resilience: {max_concurrent: 0}")
