"""What is still to be removed from MLflow: noted before the journal forgets it, and struck out when it is done."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Kind = Literal["trace", "run", "bytes"]
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS todo (destination TEXT, kind TEXT, id TEXT, PRIMARY KEY (destination, kind, id))"
    " WITHOUT ROWID"
)


class Outbox:
    """The list of one project.

    Args:
        path: the SQLite file; made when it is first written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, destination: str, kind: Kind, ids: Iterable[str]) -> None:
        """Note what is to be removed there; on the disk when this returns."""
        with self._open() as database:
            rows = [(destination, kind, one) for one in ids]
            database.executemany("INSERT OR IGNORE INTO todo (destination, kind, id) VALUES (?, ?, ?)", rows)

    def destinations(self) -> list[str]:
        """Where something is to be removed."""
        if not self._path.exists():
            return []
        with self._open() as database:
            return [row[0] for row in database.execute("SELECT DISTINCT destination FROM todo ORDER BY 1")]

    def take(self, destination: str, kind: Kind, most: int) -> list[str]:
        """Some of what is to be removed there."""
        with self._open() as database:
            query = "SELECT id FROM todo WHERE destination = ? AND kind = ? ORDER BY id LIMIT ?"
            return [row[0] for row in database.execute(query, (destination, kind, most))]

    def done(self, destination: str, kind: Kind, ids: Iterable[str]) -> None:
        """Strike out what is removed."""
        with self._open() as database:
            rows = [(destination, kind, one) for one in ids]
            database.executemany("DELETE FROM todo WHERE destination = ? AND kind = ? AND id = ?", rows)

    def count(self) -> int:
        """How much is left."""
        if not self._path.exists():
            return 0
        with self._open() as database:
            return int(database.execute("SELECT count(*) FROM todo").fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30.0, isolation_level="IMMEDIATE")) as database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute(_SCHEMA)
            with database:
                yield database
