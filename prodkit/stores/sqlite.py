"""SQLite files, one connection a process and file.

SQLite's state doesn't survive a fork, neither its connections nor what it knows of its locks: so before a fork the
running transaction is awaited and the connections are closed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.stores.database import Row, T, newer, unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from prodkit.stores.database import Schema, Transaction

BUSY_SECONDS = 20.0

# Threads of one process queue here: SQLite's own waiting sleeps and polls, which costs 50 threads tens of milliseconds.
_queue = threading.Lock()
_connections: dict[Path, tuple[int, sqlite3.Connection]] = {}  # with the file's inode


def _before_fork() -> None:
    _queue.acquire()
    _close_all()


def _after_fork_in_parent() -> None:
    _queue.release()


def _after_fork_in_child() -> None:
    global _queue  # noqa: PLW0603  the old one is held by a thread that isn't there any more
    _queue = threading.Lock()


def _close_all() -> None:
    while _connections:
        _connections.popitem()[1][1].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_close_all)


class SqliteDatabase:
    """A database in a file; its folder is made when missing.

    Args:
        path: the file.
        schema: its tables; a file that an earlier version wrote is brought up to date when it is opened.
        fast: use a write-ahead log and leave the last transactions to the operating system: they survive the process
            and not a power cut. Doesn't work on network folders.
    """

    shared = False

    def __init__(self, path: Path, schema: Schema, *, fast: bool = False) -> None:
        self.path, self.schema, self.fast = path, schema, fast
        self.name = self.where = str(path)

    def write(self, work: Callable[[Transaction], T], *, patience: float | None = None) -> T:  # noqa: ARG002  no server
        """One exclusive transaction."""
        return self._do("BEGIN IMMEDIATE", work)

    def read(self, work: Callable[[Transaction], T]) -> T:
        """One transaction that only reads. Of a file that isn't there it finds nothing, and makes none."""
        if not self.path.exists():
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                self._bring_up_to_date(connection)
                return work(_SqliteTransaction(connection))
        return self._do("BEGIN", work)

    def compact(self) -> None:
        """Leave nothing of what was overwritten or deleted in the file's free space."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("VACUUM")

    def _do(self, begin: str, work: Callable[[Transaction], T]) -> T:
        with _queue:
            try:
                connection = self._connect()
                connection.execute(begin)
            except (OSError, sqlite3.Error) as error:
                self._drop()
                raise unusable(self.where, error) from error
            try:
                result = work(_SqliteTransaction(connection))
                connection.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                if not isinstance(error, sqlite3.Error):
                    raise
                self._drop()
                raise unusable(self.where, error) from error
            return result

    def _connect(self) -> sqlite3.Connection:
        """The process's connection; a new one when the file was removed or replaced in between."""
        path = self.path
        inode, connection = _connections.get(path, (0, None))
        # an interrupt in the middle of a rollback leaves a transaction open
        usable = connection is not None and not connection.in_transaction
        if connection is not None and usable and path.exists() and path.stat().st_ino == inode:
            return connection
        self._drop()
        connection = self._open()
        _connections[path] = (path.stat().st_ino, connection)
        return connection

    def _drop(self) -> None:
        _, connection = _connections.pop(self.path, (0, None))
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._bring_up_to_date(connection)
            if self.fast:
                connection.execute("PRAGMA synchronous = NORMAL")
            if self.schema.forget is not None:
                statement, age = self.schema.forget
                connection.execute(statement, (time.time() - age,))
        except (sqlite3.Error, ConfigError):
            connection.close()
            raise
        return connection

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        if self._version(connection) == len(self.schema.versions):
            return
        if self.fast:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")  # of several processes, one does it
        for step in self.schema.versions[self._version(connection) :]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(self.schema.versions)}")
        connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(self.schema.versions):
            raise newer(self.where, self.schema, version)
        return version


class _SqliteTransaction:
    __slots__ = ("_connection", "repeated")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self.repeated = connection, False

    @property
    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """All rows of a statement."""
        return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """How many rows a statement has changed."""
        return self._connection.execute(sql, values).rowcount

    def change_each(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """A statement for each of many rows."""
        self._connection.executemany(sql, rows)
