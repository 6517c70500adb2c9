"""Which of 15 kinds of corruption a drafted contract notices, and how often it cries wolf: prints a table in Markdown.

    python tests/benchmarks/corruption_table.py              # learned from a hundred rows and from a million
    python tests/benchmarks/corruption_table.py 100 20000    # from other numbers of rows

Each kind is injected into each column of made-up orders where it has a place, each time into clean rows that came after
those that the draft was learned from. A kind counts as caught when at least one place is noticed; the places that
aren't are named. False alarms are clean later rows that the draft complains of, over several draws of both. Ends with 1
when fewer than 13 kinds are caught or more than 0.1 % of clean rows are complained of.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

from prodkit.contracts import infer, validate
from prodkit.contracts.mutation import KINDS, Killing, mutate

WANTED, ALARMS = 13, 0.001


def orders() -> Any:
    """The maker of made-up orders that the tests of `infer` use."""
    spec = importlib.util.spec_from_file_location(
        "infer_tests", Path(__file__).parents[1] / "contracts" / "test_infer.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_orders


def measure(make: Any, rows: int) -> tuple[dict[str, Killing], int, int, float]:
    """Killings by kind, false alarms, clean rows checked, and seconds that the first draft took."""
    begun = time.perf_counter()
    contract = infer(make(rows, seed=1), "orders")
    seconds = time.perf_counter() - begun
    killings = {killing.kind: killing for killing in mutate(make(500, seed=2, start=90_000), contract)}
    wrong = checked = 0
    for seed in range(12 if rows < 1_000_000 else 2):
        result = validate(make(20_000, seed + 100, start=60_000 + rows), infer(make(rows, seed), "orders"), "warn")
        wrong, checked = wrong + result.failed + len(result.whole), checked + result.checked
    return killings, wrong, checked, seconds


def cell(killing: Killing) -> str:
    """Places noticed, and the names of the others."""
    missed = f"; not {', '.join(killing.missed)}" if killing.missed else ""
    return f"{killing.killed} of {killing.tried}{missed}"


def main(sizes: list[int]) -> int:
    """Print the table; the exit code."""
    make = orders()
    found = {rows: measure(make, rows) for rows in sizes}
    print("| corruption | " + " | ".join(f"learned from {rows:,} rows" for rows in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(cell(found[rows][0][kind]) for rows in sizes) + " |")
    bad = False
    for rows, (killings, wrong, checked, seconds) in found.items():
        caught = sum(killing.killed > 0 for killing in killings.values())
        everywhere = sum(not killing.missed for killing in killings.values())
        bad |= caught < WANTED or wrong / checked > ALARMS
        print(
            f"\nfrom {rows:,} rows: {caught} of {len(killings)} kinds caught, {everywhere} of them in every column; "
            f"{wrong} of {checked:,} clean later rows complained of ({wrong / checked:.3%}); drafted in {seconds:.2f} s"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]] or [100, 1_000_000]))
