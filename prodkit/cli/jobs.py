"""`export` and `lint`: a notebook on its way to becoming a job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from prodkit.jobs.exporting import ExportReport
    from prodkit.jobs.lint import Problem

_NOTEBOOK = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("notebook", type=_NOTEBOOK)
@click.option(
    "--to", "to", type=click.Path(path_type=Path), help="The job folder.  [default: jobs/NAME in the project]"
)
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; fail when notebook and job have drifted apart."
)
@click.option("--overwrite", is_flag=True, help="Give up hand edits that aren't marked.")
@click.option("--hashes/--no-hashes", default=None, help="Insist on hashes in the lock, or don't ask for them.")
@click.option(
    "--wheels/--no-wheels",
    default=None,
    help="Insist on wheels of what no registry has (prodkit itself, packages from a folder), or bring none.",
)
def export(
    notebook: Path,
    to: Path | None,
    *,
    only_check: bool,
    overwrite: bool,
    hashes: bool | None,
    wheels: bool | None,
) -> None:
    """Export a notebook into a job folder."""
    from prodkit.jobs import export as write_job

    target = to or _default_target(notebook)
    if only_check:
        _check(notebook, target)
        return
    _show(write_job(notebook, target, overwrite=overwrite, hashes=hashes, wheels=wheels))


@click.command()
@click.argument("notebook", type=_NOTEBOOK)
@click.option("--clean-run", is_flag=True, help="Also run it from top to bottom in a fresh kernel.")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
def lint(notebook: Path, *, clean_run: bool, strict: bool) -> None:
    """Say what stands between a notebook and production."""
    from prodkit.jobs.lint import lint_notebook
    from prodkit.jobs.reading import read_notebook
    from prodkit.manifest import find_project

    book, project = read_notebook(notebook), find_project(notebook.absolute().parent)
    problems = list(lint_notebook(book, project))
    if clean_run:
        from prodkit.jobs.clean_run import run_clean

        problems += run_clean(book, project)
    for problem in problems:
        _print_problem(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    click.echo(f"{errors} errors, {len(problems) - errors} warnings in {len(book.code)} code cells")
    if errors or (strict and problems):
        sys.exit(1)


def _default_target(notebook: Path) -> Path:
    from prodkit.manifest import find_project

    return find_project(notebook.absolute().parent).root / "jobs" / notebook.stem


def _check(notebook: Path, target: Path) -> None:
    from prodkit.errors import ConfigError
    from prodkit.jobs.exporting import drift

    differing = drift(notebook, target)
    if differing:
        raise ConfigError(
            "export.drift",
            f"Notebook and job have drifted apart: {', '.join(differing)}.",
            where=str(target),
            fix=f"prodkit export {notebook} --to {target}",
        )
    click.echo(f"{target} is what {notebook.name} exports")


def _show(report: ExportReport) -> None:
    from prodkit.jobs.folder import relative

    for problem in report.problems:
        _print_problem(problem)
    for notice in report.notices:
        click.echo(click.style("notice  ", fg="yellow") + notice)
    inside = report.job.is_relative_to(Path.cwd())
    place = relative(report.job, Path.cwd()) if inside else str(report.job)
    click.echo(click.style("exported ", fg="green", bold=True) + place)
    for name in report.written:
        click.echo(f"  wrote      {name}")
    if report.unchanged:
        click.echo(f"  unchanged  {', '.join(report.unchanged)}")
    if report.kept:
        click.echo(f"  kept       your marked edits in {', '.join(report.kept)}")
    names = ", ".join(f"{p.name}: {p.annotation}" for p in report.parameters) or "none"
    click.echo(f"  parameters {names}")
    if report.dropped:
        click.echo(f"  left out   demo cells {', '.join(map(str, report.dropped))}")
    click.echo(f"  locked     {report.packages} packages" + (", with hashes" if report.hashed else ", without hashes"))
    click.echo(f"next: prodkit run {place}")


def _print_problem(problem: Problem) -> None:
    colour = "red" if problem.severity == "error" else "yellow"
    click.echo(
        click.style(f"{problem.severity:7} ", fg=colour, bold=True)
        + f"{problem.where}: {problem.what} [{problem.code}]"
    )
    if problem.fix:
        click.echo(f"        fix: {problem.fix}")
