"""`prodkit run JOB --over FILE`: runs the items and shows how they end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prodkit.cli.logs import RunLog, log_fanout_end, log_item
from prodkit.cli.progress import write_output
from prodkit.jobs.ends import Outcome
from prodkit.jobs.events import OutputEvent
from prodkit.jobs.pace import Pace, say_seconds
from prodkit.money import say_usd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from prodkit.cli.logs import Log
    from prodkit.jobs.events import Event
    from prodkit.jobs.fanout import FanoutResult, ItemResult
    from prodkit.jobs.runner import RunOptions

_SHOWN = 20
_LINE_EVERY = 30.0  # seconds between two lines of progress where there is no terminal


@dataclass(frozen=True, slots=True)
class Items:
    """What is run over, and by whom."""

    over: Path
    engine: str
    scheduler: str
    workers: int | None
    again: bool


def show_over(
    console: Console,
    job: Path,
    items: Items,
    params: Mapping[str, object],
    options: RunOptions,
    log: Log | None,
    *,
    as_json: bool,
) -> int:
    """Run all items with a progress bar, or a log, and print how they ended; returns the exit code of the whole."""
    from prodkit.jobs.dask_workers import DaskWorkers
    from prodkit.jobs.fanout import run_over
    from prodkit.review import publish

    def on_event(item: int, event: Event) -> None:
        if log is not None:
            logs[item].show(event)
        elif isinstance(event, OutputEvent):
            write_output(event, as_json)

    run_items = DaskWorkers(items.scheduler, workers=items.workers) if items.engine == "dask" else None
    logs = _ItemLogs(log, job.name, as_json=as_json)
    with ItemProgress(console, quiet=as_json or log is not None) as progress:
        whole = run_over(
            job,
            items.over,
            params,
            options=options,
            workers=items.workers,
            again=items.again,
            run_items=run_items,
            on_item=progress.show if log is None else partial(log_item, log, job.name),
            on_event=on_event,
            on_start=progress.begin,
            page=publish,
        )
    if log is not None:
        log_fanout_end(log, whole)
    if as_json:
        click.echo(json.dumps(to_json(whole), indent=2))
    elif log is None:
        _show(console, whole)
    return whole.outcome.exit_code


class _ItemLogs(dict[int, RunLog]):
    """The log of each item, made when it is first asked for."""

    def __init__(self, log: Log | None, job: str, *, as_json: bool) -> None:
        super().__init__()
        self._log, self._job, self._as_json = log, job, as_json

    def __missing__(self, item: int) -> RunLog:
        if self._log is None:
            raise KeyError(item)
        made = self[item] = RunLog(self._log, self._job, item=item, result_on_stdout=self._as_json)
        return made


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

    def begin(self, total: int) -> None:
        """The rows are read and fit the job: so many items there are."""
        self._bar.update(self._task, total=total)

    def show(self, result: ItemResult, total: int) -> None:
        """One item has ended, or was stopped, which says nothing of the pace."""
        if result.outcome is not Outcome.TERMINATED:
            self._pace.end(total, skipped=result.skipped)
        if self._quiet:
            return
        if result.outcome is not Outcome.OK:
            self._console.print(f"  row {result.number}: [red]{result.outcome.value}[/] {result.error}")
        if self._console.is_terminal:
            ended = 0 if result.outcome is Outcome.TERMINATED else 1
            self._bar.update(self._task, total=total, advance=ended, description=say_pace(self._pace))
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
        f"cost {'not known' if whole.cost is None else say_usd(whole.cost)}"
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
