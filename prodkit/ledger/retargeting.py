"""Planning a retarget: which address is meant, and what its record says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.ledger import events
from prodkit.ledger.chain import decode, intact
from prodkit.ledger.destinations import (
    absolute,
    absolute_sqlite,
    current_destination,
    describe,
    destination_in,
    join,
    portable,
    split,
)
from prodkit.ledger.reach import public_uri
from prodkit.ledger.segments import by_stream, read_lines
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prodkit.ledger.places import Places
    from prodkit.ledger.shipments import Shipments
    from prodkit.manifest import Project

OWN = "project"
"""What the project's own MLflow, the SQLite file in its folder, may be called."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|project:|databricks\b|uc:", re.IGNORECASE)
_NAMING = tuple(f'"kind":"{kind}"'.encode() for kind in (events.OPEN, events.DESTINATION))


def plan_retarget(project: Project, places: Places, shipments: Shipments, old: str, new: str) -> dict[str, Any]:
    """The public part of the record that sends what goes to `old` to `new`.

    Raises:
        ConfigError: `audit.unknown-address`, no record goes to `old`; `audit.same-address`;
            `audit.address`, `new` is no address.
    """
    known = {*named_destinations(places.journal, project.root), current_destination(project), *shipments.destinations()}
    meant = _find(old, known, project.root)
    goes = _portable(new, project.root)
    if not _ADDRESS.match(split(goes)[0] if "|" in goes else goes):
        raise ConfigError(
            "audit.address",
            "This is no address of an MLflow.",
            where=public_uri(new),
            fix=f"e.g. https://mlflow.example, postgresql://host/database, or `{OWN}` for the one in this folder",
        )
    if goes in {meant, split(meant)[0]}:
        raise ConfigError("audit.same-address", "Both addresses are the same.", where=old, fix="name another address")
    return {"time": now().isoformat(), "old": meant, "new": goes, "experiment": project.experiment}


def named_destinations(journal: Path, root: Path) -> set[str]:
    """All destinations that the journal's records name."""
    found = set()
    for segments in by_stream(journal).values():
        destination = ""
        for segment in segments:
            for _, line in read_lines(segment.path):
                if any(mark in line[:400] for mark in _NAMING) and intact(line) is not None:
                    destination = destination_in(decode(line).public, root, destination)
                    found.add(destination)
    return found - {""}


def _find(said: str, known: Iterable[str], root: Path) -> str:
    wanted = _portable(said, root)
    for destination in known:
        if wanted.rstrip("/") == split(destination)[0].rstrip("/"):
            return split(destination)[0]
        if wanted == destination:
            return destination
    raise ConfigError(
        "audit.unknown-address",
        "No record goes to this address.",
        where=public_uri(said),
        fix=f"records go to: {', '.join(sorted({describe(one, root) for one in known}))}",
    )


def _portable(said: str, root: Path) -> str:
    """An address as people write it, in the form of the journal."""
    address, experiment = split(said) if "|" in said else (said, "")
    if address == OWN:
        address = absolute("project:.prodkit/mlflow.db", root)
    address = portable(public_uri(absolute_sqlite(address)), root)
    return join(address, experiment) if experiment else address
