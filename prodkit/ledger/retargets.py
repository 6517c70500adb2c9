"""Decisions that what goes to one address goes to another one, and the addresses that fail.

A decision is a record of the journal; nothing that was written before it is changed. The database beside the journal
keeps a copy, so that the decisions are at hand without reading all streams.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.ledger.destinations import join, split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.ledger.ship_db import ShipDb


@dataclass(frozen=True, slots=True)
class Retarget:
    """What goes to `old` goes to `new`: addresses, or whole destinations.

    Attributes:
        time: when it was decided, as ISO 8601 in UTC.
        old: what records name.
        new: where they go.
        experiment: what the id of an experiment at the old address becomes, since ids hold at one address only.
    """

    time: str
    old: str
    new: str
    experiment: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A destination that doesn't take records now. Times are Unix times."""

    destination: str
    reason: str
    since: float
    at: float


class Retargets:
    """The decisions of a project and the failures that lead to them.

    Args:
        db: the database beside the journal.
    """

    def __init__(self, db: ShipDb) -> None:
        self._db = db

    def all(self) -> list[Retarget]:
        """The decisions in their order."""
        with self._db.open() as database:
            rows = database.execute("SELECT time, old, new, experiment FROM retargets ORDER BY time, stream, seq")
            return [Retarget(*row) for row in rows]

    def add(self, stream: str, seq: int, public: Mapping[str, str]) -> None:
        """Take in a decision as its record says it. Repeating changes nothing."""
        row = (stream, seq, *(public[name] for name in ("time", "old", "new", "experiment")))
        with self._db.open() as database:
            database.execute("INSERT OR REPLACE INTO retargets VALUES (?, ?, ?, ?, ?, ?)", row)

    def resolve(self, destination: str) -> str:
        """Where records go that name this destination."""
        return resolve(destination, self.all())

    def fail(self, destination: str, reason: str) -> None:
        """Note that a destination took nothing."""
        now = time.time()
        with self._db.open() as database:
            database.execute(
                "INSERT INTO failures (destination, reason, since, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (destination) DO UPDATE SET reason = excluded.reason, at = excluded.at",
                (destination, reason, now, now),
            )

    def succeed(self, destination: str) -> None:
        """Note that a destination takes records again."""
        with self._db.open() as database:
            if database.execute("SELECT 1 FROM failures WHERE destination = ?", (destination,)).fetchone():
                database.execute("DELETE FROM failures WHERE destination = ?", (destination,))

    def failures(self) -> list[Failure]:
        """The destinations that took nothing when they were last asked."""
        with self._db.open() as database:
            rows = database.execute("SELECT destination, reason, since, at FROM failures ORDER BY since")
            return [Failure(*row) for row in rows]


def resolve(destination: str, retargets: Sequence[Retarget]) -> str:
    """Where records go that name this destination, after all decisions in their order."""
    goes = destination
    for one in retargets:
        if one.old in {goes, split(goes)[0], destination, split(destination)[0]}:
            goes = _moved(goes, one)
    return goes


def _moved(destination: str, one: Retarget) -> str:
    address, experiment = split(destination)
    if "|" in one.new:
        return one.new
    if address == one.new:
        return destination
    return join(one.new, one.experiment if experiment.startswith("#") else experiment)
