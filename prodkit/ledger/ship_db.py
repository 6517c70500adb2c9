"""The database beside the journal: its connection, its tables, and the version of their layout."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from prodkit.errors import ConfigError
from prodkit.ledger.destinations import adopt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 2
"""Layout 1 was written by 0.1.0: it carries no number, and names the project's own MLflow by an absolute path."""

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
CREATE TABLE IF NOT EXISTS parked (id INTEGER PRIMARY KEY, stream TEXT, destination TEXT,
                                   segment INTEGER, offset INTEGER, seq INTEGER, hash TEXT,
                                   to_segment INTEGER, to_offset INTEGER, to_seq INTEGER);
CREATE TABLE IF NOT EXISTS homes (key TEXT PRIMARY KEY, destination TEXT);
CREATE TABLE IF NOT EXISTS retargets (stream TEXT, seq INTEGER, time TEXT, old TEXT, new TEXT, experiment TEXT,
                                      PRIMARY KEY (stream, seq));
CREATE TABLE IF NOT EXISTS failures (destination TEXT PRIMARY KEY, reason TEXT, since REAL, at REAL);
"""
_NAMING = ("cursors", "runs", "prompts", "opinions")  # tables of layout 1 with a destination in each row


class ShipDb:
    """Opens the database, makes or migrates its tables once, and reads it where the folder can't be written.

    Args:
        path: the file; made when it isn't there.
        root: the project's folder.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        self._ready = False
        self._lock = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection in autocommit mode.

        Raises:
            ConfigError: `ledger.newer`, a later version of prodkit has written it.
        """
        if not self._ready and _is_read_only(self._path):
            with closing(_connect_read_only(self._path)) as database:
                if _check(self._path, database) == VERSION:
                    yield database
                    return
                with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
                    database.backup(copy)
                    self._migrate(copy)
                    yield copy
            return
        with closing(sqlite3.connect(self._path, timeout=10.0, isolation_level=None)) as database:
            with self._lock:
                if not self._ready:
                    self._prepare(database)
                    self._ready = True
            database.execute("PRAGMA synchronous = NORMAL")
            yield database

    def _prepare(self, database: sqlite3.Connection) -> None:
        if _check(self._path, database) == VERSION:
            return
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        try:
            if _check(self._path, database) != VERSION:  # another process may have been first
                self._migrate(database)
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def _migrate(self, database: sqlite3.Connection) -> None:
        for statement in _SCHEMA.strip().rstrip(";").split(";\n"):
            database.execute(statement)
        _name_relatively(database, self._root)
        database.execute(f"PRAGMA user_version = {VERSION}")


def _check(path: Path, database: sqlite3.Connection) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise ConfigError(
            "ledger.newer",
            f"This file has layout {version}; this prodkit knows layouts up to {VERSION}.",
            where=str(path),
            fix="use the version of prodkit that has written it, or a later one",
        )
    return version


def _name_relatively(database: sqlite3.Connection, root: Path) -> None:
    for table in _NAMING:
        for (named,) in database.execute(f"SELECT DISTINCT destination FROM {table}").fetchall():  # noqa: S608  our own names
            if (now := adopt(named or "", root)) != named:
                database.execute(f"UPDATE OR REPLACE {table} SET destination = ? WHERE destination = ?", (now, named))  # noqa: S608


def _is_read_only(path: Path) -> bool:
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """A file in WAL mode can be read without its side files only when nobody is said to write it."""
    wal = path.with_name(path.name + "-wal")
    unchanging = "" if wal.exists() and wal.stat().st_size else "&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{unchanging}", uri=True, isolation_level=None)
