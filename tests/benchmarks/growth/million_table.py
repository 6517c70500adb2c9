"""A journal of a million records: verifying it, listing runs, explaining a request. Prints a table in Markdown.

    python tests/benchmarks/growth/million_table.py                   # a few minutes, 1.3 GB of disk
    python tests/benchmarks/growth/million_table.py --records 100000

The journal is written by its own code; one sealed call stands for all, so that no minutes go into encryption. Each
command is a process of its own, of which wall time, CPU time and the largest memory are taken.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from prodkit.ledger import events
from prodkit.ledger.journal import Event, Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.places import Places
from prodkit.records import Attempt, CallRecord, CallSpan, Cost, RunSpec, Status, Usage, new_id

BATCH = 500
TEXT = "Classify this ticket: the invoice of March shows the wrong amount, please correct it. " * 3


def call_of(run_key: str) -> CallRecord:
    """A usual call."""
    return CallRecord(
        new_id("req"),
        "million",
        datetime.now(UTC),
        datetime.now(UTC),
        Status.OK,
        provider="openai",
        model="gpt-4o-mini",
        parameters={"temperature": 0},
        prompt=[{"role": "user", "content": TEXT}],
        response={"choices": [{"index": 0, "message": {"role": "assistant", "content": "billing"}}]},
        usage=Usage(90, 2),
        cost=Cost(Decimal("0.0000255"), "priced", "genai-prices"),
        user="ada",
        trace_id="tr-" + os.urandom(16).hex(),
        span_id=os.urandom(8).hex(),
        run_key=run_key,
        attempts=(Attempt("openai/gpt-4o-mini", "", 0.5),),
        span=CallSpan("Completions", "CHAT_MODEL", ("messages",), "openai"),
    )


def fill(project: Path, records: int) -> list[str]:
    """Write the journal; returns some request ids from its beginning, its middle and its end."""
    places = Places(project / ".prodkit")
    places.make()
    journal = Journal(places, Keyring(places.keys), opening=lambda: {"destination": "", "format": 2})
    run = RunSpec("million", "cell", new_id("run"))
    journal.append_all([events.run_event(run)])
    sealed = journal._keyring.seal({"prompt": TEXT}, ("ada",))
    ids = []
    for begin in range(0, records, BATCH):
        batch = []
        for _ in range(min(BATCH, records - begin)):
            event = events.call_event(call_of(run.key), journal._keyring.pseudonym, {})
            batch.append((Event(event.kind, event.public), *sealed))
        if journal._size >= journal._segment_bytes:
            journal._rotate()
        journal._write(batch)
        if begin in {0, records // BATCH // 2 * BATCH, (records - 1) // BATCH * BATCH}:
            ids.append(str(batch[-1][0].public["request_id"]))
    journal.append_all([Event(events.RUN_END, {"run_key": run.key, "status": "ok", "metrics": {}, "tags": {}})])
    journal.close()
    return ids


def measure(project: Path, *command: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and MB of a command."""
    begun = time.perf_counter()
    environment = {**os.environ, "PRODKIT_PROJECT": str(project), "DO_NOT_TRACK": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "prodkit", *command], env=environment, cwd=project, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed: {status}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        project = Path(place)
        (project / "prodkit.yaml").write_text("service: {name: million}\n")
        begun = time.perf_counter()
        ids = fill(project, options.records)
        size = sum(path.stat().st_size for path in (project / ".prodkit" / "journal").iterdir())
        print(f"{options.records:,} records, {size / 1e6:,.0f} MB, written in {time.perf_counter() - begun:.0f} s\n")
        print("| command | wall s | CPU s | MB |\n|---|---:|---:|---:|")
        for name, command in {
            "--version": ("--version",),
            "runs": ("runs",),
            "audit verify": ("audit", "verify"),
            **{
                f"audit show, {at}": ("audit", "show", one)
                for at, one in zip(("first", "middle", "last"), ids, strict=False)
            },
            "doctor": ("doctor", "--json"),
        }.items():
            wall, cpu, memory = measure(project, *command)
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
