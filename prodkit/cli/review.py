"""`prodkit review RUN`: show the page, or record a verdict."""

from __future__ import annotations

from typing import Literal

import click

from prodkit.manifest import find_project


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--approve", "verdict", flag_value="approved", help="Say yes to what the page shows.")
@click.option("--reject", "verdict", flag_value="rejected", help="Say no; needs --note.")
@click.option("--note", default="", help="Why.")
@click.option("--by", "person", help="Id of a person in prodkit.yaml, or a name.  [default: git's user.name]")
@click.option("--html", "as_html", is_flag=True, help="Print the page as HTML.")
def review(
    run_id: str, verdict: Literal["approved", "rejected"] | None, note: str, person: str | None, *, as_html: bool
) -> None:
    """Show what a run's reviewer needs on one page; approve or reject it."""
    from prodkit.ownership import name_person
    from prodkit.review import decide, publish, to_html, to_markdown

    project = find_project()
    if verdict is None:
        facts = publish(project, run_id)
        click.echo(to_html(facts) if as_html else to_markdown(facts))
        return
    decision = decide(project, run_id, verdict=verdict, person=name_person(project.manifest, person or ""), note=note)
    click.echo(f"{decision.verdict} by {decision.person}: {decision.digest}")
