"""What has been shipped: a cursor for each stream, and MLflow's ids for ours. SQLite, shared by all processes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.ledger.mlflow_prices import Opinion, totals
from prodkit.ledger.ship_db import ShipDb

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from prodkit.ledger.places import Places


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a stream has been shipped, and where its records go."""

    stream: str
    segment: int = 1
    offset: int = 0
    seq: int = 0
    hash: str = ""
    destination: str = ""


@dataclass(frozen=True, slots=True)
class Parked:
    """Records of a stream that wait for their destination; `begin` is the cursor before the first of them."""

    id: int
    stream: str
    destination: str
    begin: Cursor
    to_segment: int
    to_offset: int
    to_seq: int

    @property
    def records(self) -> int:
        """How many records wait."""
        return self.to_seq - self.begin.seq

    def ends_at(self, cursor: Cursor) -> bool:
        """Whether nothing of it is left behind this place."""
        return (cursor.segment, cursor.offset) >= (self.to_segment, self.to_offset)

    def passed_by(self, cursor: Cursor) -> bool:
        """Whether this place lies behind its end."""
        return (cursor.segment, cursor.offset) > (self.to_segment, self.to_offset)


@dataclass(frozen=True, slots=True)
class ShippedRun:
    """A run as MLflow knows it; `run_id` is empty while its creation is under way."""

    key: str
    run_id: str
    experiment_id: str
    parent_key: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that MLflow refused for good. It stays in the journal."""

    stream: str
    seq: int
    kind: str
    reason: str


class Shipments:
    """The book of what has been shipped.

    Args:
        places: the ledger's files; the database is made when it isn't there.
    """

    def __init__(self, places: Places) -> None:
        self.db = ShipDb(places.ship_db, places.project_root)
        self._open = self.db.open

    def heads(self) -> dict[str, Cursor]:
        """How far each stream has been read; records before that may be parked, see `parked`."""
        with self._open() as database:
            rows = database.execute("SELECT stream, segment, offset, seq, hash, destination FROM cursors")
            return {row[0]: Cursor(*row) for row in rows}

    def cursors(self) -> dict[str, Cursor]:
        """Up to where everything of each stream is in MLflow (or rejected)."""
        done = self.heads()
        for span in self.parked():
            if span.begin.seq < done[span.stream].seq:
                done[span.stream] = span.begin
        return done

    def parked(self, stream: str = "") -> list[Parked]:
        """The stretches that wait for a destination while their stream goes on, in the order of the journal."""
        with self._open() as database:
            rows = database.execute(
                "SELECT id, stream, destination, segment, offset, seq, hash, to_segment, to_offset, to_seq FROM parked"
                " WHERE ? IN ('', stream) ORDER BY stream, seq",
                (stream,),
            ).fetchall()
        return [
            Parked(id_, name, destination, Cursor(name, segment, offset, seq, digest, destination), *end)
            for id_, name, destination, segment, offset, seq, digest, *end in rows
        ]

    def park(self, begin: Cursor, head: Cursor, destination: str, run_keys: Sequence[str]) -> None:
        """Let the records from `begin` to `head` wait for their destination, and the stream go on behind them.

        Args:
            begin: behind which record the stretch begins.
            head: its last record, and the destination of the stream there.
            destination: where its records go.
            run_keys: the runs that begin in it; what belongs to them follows them.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            longer = database.execute(
                "UPDATE parked SET to_segment = ?, to_offset = ?, to_seq = ?"
                " WHERE stream = ? AND destination = ? AND to_segment = ? AND to_offset = ?",
                (head.segment, head.offset, head.seq, head.stream, destination, begin.segment, begin.offset),
            )
            if not longer.rowcount:
                database.execute(
                    "INSERT INTO parked (stream, destination, segment, offset, seq, hash,"
                    " to_segment, to_offset, to_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (head.stream, destination, *_place(begin), *_place(head)[:3]),
                )
            rows = [(key, destination) for key in run_keys]
            database.executemany("INSERT OR REPLACE INTO homes (key, destination) VALUES (?, ?)", rows)
            self._set_head(database, head)
            database.execute("COMMIT")

    def deliver(self, span: Parked, upto: Cursor, destination: str, opinions: Mapping[str, Opinion]) -> None:
        """The records of a parked stretch up to here are in MLflow (or rejected)."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            if span.ends_at(upto):
                database.execute("DELETE FROM parked WHERE id = ?", (span.id,))
            else:
                place = "UPDATE parked SET segment = ?, offset = ?, seq = ?, hash = ? WHERE id = ?"
                database.execute(place, (*_place(upto), span.id))
            self._keep(database, destination, opinions)
            database.execute("COMMIT")

    def move(self, cursor: Cursor, destination: str = "", opinions: Mapping[str, Opinion] | None = None) -> None:
        """Everything up to here was taken by MLflow, rejected or parked.

        Args:
            cursor: where shipping goes on.
            destination: where the records went.
            opinions: the new sums of the runs whose calls were shipped; kept in the same transaction, so that a batch
                which is sent twice is counted once.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            self._set_head(database, cursor)
            self._keep(database, destination, opinions or {})
            database.execute("COMMIT")

    @staticmethod
    def _set_head(database: sqlite3.Connection, cursor: Cursor) -> None:
        database.execute(
            "INSERT OR REPLACE INTO cursors (stream, segment, offset, seq, hash, destination)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (cursor.stream, cursor.segment, cursor.offset, cursor.seq, cursor.hash, cursor.destination),
        )

    def keep(self, destination: str, opinions: Mapping[str, Opinion]) -> None:
        """Keep the new sums of runs, of whose calls one was shipped later than the rest."""
        with self._open() as database:
            self._keep(database, destination, opinions)

    @staticmethod
    def _keep(database: sqlite3.Connection, destination: str, opinions: Mapping[str, Opinion]) -> None:
        database.executemany(
            "INSERT OR REPLACE INTO opinions (destination, key, ours, theirs, differing) VALUES (?, ?, ?, ?, ?)",
            [(destination, key, str(one.ours), str(one.theirs), one.differing) for key, one in opinions.items()],
        )

    def opinion(self, destination: str, key: str) -> Opinion:
        """What MLflow would have of a run's calls that were shipped, beside what we have."""
        with self._open() as database:
            row = database.execute(
                "SELECT ours, theirs, differing FROM opinions WHERE destination = ? AND key = ?", (destination, key)
            ).fetchone()
        return Opinion(Decimal(row[0]), Decimal(row[1]), row[2]) if row else Opinion()

    def opinions(self, run_ids: Sequence[str]) -> Opinion:
        """The same over several runs, by MLflow's ids."""
        with self._open() as database:
            rows = database.execute(
                "SELECT ours, theirs, differing FROM opinions JOIN runs USING (destination, key)"
                " WHERE run_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(run_ids)),),
            ).fetchall()
        return totals(Opinion(Decimal(row[0]), Decimal(row[1]), row[2]) for row in rows)

    def run(self, destination: str, key: str) -> ShippedRun | None:
        """The run of this key, None when nobody has begun to create it.

        A kernel says its experiment by number and its runner by name: a run is known at its address, whatever follows.
        """
        address = destination.rpartition("|")[0] + "|"
        with self._open() as database:
            row = database.execute(
                "SELECT key, run_id, experiment_id, parent_key FROM runs"
                " WHERE key = ? AND substr(destination, 1, ?) = ? ORDER BY destination = ? DESC LIMIT 1",
                (key, len(address), address, destination),
            ).fetchone()
        return ShippedRun(*row) if row else None

    def children(self, destination: str, parent_key: str) -> list[ShippedRun]:
        """The runs that wait for this parent or have it."""
        address = destination.rpartition("|")[0] + "|"
        with self._open() as database:
            rows = database.execute(
                "SELECT key, run_id, experiment_id, parent_key FROM runs"
                " WHERE substr(destination, 1, ?) = ? AND parent_key = ?",
                (len(address), address, parent_key),
            )
            return [ShippedRun(*row) for row in rows]

    def set_run(self, destination: str, run: ShippedRun) -> None:
        """Note a run, or the intent to create it."""
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO runs (destination, key, run_id, experiment_id, parent_key)"
                " VALUES (?, ?, ?, ?, ?)",
                (destination, run.key, run.run_id, run.experiment_id, run.parent_key),
            )

    def home(self, key: str) -> str:
        """The destination that a run was created at or waits for; empty when it isn't known yet."""
        with self._open() as database:
            row = database.execute(
                "SELECT destination FROM runs WHERE key = ? AND run_id != ''"
                " UNION ALL SELECT destination FROM homes WHERE key = ? LIMIT 1",
                (key, key),
            ).fetchone()
        return row[0] if row else ""

    def find_run(self, destination: str, key: str) -> ShippedRun | None:
        """As `run`; where it isn't known there, the run of this key at any other destination."""
        if (here := self.run(destination, key)) is not None and here.run_id:
            return here
        return self.run(elsewhere, key) if (elsewhere := self.home(key)) else here

    def destinations(self) -> list[str]:
        """Everywhere that runs have been shipped to."""
        with self._open() as database:
            return [row[0] for row in database.execute("SELECT DISTINCT destination FROM runs ORDER BY destination")]

    def prompt(self, destination: str, name: str, digest: str) -> int | None:
        """The registry's version of a prompt with this digest; a digest may be given by its beginning."""
        with self._open() as database:
            row = database.execute(
                "SELECT version FROM prompts WHERE destination = ? AND name = ? AND substr(digest, 1, ?) = ?",
                (destination, name, len(digest), digest),
            ).fetchone()
        return int(row[0]) if row else None

    def prompts(self) -> dict[str, int]:
        """Name -> newest version of the prompts that this project has registered anywhere."""
        with self._open() as database:
            rows = database.execute("SELECT name, max(version) FROM prompts GROUP BY name ORDER BY name").fetchall()
        return {str(name): int(version) for name, version in rows}

    def set_prompt(self, destination: str, name: str, digest: str, version: int) -> None:
        """Note a prompt's version."""
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO prompts (destination, name, digest, version) VALUES (?, ?, ?, ?)",
                (destination, name, digest, version),
            )

    def reject(self, rejection: Rejection) -> None:
        """Note a record that MLflow refused."""
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO rejected (stream, seq, kind, reason, at) VALUES (?, ?, ?, ?, ?)",
                (rejection.stream, rejection.seq, rejection.kind, rejection.reason, time.time()),
            )

    def rejections(self) -> list[Rejection]:
        """All records that MLflow refused."""
        with self._open() as database:
            rows = database.execute("SELECT stream, seq, kind, reason FROM rejected ORDER BY stream, seq")
            return [Rejection(*row) for row in rows]

    def forget_rejection(self, stream: str, seq: int) -> None:
        """Before a record is tried again."""
        with self._open() as database:
            database.execute("DELETE FROM rejected WHERE stream = ? AND seq = ?", (stream, seq))

    def forget_rejections(self, stream: str, until: int) -> None:
        """Before records up to this one leave the journal."""
        with self._open() as database:
            database.execute("DELETE FROM rejected WHERE stream = ? AND seq <= ?", (stream, until))

    def forget_runs(self, destination: str, run_ids: Sequence[str]) -> None:
        """After runs were removed from MLflow, by MLflow's ids."""
        chosen = "destination = ? AND {} IN (SELECT {} FROM runs WHERE destination = ? AND run_id = ?)"
        rows = [(destination, destination, run_id) for run_id in run_ids]
        with self._open() as database:
            for table in ("opinions", "homes"):
                database.executemany(f"DELETE FROM {table} WHERE " + chosen.format("key", "key"), rows)  # noqa: S608
            database.executemany("DELETE FROM runs WHERE destination = ? AND run_id = ?", [row[1:] for row in rows])

    def note(self, name: str, value: str) -> None:
        """Keep a short fact with the time it was noted."""
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO state (name, value, at) VALUES (?, ?, ?)", (name, value, time.time())
            )

    def noted(self, name: str) -> tuple[str, float]:
        """A fact and when it was noted (Unix time); empty and 0 when it never was."""
        with self._open() as database:
            row = database.execute("SELECT value, at FROM state WHERE name = ?", (name,)).fetchone()
        return (row[0], float(row[1])) if row else ("", 0.0)


def _place(cursor: Cursor) -> tuple[int, int, int, str]:
    return cursor.segment, cursor.offset, cursor.seq, cursor.hash
