"""`prodkit rehearse`: what would the users see if the provider failed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from prodkit.cli import screen
from prodkit.errors import ConfigError
from prodkit.manifest import Project, find_project
from prodkit.records import RunSpec, Status, new_id

if TYPE_CHECKING:
    from rich.console import Console

    from prodkit.testing.rehearsal import Rehearsal


@click.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="JOB|NOTEBOOK")
@click.option("--fault", "faults", multiple=True, help="Only this fault; may be repeated.  [default: all]")
@click.option("--scale", default=0.1, show_default=True, type=click.FloatRange(0.01, 1.0), help="Of every duration.")
def rehearse(target: Path, faults: tuple[str, ...], scale: float) -> None:
    """Put a job's own calls to every fault, and say what would help."""
    from prodkit.testing.rehearsal import rehearse as act

    if not target.exists():
        raise ConfigError("rehearsal.missing", "There is no such job or notebook.", where=str(target))
    project = _project_of(target.resolve())
    console = screen.console()
    with console.status("beginning") as status:
        report = act(target.resolve(), project, faults=faults, scale=scale, tell=status.update)
    _show(report, console)
    run_id = _publish(report, project)
    if run_id:
        console.print(f"[dim]rehearsal.html is in MLflow: prodkit ui --run {run_id}[/]")
    raise SystemExit(0 if report.passed else 1)


def _project_of(target: Path) -> Project:
    """A job folder holds a copy of the manifest; the project that it runs in is another one."""
    if not target.is_dir():
        return find_project(target)
    from prodkit.jobs.folder import JobFolder

    return find_project(JobFolder.load(target).project_root())


def _show(report: Rehearsal, console: Console) -> None:
    calls = {scene.call: scene.call for scene in report.scenes}
    models = {call.partition(",")[0] for call in calls}
    if len(models) == 1:  # said once, below the table
        calls = {call: call.partition(", ")[2] or "whole" for call in calls}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("fault", "call", "the user sees"):
        table.add_column(name, overflow="fold", no_wrap=name == "fault")
    for name in ("time", "sent", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for scene in report.scenes:
        mark = "[green]passed[/]" if scene.passed else "[red]failed[/]"
        cost = "?" if scene.cost_usd is None else f"${scene.cost_usd:.6f}".rstrip("0").rstrip(".")
        told = (calls[scene.call], scene.seen, f"{scene.seconds:.2f} s", str(scene.requests), cost, mark)
        table.add_row(scene.fault, *told)
    console.print(table)
    whose = f" for calls of {next(iter(models))}" if len(models) == 1 else ""
    console.print(
        f"{report.survived} of {len(report.scenes)} passed{whose}; "
        f"durations times {report.scale:g}, list prices of simulated answers"
    )
    for advice in report.advice:
        console.print(f"  would help: [bold]{advice}[/]")


def _publish(report: Rehearsal, project: Project) -> str:
    from prodkit.ledger import Ledger
    from prodkit.review.rehearsals import tags_of
    from prodkit.templates import render

    ledger = Ledger.open(project)
    failed = sorted({scene.fault for scene in report.scenes if not scene.passed})
    tags = tags_of(report.notebook, report.digest, failed)
    run = ledger.start_run(RunSpec(f"rehearse {report.name}", "review", new_id("rehearsal"), tags=tags))
    ledger.log_text(run, render("rehearsal.html.j2", report=report), "rehearsal.html")
    figures = {"faults_passed": float(report.survived), "faults_failed": float(len(report.scenes) - report.survived)}
    ledger.end_run(run, status=Status.OK if report.passed else Status.ERROR, metrics=figures)
    ledger.flush()
    return run.run_id
