"""The places of a manifest that name somebody, each with its path in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.manifest.loading import Location
    from prodkit.manifest.model import Manifest, Owners

Reference = tuple["Location", str, bool]
"""Where an id stands, the id, and whether only a person fits there."""


def references_of(manifest: Manifest) -> Iterator[Reference]:
    """Every id that must lead to somebody."""
    owners = manifest.owners
    yield from _of_raci(owners)
    yield from _of_directory(owners)
    for position, name in enumerate(owners.escalation):
        yield ("owners", "escalation", position), name, False
    for name, source in manifest.data_sources.items():
        if source.owner:
            yield ("data_sources", name, "owner"), source.owner, False
    if manifest.compliance.oversight:
        yield ("compliance", "oversight"), manifest.compliance.oversight, True


def texts_of(manifest: Manifest) -> Iterator[tuple[Location, str]]:
    """Every name and address that a person typed."""
    for name, person in manifest.owners.people.items():
        for key in ("name", "email", "chat", "pager"):
            yield ("owners", "people", name, key), getattr(person, key)
    for name, team in manifest.owners.teams.items():
        for key in ("name", "email", "chat"):
            yield ("owners", "teams", name, key), getattr(team, key)
    yield ("runbook",), manifest.runbook


def _of_raci(owners: Owners) -> Iterator[Reference]:
    for activity, row in owners.raci.items():
        for letter, names in (("R", row.R), ("A", row.accountable), ("C", row.C), ("I", row.I)):
            for position, name in enumerate(names):
                scalar = letter == "A" and isinstance(row.A, str)
                if name:
                    yield ("owners", "raci", activity, letter, *([] if scalar else [position])), name, False


def _of_directory(owners: Owners) -> Iterator[Reference]:
    for name, person in owners.people.items():
        if person.backup:
            yield ("owners", "people", name, "backup"), person.backup, True
    for name, team in owners.teams.items():
        if team.lead:
            yield ("owners", "teams", name, "lead"), team.lead, True
        for position, member in enumerate(team.members):
            yield ("owners", "teams", name, "members", position), member, True
