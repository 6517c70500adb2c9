"""The project's own SQLite file, below MLflow: how it is made, and how deleted rows leave it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PAGE_BYTES = 16_384
"""A span takes 1-4 kB: on SQLite's own pages of 4 kB each would have one for itself, with half of it empty."""

_PATIENCE = 30.0


def make_file(path: Path) -> None:
    """An empty database with pages that spans fit into; nothing when the file is there."""
    if path.exists() and path.stat().st_size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        database.execute("VACUUM")  # writes the header


def compact_file(path: Path) -> int:
    """Leave nothing of deleted rows, neither in free pages nor beside the file; returns the bytes that became free.

    A file with smaller pages gets larger ones on the way.

    Raises:
        sqlite3.OperationalError: another process writes all the time, or the disk has no room for a second copy.
    """
    before = _weigh(path)
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
        mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":  # SQLite changes the size of pages in no other mode
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before - _weigh(path)


def _weigh(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob(path.name + "*") if one.is_file())
