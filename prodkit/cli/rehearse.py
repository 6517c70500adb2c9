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
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("fault", "call", "the user sees"):
        table.add_column(name)
    table.add_column("time", justify="right")
    table.add_column("requests", justify="right")
    table.add_column("")
    for scene in report.scenes:
        mark = "[green]passed[/]" if scene.passed else "[red]failed[/]"
        table.add_row(scene.fault, scene.call, scene.seen, f"{scene.seconds:.2f} s", str(scene.requests), mark)
    console.print(table)
    passed = sum(scene.passed for scene in report.scenes)
    console.print(f"{passed} of {len(report.scenes)} passed; every duration was multiplied by {report.scale:g}")
    for advice in report.advice:
        console.print(f"  would help: [bold]{advice}[/]")


def _publish(report: Rehearsal, project: Project) -> str:
    from prodkit.ledger import Ledger
    from prodkit.templates import render

    ledger = Ledger.open(project)
    run = ledger.start_run(RunSpec(f"rehearse {report.name}", "review", new_id("rehearsal")))
    ledger.log_text(run, render("rehearsal.html.j2", report=report), "rehearsal.html")
    passed = sum(scene.passed for scene in report.scenes)
    figures = {"faults_passed": float(passed), "faults_failed": float(len(report.scenes) - passed)}
    ledger.end_run(run, status=Status.OK if report.passed else Status.ERROR, metrics=figures)
    ledger.flush()
    return run.run_id
