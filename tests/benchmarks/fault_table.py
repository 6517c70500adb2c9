"""Which stack survives which fault, measured here and now: prints a table in Markdown.

    python tests/benchmarks/fault_table.py                    # the classic faults, sync and async, and the load
    python tests/benchmarks/fault_table.py --all --no-load    # all faults
    python tests/benchmarks/fault_table.py --mode async       # one of the two

Each stack asks the real openai SDK for one answer from a model that has the fault; `backup` answers well. It passes
with the right answer, or the right error where the fault is the user's own, within 5 s, and with no more requests to
the faulty model than the fault allows. Garbage is an answer that was passed on and is not the right one.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.resilience import (
    Breaker,
    Call,
    Policy,
    Target,
    arun_call,
    arun_stream,
    inspect_chunk,
    run_call,
    run_stream,
    validator,
)
from prodkit.testing import FAULTS, FaultServer, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CLASSIC = (
    "503-once", "503", "429-1s", "429-60s", "quota", "filtered-400", "401", "hang", "reset-once", "reset",
    "html", "broken-json", "no-choices", "empty", "filtered-200",
    "stream-dead", "stream-cut", "stream-no-end", "stream-stall", "stream-error",
)  # fmt: skip
PROMPT = "Classify as one of: billing, bug, access, shipping, other. Label only.\n\nTicket: the courier lost my parcel"
RIGHT, SOON = "shipping", 5.0
MESSAGES = [{"role": "user", "content": PROMPT}]


@dataclass(frozen=True)
class Outcome:
    """What came of one call under one stack."""

    passed: bool
    seconds: float
    requests: int
    told: str
    garbage: bool = False


def create(client, model: str, *, stream: bool) -> str:
    """One answer's text, as a demo reads it."""
    if not stream:
        return client.chat.completions.create(model=model, messages=MESSAGES).choices[0].message.content
    chunks = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def sdk_defaults(client) -> Callable[..., str]:
    """The openai SDK as it comes."""
    return lambda model, stream: create(client, model, stream=stream)


def article(client) -> Callable[..., str]:
    """What articles show: tenacity with five attempts over the SDK's own three, and a fallback in an except."""
    import tenacity

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_exponential(multiplier=0.5, max=8), reraise=True
    )
    def ask(model: str, stream: bool) -> str:
        return create(client, model, stream=stream)

    def call(model: str, stream: bool) -> str:
        try:
            return ask(model, stream)
        except Exception:
            return create(client, "backup", stream=stream)

    return call


def with_stamina(client) -> Callable[..., str]:
    """Stamina over an SDK whose own retries are off, and a fallback in an except."""
    import openai
    import stamina

    quiet = client.with_options(max_retries=0)

    @stamina.retry(on=openai.APIError, attempts=3, wait_initial=0.1, wait_max=1.0)
    def ask(model: str, stream: bool) -> str:
        return create(quiet, model, stream=stream)

    def call(model: str, stream: bool) -> str:
        try:
            return ask(model, stream)
        except Exception:
            return create(quiet, "backup", stream=stream)

    return call


POLICY = {"deadline": 4.5, "attempt_timeout": 1.5, "wait_initial": 0.1, "wait_max": 1.0}
FALLBACK = {"": (Target("openai", "backup"),)}


def with_prodkit(client) -> Callable[..., str]:
    """The policy around the SDK's call."""
    policy = Policy(**POLICY, fallbacks=FALLBACK)

    def call(model: str, stream: bool) -> str:
        told = prodkit_call(client, model, stream=stream)
        if stream:
            chunks = run_stream(policy, told, commit="buffer")
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return run_call(policy, told).value.choices[0].message.content

    return call


def prodkit_call(client, model: str, *, stream: bool) -> Call:
    """The SDK's call as the policy sees it, for either kind of client."""

    def proceed(target: Target, timeout: float | None):
        quiet = client.with_options(max_retries=0, timeout=timeout)
        return quiet.chat.completions.create(model=target.model, messages=MESSAGES, stream=stream)

    if stream:
        return Call("openai", model, proceed, inspect=inspect_chunk)
    return Call("openai", model, proceed, validate=validator({"messages": MESSAGES}))


async def acreate(client, model: str, *, stream: bool) -> str:
    """`create` with an async client."""
    answer = await client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
    if not stream:
        return answer.choices[0].message.content
    return "".join([chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices])


def asdk_defaults(client) -> Callable[..., Awaitable[str]]:
    """`sdk_defaults` for an async client."""
    return lambda model, stream: acreate(client, model, stream=stream)


def aarticle(client) -> Callable[..., Awaitable[str]]:
    """`article` for an async client."""
    import tenacity

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_exponential(multiplier=0.5, max=8), reraise=True
    )
    async def ask(model: str, stream: bool) -> str:
        return await acreate(client, model, stream=stream)

    return _or_backup(client, ask)


def awith_stamina(client) -> Callable[..., Awaitable[str]]:
    """`with_stamina` for an async client."""
    import openai
    import stamina

    quiet = client.with_options(max_retries=0)

    @stamina.retry(on=openai.APIError, attempts=3, wait_initial=0.1, wait_max=1.0)
    async def ask(model: str, stream: bool) -> str:
        return await acreate(quiet, model, stream=stream)

    return _or_backup(quiet, ask)


def _or_backup(client, ask) -> Callable[..., Awaitable[str]]:
    async def call(model: str, stream: bool) -> str:
        try:
            return await ask(model, stream)
        except Exception:
            return await acreate(client, "backup", stream=stream)

    return call


def awith_prodkit(client) -> Callable[..., Awaitable[str]]:
    """`with_prodkit` for an async client."""
    policy = Policy(**POLICY, fallbacks=FALLBACK)

    async def call(model: str, stream: bool) -> str:
        told = prodkit_call(client, model, stream=stream)
        if stream:
            chunks = arun_stream(policy, told, commit="buffer")
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
        return (await arun_call(policy, told)).value.choices[0].message.content

    return call


STACKS = {
    "openai as it comes": sdk_defaults,
    "tenacity(5) over it": article,
    "stamina, SDK retries off": with_stamina,
    "prodkit": with_prodkit,
}
ASYNC_STACKS = dict(zip(STACKS, (asdk_defaults, aarticle, awith_stamina, awith_prodkit), strict=True))


def limited(work: Callable[[], str], seconds: float) -> tuple[str | None, BaseException | None]:
    """The answer or the exception; after so many seconds the call is left behind as not finished."""
    box: list[tuple[str | None, BaseException | None]] = []

    def run() -> None:
        try:
            box.append((work(), None))
        except BaseException as error:
            box.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return box[0] if box else (None, TimeoutError("not finished"))


def try_fault(stack: str, name: str, mode: str = "sync") -> Outcome:
    """One call of one stack against one fault, with a server of its own."""
    import openai

    fault = FAULTS[name]
    with FaultServer() as server:
        # the user's own patience isn't known to a stack that wasn't told; the SDK's default is ten minutes
        options = server.openai_options(server.url_for(fault) if fault.address == "tls" else "")

        def ask() -> str:
            return STACKS[stack](openai.OpenAI(**options))("primary", fault.kind == "stream")

        async def aask() -> str:
            async with openai.AsyncOpenAI(**options) as client:
                return await ASYNC_STACKS[stack](client)("primary", fault.kind == "stream")

        server.inject(name, models={"primary"})
        began = time.monotonic()
        answer, error = limited(ask if mode == "sync" else lambda: asyncio.run(aask()), SOON + 0.5)
        seconds, requests = time.monotonic() - began, server.requests["primary"]
    right = answer == RIGHT if fault.expect == "answer" else error is not None and not isinstance(error, TimeoutError)
    told = repr(answer)[:30] if error is None else type(error).__name__
    passed = right and seconds <= SOON and requests <= fault.most_requests
    return Outcome(passed, seconds, requests, told, error is None and answer != RIGHT)


def outage(stack: str) -> tuple[int, float]:
    """Requests to the primary and seconds that 15 calls in a row take while it answers 503."""
    import openai

    with FaultServer() as server:
        call = STACKS[stack](openai.OpenAI(**server.openai_options()))
        server.inject("503", models={"primary"})
        began = time.monotonic()
        for _ in range(15):
            limited(lambda: call("primary", stream=False), 60)
        return server.requests["primary"], time.monotonic() - began


def storm(stack: str) -> tuple[float, float]:
    """Requests to the primary for each of 50 calls at once while it answers 503, and the slowest call's seconds."""
    import openai

    with FaultServer() as server:
        call = STACKS[stack](openai.OpenAI(**server.openai_options()))
        server.inject("503", models={"primary"})
        slowest = []

        def come(_: int) -> None:
            began = time.monotonic()
            limited(lambda: call("primary", stream=False), 60)
            slowest.append(time.monotonic() - began)

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(come, range(50)))
        return server.requests["primary"] / 50, max(slowest)


def table(faults: tuple[str, ...], stacks: tuple[str, ...], mode: str = "sync") -> dict[tuple[str, str], Outcome]:
    """All stacks against all faults; they mostly wait, so they run beside each other."""
    import openai

    openai.OpenAI(api_key="warm").chat.completions.with_raw_response  # noqa: B018  imports what the first call would
    pairs = [(stack, fault) for fault in faults for stack in stacks]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(pairs, pool.map(lambda pair: try_fault(*pair, mode), pairs), strict=True))


def markdown(results: dict[tuple[str, str], Outcome], stacks: tuple[str, ...]) -> str:
    """The table of faults."""
    faults = list(dict.fromkeys(fault for _, fault in results))
    lines = ["| fault | " + " | ".join(stacks) + " |", "|---|" + "---|" * len(stacks)]
    for fault in faults:
        cells = []
        for stack in stacks:
            one = results[stack, fault]
            cells.append(f"{'pass' if one.passed else '**fail**'} {one.seconds:.1f} s, {one.requests} req, {one.told}")
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    passed = [sum(results[stack, fault].passed for fault in faults) for stack in stacks]
    lines.append("| **passed** | " + " | ".join(f"**{count} of {len(faults)}**" for count in passed) + " |")
    garbage = [sum(results[stack, fault].garbage for fault in faults) for stack in stacks]
    lines.append("| **garbage passed on** | " + " | ".join(f"**{count}**" for count in garbage) + " |")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------- what needs no server


class OwnError(ConnectionError):
    """An outage that says whose it is."""


def _retrying(stack: str, function: Callable[..., None], **limits: float) -> Callable[..., None]:
    """A function of one's own under the stack's retries: two attempts, hardly a wait."""
    import stamina
    import tenacity

    if stack == "tenacity":
        stop = tenacity.stop_after_attempt(2)
        stop = stop | tenacity.stop_after_delay(limits["timeout"]) if limits else stop
        return tenacity.retry(stop=stop, wait=tenacity.wait_fixed(0.0001), reraise=True)(function)
    if stack == "stamina":
        quick = {"wait_initial": 0.0001, "wait_max": 0.0001, "wait_jitter": 0.0}
        return stamina.retry(on=OwnError, attempts=2, timeout=limits.get("timeout"), **quick)(function)

    def call(*args: float) -> None:
        # each call a breaker of its own, so that it really runs; its answer counts, not its target's fate
        policy = Policy(attempts=2, wait_initial=0.0001, wait_max=0.0001, deadline=limits.get("timeout"))
        run_call(policy, Call("", "own", lambda target, timeout: function(*args), isolate=bool(limits)))

    return call


def lost_exceptions(stack: str) -> int:
    """Of 6,400 failing calls by 16 threads that switch every 10 us: those that didn't get their own exception."""
    wrong: list[object] = []

    def fail(*mine: int) -> None:
        raise OwnError(*mine)

    call = _retrying(stack, fail)

    def work(thread: int) -> None:
        for turn in range(400):
            try:
                call(thread, turn)
            except BaseException as error:
                if type(error) is not OwnError or error.args != (thread, turn):
                    wrong.append(error)

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
    return len(wrong)


def overshoot(stack: str) -> float:
    """Milliseconds by which a failing function of 0.35 s outlives a limit of 0.5 s; the median of 5."""

    def slow() -> None:
        time.sleep(0.35)
        raise OwnError

    def once() -> float:
        call, began = _retrying(stack, slow, timeout=0.5), time.monotonic()
        try:
            call()
        except Exception:
            return max(0.0, (time.monotonic() - began - 0.5) * 1000)
        raise AssertionError("it always fails")

    return statistics.median(once() for _ in range(5))


def probes() -> int:
    """Of 50 threads that come when the breaker's pause is over: how many are let through."""
    clock = VirtualClock()
    breaker = Breaker("t", clock=clock)
    for _ in range(5):
        ticket = breaker.enter()
        assert ticket is not None
        breaker.failure(ticket)
    clock.advance(breaker.settings.open_for)
    gate = threading.Barrier(50)

    def come(_: int) -> bool:
        gate.wait()
        return breaker.enter() is not None

    with ThreadPoolExecutor(50) as pool:
        return sum(pool.map(come, range(50)))


def numbers() -> str:
    """The table of what needs no server."""
    stacks = ("tenacity", "stamina", "prodkit")
    lost = [f"{lost_exceptions(stack)} of 6400" for stack in stacks]
    late = [f"{overshoot(stack):.0f} ms" for stack in stacks]
    return "\n".join(
        (
            "| | " + " | ".join(stacks) + " |\n|---|---|---|---|",
            "| exceptions lost or masked, 16 threads | " + " | ".join(lost) + " |",
            "| a limit of 0.5 s is overrun by | " + " | ".join(late) + " |",
            f"| probes of 50 at half-open | no breaker | no breaker | {probes()} |",
        )
    )


def main() -> None:
    """Print the tables."""
    import stamina.instrumentation

    stamina.instrumentation.set_on_retry_hooks([])  # it would log each retry between the rows
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--all", action="store_true", help="all faults, not the classic ones only")
    parser.add_argument("--no-load", action="store_true", help="leave out the outage, the storm and the numbers")
    parser.add_argument("--no-faults", action="store_true", help="leave out the faults")
    parser.add_argument("--mode", choices=("sync", "async", "both"), default="both")
    options = parser.parse_args()
    stacks = tuple(STACKS)
    names = tuple(name for name, fault in FAULTS.items() if fault.address in {"", "none"}) if options.all else CLASSIC
    for mode in () if options.no_faults else ("sync", "async") if options.mode == "both" else (options.mode,):
        told = markdown(table(names, stacks, mode), stacks)
        sys.stdout.write(told.replace("| fault |", f"| fault, {mode} |", 1) + "\n\n")
        sys.stdout.flush()
    if options.no_load:
        return
    with ThreadPoolExecutor(len(stacks)) as pool:
        outages = list(pool.map(outage, stacks))
    sys.stdout.write("| load | " + " | ".join(stacks) + " |\n|---|" + "---|" * len(stacks) + "\n")
    cells = [f"{requests} req, {seconds:.1f} s" for requests, seconds in outages]
    sys.stdout.write("| outage of 15 calls | " + " | ".join(cells) + " |\n")
    cells = [f"{ratio:.2f}x, worst {worst:.1f} s" for ratio, worst in map(storm, stacks)]
    sys.stdout.write("| storm of 50 calls | " + " | ".join(cells) + " |\n\n" + numbers() + "\n")


if __name__ == "__main__":
    main()
