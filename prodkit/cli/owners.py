"""`owners`: who answers for what, whether that holds, and the same for other systems."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import date, datetime

    from prodkit.manifest import Project
    from prodkit.ownership import Violation


@click.command()
@click.argument("place", type=click.Path(path_type=Path, exists=True), default=Path())
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="Check for this day.")
@click.option("--format", "other", metavar="NAME", help="Print it for backstage, datadog, codeowners or cyclonedx.")
def owners(place: Path, today: datetime | None, other: str | None) -> None:
    """Show who answers for what, and check that somebody does."""
    from prodkit.manifest import find_project
    from prodkit.records import now

    project = find_project(place)
    violations = _violations(project, today.date() if today is not None else now().date())
    if other is not None and not any(violation.blocks for violation in violations):
        from prodkit.ownership import write_format

        click.echo(write_format(project.manifest, other), nl=False)
        return
    _show(project)
    for violation in violations:
        _print(violation)
    blocking = sum(violation.blocks for violation in violations)
    click.echo(f"{blocking} violations, {len(violations) - blocking} waived")
    if blocking:
        sys.exit(78)


def _violations(project: Project, today: date) -> tuple[Violation, ...]:
    from prodkit.manifest.loading import read_document
    from prodkit.ownership import check

    path = project.manifest_path
    document = read_document(path.read_text(encoding="utf-8"), path.name) if path else None
    return check(project.manifest, today=today, document=document)


def _show(project: Project) -> None:
    from rich.table import Table

    from prodkit.cli import screen
    from prodkit.ownership import matrix, routes

    rows = matrix(project.manifest)
    table = Table("activity", "R does it", "A answers", "C is asked", "I is told", title_justify="left")
    table.title = f"Who answers for {project.manifest.service.name}"
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        named = (row.responsible, row.accountable, row.consulted, row.informed)
        table.add_row(row.activity, *(", ".join(names) for names in named))
    people = Table("id", "who", "reached at", "backup", title="Who is reached", title_justify="left")
    for contact in {row.contact.id: row.contact for row in rows if row.contact}.values():
        people.add_row(contact.id, contact.name, contact.address, contact.backup)
    console = screen.console()
    console.print(table, people)
    for route in routes(project.manifest):
        where = f"{route.contact.name}, {route.contact.address}" if route.contact else "nobody"
        limit = f"{route.alert.metric} beyond {route.alert.threshold:g} in {route.alert.window}"
        console.print(f"{route.alert.name} ({limit}) goes to {where}", highlight=False, soft_wrap=True)


def _print(violation: Violation) -> None:
    if violation.waiver is not None:
        head = click.style("waived  ", fg="yellow")
        click.echo(f"{head}{violation.where} {violation} until {violation.waiver.expires}: {violation.waiver.reason}")
        return
    click.echo(click.style("error   ", fg="red", bold=True) + f"{violation.where} {violation}")
    click.echo(f"        fix: {violation.fix}")
