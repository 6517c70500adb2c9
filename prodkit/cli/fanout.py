"""`prodkit run JOB --over FILE`: runs the items and shows how they end."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NoReturn

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prodkit.jobs.ends import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from prodkit.jobs.fanout import FanoutResult, ItemResult
    from prodkit.jobs.runner import RunOptions

_SHOWN = 20


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

    run_items = DaskWorkers(scheduler, workers=workers) if engine == "dask" else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=as_json) as bar:
        task = bar.add_task("items", total=None)

        def on_item(result: ItemResult, total: int) -> None:
            bar.update(task, total=total, advance=1)
            if result.outcome is not Outcome.OK:
                bar.console.print(f"  row {result.number}: [red]{result.outcome.value}[/] {result.error}")

        whole = run_over(
            job,
            over,
            params,
            options=options,
            workers=workers,
            again=again,
            run_items=run_items,
            on_item=on_item,
        )
    if as_json:
        click.echo(json.dumps(to_json(whole), indent=2))
    else:
        _show(console, whole)
    sys.exit(whole.outcome.exit_code)


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
