"""`prodkit run JOB --over FILE`: runs the items and shows how they end."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, NoReturn, Self

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prodkit.jobs.ends import Outcome
from prodkit.jobs.pace import Pace, say_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from prodkit.jobs.fanout import FanoutResult, ItemResult
    from prodkit.jobs.runner import RunOptions

_SHOWN = 20
_LINE_EVERY = 30.0  # seconds between two lines of progress where there is no terminal


def show_over(
    console: Console,
    job: Path,
    over: Path,
    params: Mapping[str, object],
    options: RunOptions,
    engine: str,
    scheduler: str,
    *,
    workers: int | None,
    again: bool,
    as_json: bool,
) -> NoReturn:
    """Run all items with a progress bar, print how they ended, and leave with the exit code of the whole."""
    from prodkit.jobs.dask_workers import DaskWorkers
    from prodkit.jobs.fanout import run_over
    from prodkit.review import publish

    run_items = DaskWorkers(scheduler, workers=workers) if engine == "dask" else None
    with ItemProgress(console, quiet=as_json) as progress:
        whole = run_over(
            job,
            over,
            params,
            options=options,
            workers=workers,
            again=again,
            run_items=run_items,
            on_item=progress.show,
            page=publish,
        )
    if as_json:
        click.echo(json.dumps(to_json(whole), indent=2))
    else:
        _show(console, whole)
    sys.exit(whole.outcome.exit_code)


class ItemProgress:
    """Give `show` to `run_over` as `on_item`: a bar on a terminal, else a line now and then; failed rows at once.

    Args:
        console: where to.
        quiet: show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._pace = Pace()
        columns = (TextColumn("items"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("{task.description}"), console=console)
        self._task = self._bar.add_task("", total=None)
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, result: ItemResult, total: int) -> None:
        """One item has ended."""
        self._pace.end(total, skipped=result.skipped)
        if self._quiet:
            return
        if result.outcome is not Outcome.OK:
            self._console.print(f"  row {result.number}: [red]{result.outcome.value}[/] {result.error}")
        if self._console.is_terminal:
            self._bar.update(self._task, total=total, advance=1, description=say_pace(self._pace))
        elif time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            self._console.print(f"  {self._pace.ended:,} of {total:,} items; {say_pace(self._pace)}", highlight=False)


def say_pace(pace: Pace) -> str:
    """Rate and time left: `34 a minute, 12 min left`; "" while neither is known."""
    rate, left = pace.per_minute, pace.seconds_left
    if rate is None or left is None:
        return ""
    speed = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"  # noqa: PLR2004  below ten, whole items are too coarse
    return f"{speed} a minute" + (f", {say_seconds(left)} left" if left else "")


def to_json(whole: FanoutResult) -> dict[str, object]:
    """A fan-out for programs."""
    return {
        "job": whole.job,
        "run": whole.run,
        "outcome": whole.outcome.value,
        "exit_code": whole.outcome.exit_code,
        "seconds": round(whole.seconds, 3),
        "counts": whole.counts,
        "missing": whole.missing,
        "cost_usd": None if whole.cost is None else str(whole.cost),
        "mlflow_run_id": whole.run_id,
        "problem": whole.problem,
        "items": [
            {
                "row": item.number,
                "outcome": item.outcome.value,
                "attempts": item.attempts,
                "seconds": round(item.seconds, 3),
                "error": item.error,
                "run": item.run,
                "skipped": item.skipped,
                "cost_usd": None if item.cost is None else str(item.cost),
            }
            for item in whole.items
        ],
    }


def _show(console: Console, whole: FanoutResult) -> None:
    skipped = sum(item.skipped for item in whole.items)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(whole.counts.items()))
    colour = "green" if whole.outcome is Outcome.OK else "red"
    console.print(
        f"[bold {colour}]{whole.outcome.value}[/] (exit code {whole.outcome.exit_code}) after {whole.seconds:.1f} s: "
        f"{counts or 'nothing'}; {skipped} had succeeded before, {whole.missing} not begun; "
        f"cost {'not known' if whole.cost is None else f'${whole.cost:.4f}'}"
    )
    wrong = [item for item in whole.items if item.outcome is not Outcome.OK]
    if wrong or whole.missing:
        console.print("  the same command again runs only what is missing")
    if len(wrong) > _SHOWN:
        console.print(f"  {len(wrong)} items failed; --json lists all of them")
    if whole.url:
        console.print(f"  review    {whole.url}", soft_wrap=True)
    if whole.problem:
        console.print(f"  {whole.problem}", markup=False, soft_wrap=True)
