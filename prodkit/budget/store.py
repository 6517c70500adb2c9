"""The budget's SQLite file. Amounts are whole 10^-12 dollars, so that sums are exact.

A process keeps one connection for each file. SQLite's state doesn't survive a fork, neither its connections nor what it
knows of its locks: so before a fork the running transaction is awaited and the connections are closed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

DEFAULT_LEASE = 900.0
BUSY_SECONDS = 20.0

_UNIT = Decimal(10) ** 12
_SCHEMA = """
CREATE TABLE IF NOT EXISTS totals (
    key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL, amount INTEGER NOT NULL, keys TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS announced (key TEXT, threshold REAL, PRIMARY KEY (key, threshold)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_SEPARATOR = "\x1f"

_KEPT_SECONDS = 7 * 86_400.0  # how long a second settlement of the same reservation is recognised

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


class UnavailableError(Exception):
    """The database can't be opened, read or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


@dataclass(frozen=True, slots=True)
class Limit:
    """One scope of a call, and its limit in US dollars; None means that it is only counted."""

    scope: str
    key: str
    usd: Decimal | None
    setting: str  # where the limit is set, for messages


@contextlib.contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """One exclusive transaction; rolled back when its body raises.

    Raises:
        UnavailableError: SQLite or the file system refuses.
    """
    with _queue:
        try:
            connection = _connect(path)
            connection.execute("BEGIN IMMEDIATE")
        except (OSError, sqlite3.Error) as error:
            _drop(path)
            raise UnavailableError(path, str(error)) from error
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise
            _drop(path)
            raise UnavailableError(path, str(error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    """The process's connection; a new one when the file was removed or replaced in between."""
    inode, connection = _connections.get(path, (0, None))
    # an interrupt in the middle of a rollback leaves a transaction open
    usable = connection is not None and not connection.in_transaction
    if connection is not None and usable and path.exists() and path.stat().st_ino == inode:
        return connection
    _drop(path)
    connection = _open(path)
    _connections[path] = (path.stat().st_ino, connection)
    return connection


def _drop(path: Path) -> None:
    _, connection = _connections.pop(path, (0, None))
    if connection is not None:
        connection.close()


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("DELETE FROM settled WHERE at < ?", (time.time() - _KEPT_SECONDS,))
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def totals(connection: sqlite3.Connection, key: str) -> tuple[Decimal, Decimal]:
    """Spent and reserved dollars of a scope."""
    row = connection.execute("SELECT spent, held FROM totals WHERE key = ?", (key,)).fetchone() or (0, 0)
    return _usd(row[0]), _usd(row[1])


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The limit that keeps a call from starting, and what of it is spent and reserved.

    `passing` means that the call fits as soon as those that are under way have been settled.
    """

    limit: Limit
    spent: Decimal
    held: Decimal
    passing: bool = False


def first_obstacle(
    connection: sqlite3.Connection, limits: Sequence[Limit], amount: Decimal, bound: Decimal
) -> Obstacle | None:
    """What keeps a call from starting that will probably cost `amount` and can't cost more than `bound`.

    Beside others it may start while all bounds together stay below the limit. Where its bound is too much, it may
    still start alone: then what goes over the limit is the error of one estimate. A scope whose limit is used up
    refuses free and unpriced calls too.
    """
    crowded = None
    for limit in limits:
        if limit.usd is None:
            continue
        spent, held = totals(connection, limit.key)
        if spent + amount > limit.usd or (amount == 0 and spent >= limit.usd):
            return Obstacle(limit, spent, held)
        if held and spent + held + bound > limit.usd:
            crowded = crowded or Obstacle(limit, spent, held, passing=True)
    return crowded


def hold(
    connection: sqlite3.Connection, name: str, keys: Sequence[str], amount: Decimal, owner: str, lease: float
) -> None:
    """Enter a reservation."""
    units = _units(amount)
    connection.execute(
        "INSERT INTO reservations (id, owner, until, amount, keys) VALUES (?, ?, ?, ?, ?)",
        (name, owner, time.time() + lease, units, _SEPARATOR.join(keys)),
    )
    _add(connection, keys, 0, units)


def settle(connection: sqlite3.Connection, name: str, keys: Sequence[str], cost: Decimal) -> None:
    """Book a reservation's cost once, also when its lease has run out in between."""
    if connection.execute("SELECT 1 FROM settled WHERE id = ?", (name,)).fetchone():
        return
    row = connection.execute("DELETE FROM reservations WHERE id = ? RETURNING amount", (name,)).fetchone()
    connection.execute("INSERT INTO settled (id, at) VALUES (?, ?)", (name, time.time()))
    _add(connection, keys, _units(cost), -row[0] if row else 0)


def expire(connection: sqlite3.Connection, is_gone: Callable[[str], bool]) -> int:
    """Release reservations whose lease has run out or whose process has ended; returns how many."""
    rows = connection.execute("SELECT id, owner, until, amount, keys FROM reservations").fetchall()
    gone = {owner: is_gone(owner) for owner in {row[1] for row in rows}}
    moment = time.time()
    stale = [row for row in rows if row[2] < moment or gone[row[1]]]
    for name, _, _, amount, keys in stale:
        connection.execute("DELETE FROM reservations WHERE id = ?", (name,))
        _add(connection, keys.split(_SEPARATOR), 0, -amount)
    return len(stale)


def cross(
    connection: sqlite3.Connection, limits: Sequence[Limit], thresholds: Sequence[float]
) -> list[tuple[Limit, float, Decimal]]:
    """The thresholds that what is spent has reached and that nobody has announced; marks them as announced."""
    crossed = []
    for limit in limits:
        if not limit.usd:
            continue
        spent = totals(connection, limit.key)[0]
        for threshold in sorted(thresholds):
            if spent < limit.usd * Decimal(str(threshold)):
                break
            entered = connection.execute("INSERT OR IGNORE INTO announced VALUES (?, ?)", (limit.key, threshold))
            if entered.rowcount:
                crossed.append((limit, threshold, spent))
    return crossed


def _add(connection: sqlite3.Connection, keys: Sequence[str], spent: int, held: int) -> None:
    connection.executemany(
        "INSERT INTO totals (key, spent, held) VALUES (?1, ?2, ?3) "
        "ON CONFLICT (key) DO UPDATE SET spent = spent + ?2, held = held + ?3",
        [(key, spent, held) for key in keys],
    )


def _units(amount: Decimal) -> int:
    return int((amount * _UNIT).to_integral_value(rounding=ROUND_CEILING))


def _usd(units: int) -> Decimal:
    return Decimal(units) / _UNIT
