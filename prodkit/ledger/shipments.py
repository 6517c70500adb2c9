"""What has been shipped: a cursor for each stream, and MLflow's ids for ours. SQLite, shared by all processes."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.ledger.mlflow_prices import Opinion, totals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursors (stream TEXT PRIMARY KEY, segment INTEGER, offset INTEGER, seq INTEGER, hash TEXT,
                                    destination TEXT);
CREATE TABLE IF NOT EXISTS runs (destination TEXT, key TEXT, run_id TEXT, experiment_id TEXT, parent_key TEXT,
                                 PRIMARY KEY (destination, key));
CREATE INDEX IF NOT EXISTS runs_by_key ON runs (key);
CREATE TABLE IF NOT EXISTS prompts (destination TEXT, name TEXT, digest TEXT, version INTEGER,
                                    PRIMARY KEY (destination, name, digest));
CREATE TABLE IF NOT EXISTS rejected (stream TEXT, seq INTEGER, kind TEXT, reason TEXT, at REAL,
                                     PRIMARY KEY (stream, seq));
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT, at REAL);
CREATE TABLE IF NOT EXISTS opinions (destination TEXT, key TEXT, ours TEXT, theirs TEXT, differing INTEGER,
                                     PRIMARY KEY (destination, key));
"""


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
        path: the database; made when it isn't there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made = False
        self._lock = threading.Lock()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=10.0, isolation_level=None)) as database:
            with self._lock:
                if not self._made:
                    database.execute("PRAGMA journal_mode = WAL")
                    database.executescript(_SCHEMA)
                    self._made = True
            database.execute("PRAGMA synchronous = NORMAL")
            yield database

    def cursors(self) -> dict[str, Cursor]:
        """The cursor of each stream."""
        with self._open() as database:
            rows = database.execute("SELECT stream, segment, offset, seq, hash, destination FROM cursors")
            return {row[0]: Cursor(*row) for row in rows}

    def move(self, cursor: Cursor, opinions: Mapping[str, Opinion] | None = None) -> None:
        """Everything up to here is in MLflow (or rejected).

        Args:
            cursor: where shipping goes on.
            opinions: the new sums of the runs whose calls were shipped; kept in the same transaction, so that a batch
                which is sent twice is counted once.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(
                "INSERT OR REPLACE INTO cursors (stream, segment, offset, seq, hash, destination)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (cursor.stream, cursor.segment, cursor.offset, cursor.seq, cursor.hash, cursor.destination),
            )
            self._keep(database, cursor.destination, opinions or {})
            database.execute("COMMIT")

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
        with self._open() as database:
            rows = database.execute(
                "SELECT key, run_id, experiment_id, parent_key FROM runs WHERE destination = ? AND parent_key = ?",
                (destination, parent_key),
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
