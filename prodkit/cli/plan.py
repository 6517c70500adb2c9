"""`prodkit run JOB --dry-run`: what would happen, as a table or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table

from prodkit.jobs.estimates import CONFIDENCE
from prodkit.jobs.pace import say_seconds
from prodkit.money import say_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal
    from pathlib import Path

    from rich.console import Console

    from prodkit.jobs.dry_run import Plan
    from prodkit.jobs.estimates import Estimate


def show_plan(
    console: Console,
    job: Path,
    over: Path | None,
    params: Mapping[str, object],
    *,
    workers: int | None,
    again: bool,
    key: str,
    budget: Decimal | None,
    as_json: bool,
) -> None:
    """Check everything, print what would happen, and start nothing."""
    from prodkit.jobs.dry_run import plan_run

    plan = plan_run(job, over, params, workers=workers, again=again, key=key, budget=budget)
    if as_json:
        click.echo(json.dumps(to_json(plan), indent=2))
    else:
        _show(console, plan)


def to_json(plan: Plan) -> dict[str, Any]:
    """A plan for programs. Money is text; None is what isn't known."""
    return {
        "dry_run": True,
        "job": plan.job,
        "over": None if plan.over is None else str(plan.over),
        "rows": plan.rows,
        "done": plan.done,
        "to_run": plan.to_run,
        "at_a_time": plan.at_a_time,
        "basis": plan.forecast.basis,
        "cost_usd": _estimate_json(plan.forecast.cost),
        "seconds": _estimate_json(plan.forecast.seconds),
        "budget_usd": None if plan.budget is None else str(plan.budget),
        "spent_usd": str(plan.spent),
        "notices": list(plan.notices),
    }


def _estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "expected": f"{estimate.expected:.6f}",
        "low": None if estimate.low is None else f"{estimate.low:.6f}",
        "high": None if estimate.high is None else f"{estimate.high:.6f}",
        "confidence": CONFIDENCE,
        "observations": estimate.observations,
    }


def _show(console: Console, plan: Plan) -> None:
    console.print(f"[bold]{plan.job}[/]: a dry run; nothing was started", highlight=False)
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    if plan.over is not None:
        table.add_row("rows", f"{plan.rows:,}, all fit the job's parameters")
        table.add_row("done before", f"{plan.done:,}")
    table.add_row("to run", f"{plan.to_run:,}" + (f", {plan.at_a_time} at a time" if plan.over else ""))
    table.add_row("cost", _say(plan.forecast.cost, say_usd) or "not known: no earlier run of this job has a known cost")
    seconds = _say(plan.forecast.seconds, lambda value: say_seconds(float(value)))
    table.add_row("time", seconds or "not known: this job has never ended well here")
    if plan.forecast.basis and plan.to_run:
        table.add_row("based on", plan.forecast.basis)
    if plan.budget is not None:
        spent = f", {say_usd(plan.spent)} of it spent" if plan.spent else ""
        table.add_row("budget", f"{say_usd(plan.budget)}{spent}")
    console.print(table, highlight=False)
    for notice in plan.notices:
        console.print(f"  [yellow]{notice}[/]", highlight=False)


def _say(estimate: Estimate | None, unit: Callable[[Decimal], str]) -> str:
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        runs = "one earlier run" if estimate.observations == 1 else f"{estimate.observations} earlier runs"
        return f"about {unit(estimate.expected)} (no interval: {runs})"
    low, expected, high = (unit(value) for value in (estimate.low, estimate.expected, estimate.high))
    return expected if low == high else f"about {expected}, in 9 of 10 cases {low} to {high}"
