"""Which stack survives which fault, measured here and now: prints a table in Markdown.

    python tests/benchmarks/fault_table.py            # the 22 classic faults, an outage and a storm
    python tests/benchmarks/fault_table.py --all      # all faults

Each stack asks the real openai SDK for one answer from a model that has the fault; `backup` answers well. It passes
with the right answer, or the right error where the fault is the user's own, within 5 s, and with no more requests to
the faulty model than the fault allows.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.resilience import Call, Policy, Target, inspect_chunk, run_call, run_stream, validator
from prodkit.testing import FAULTS, FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable

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


def with_prodkit(client) -> Callable[..., str]:
    """The policy around the SDK's call."""
    policy = Policy(
        deadline=4.5, attempt_timeout=1.5, wait_initial=0.1, wait_max=1.0, fallbacks={"": (Target("openai", "backup"),)}
    )

    def call(model: str, stream: bool) -> str:
        def proceed(target: Target, timeout: float | None):
            quiet = client.with_options(max_retries=0, timeout=timeout)
            return quiet.chat.completions.create(model=target.model, messages=MESSAGES, stream=stream)

        if stream:
            chunks = run_stream(policy, Call("openai", model, proceed, inspect=inspect_chunk), commit="buffer")
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        validate = validator({"messages": MESSAGES})
        return (
            run_call(policy, Call("openai", model, proceed, validate=validate, isolate=True))
            .value.choices[0]
            .message.content
        )

    return call


STACKS = {
    "openai as it comes": sdk_defaults,
    "tenacity(5) over it": article,
    "stamina, SDK retries off": with_stamina,
    "prodkit": with_prodkit,
}


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


def try_fault(stack: str, name: str) -> Outcome:
    """One call of one stack against one fault, with a server of its own."""
    import openai

    fault = FAULTS[name]
    with FaultServer() as server:
        # the user's own patience isn't known to a stack that wasn't told; the SDK's default is ten minutes
        client = openai.OpenAI(**server.openai_options(server.url_for(fault) if fault.address == "tls" else ""))
        call = STACKS[stack](client)
        server.inject(name, models={"primary"})
        began = time.monotonic()
        answer, error = limited(lambda: call("primary", fault.kind == "stream"), SOON + 0.5)
        seconds, requests = time.monotonic() - began, server.requests["primary"]
    right = answer == RIGHT if fault.expect == "answer" else error is not None and not isinstance(error, TimeoutError)
    told = repr(answer)[:30] if error is None else type(error).__name__
    return Outcome(right and seconds <= SOON and requests <= fault.most_requests, seconds, requests, told)


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


def table(faults: tuple[str, ...], stacks: tuple[str, ...]) -> dict[tuple[str, str], Outcome]:
    """All stacks against all faults; they mostly wait, so they run beside each other."""
    import openai

    openai.OpenAI(api_key="warm").chat.completions.with_raw_response  # noqa: B018  imports what the first call would
    pairs = [(stack, fault) for fault in faults for stack in stacks]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(pairs, pool.map(lambda pair: try_fault(*pair), pairs), strict=True))


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
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--all", action="store_true", help="all faults, not the classic ones only")
    parser.add_argument("--no-load", action="store_true", help="leave out the outage and the storm")
    options = parser.parse_args()
    stacks = tuple(STACKS)
    names = tuple(name for name, fault in FAULTS.items() if fault.address in {"", "none"}) if options.all else CLASSIC
    sys.stdout.write(markdown(table(names, stacks), stacks) + "\n\n")
    if options.no_load:
        return
    with ThreadPoolExecutor(len(stacks)) as pool:
        outages = list(pool.map(outage, stacks))
    sys.stdout.write("| load | " + " | ".join(stacks) + " |\n|---|" + "---|" * len(stacks) + "\n")
    cells = [f"{requests} req, {seconds:.1f} s" for requests, seconds in outages]
    sys.stdout.write("| outage of 15 calls | " + " | ".join(cells) + " |\n")
    cells = [f"{ratio:.2f}x, worst {worst:.1f} s" for ratio, worst in map(storm, stacks)]
    sys.stdout.write("| storm of 50 calls | " + " | ".join(cells) + " |\n")


if __name__ == "__main__":
    main()
