"""The project's own SQLite file, below MLflow: how it is made, and how deleted rows leave it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PAGE_BYTES = 16_384
"""A span takes 1-4 kB: on SQLite's own pages of 4 kB each would have one for itself, with half of it empty. Larger
pages than these gain little, and cost each of MLflow's 200 tables and indices one."""

LARGE = 64 << 20

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

    A large file with smaller pages gets larger ones on the way.

    Raises:
        sqlite3.OperationalError: another process writes all the time, or the disk has no room for a second copy.
    """
    before = _weigh(path)
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
        mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        if before > LARGE and mode != "wal":  # in which SQLite keeps the size of its pages
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before - _weigh(path)


_ORPHANS = (
    "DELETE FROM inputs WHERE destination_type = 'RUN' AND destination_id NOT IN (SELECT run_uuid FROM runs)",
    "DELETE FROM input_tags WHERE input_uuid NOT IN (SELECT input_uuid FROM inputs)",
    "DELETE FROM datasets WHERE dataset_uuid NOT IN (SELECT source_id FROM inputs WHERE source_type = 'DATASET')",
    """DELETE FROM entity_associations
       WHERE source_type = 'trace' AND source_id NOT IN (SELECT request_id FROM trace_info)""",
)


def drop_orphans(path: Path) -> None:
    """Remove what MLflow leaves behind of removed runs and traces: datasets that no run has any more, and links."""
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        for statement in _ORPHANS:
            try:
                with database:
                    database.execute(statement)
            except sqlite3.OperationalError as error:
                if "no such" not in str(error):  # another MLflow with other tables: nothing that we know of
                    raise


def _weigh(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob(path.name + "*") if one.is_file())
