"""`prodkit review RUN`: show the page, or record a verdict."""

from __future__ import annotations

import subprocess
from typing import Literal

import click

from prodkit.errors import ConfigError
from prodkit.manifest import Manifest, find_project


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
    from prodkit.review import decide, publish, to_html, to_markdown

    project = find_project()
    if verdict is None:
        facts = publish(project, run_id)
        click.echo(to_html(facts) if as_html else to_markdown(facts))
        return
    decision = decide(project, run_id, verdict=verdict, person=_person(person, project.manifest), note=note)
    click.echo(f"{decision.verdict} by {decision.person}: {decision.digest}")


def _person(given: str | None, manifest: Manifest) -> str:
    """The name that is recorded. Addresses aren't: they would be redacted like any other."""
    said = given or _git_name()
    for key, person in manifest.owners.people.items():
        if said in {key, person.email, person.name}:
            return f"{person.name} ({key})"
    if "@" in said:
        raise ConfigError(
            "review.unknown-person",
            "This address belongs to nobody in the manifest.",
            fix="say --by with the id of a person in prodkit.yaml, or with a name",
        )
    return said


def _git_name() -> str:
    done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
