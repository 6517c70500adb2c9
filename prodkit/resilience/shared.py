"""Breaker state that processes share through SQLite, so that the next job knows what this one has found out."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_FORGET_AFTER = 3600.0  # an outage that nobody has looked at for an hour says nothing about now
_TABLE = """
create table if not exists breaker (target text primary key, open_until real not null, probe_until real not null)
"""


class SqliteState:
    """Implements `breaker.SharedState` on a SQLite file.

    A file that can't be read or written must not break a call: then this process goes by what it knows itself, and
    `problem` says why.

    Args:
        path: the file; its folder is made.
        wall: seconds since the epoch. Processes have no other clock in common.
    """

    def __init__(self, path: Path, *, wall: Callable[[], float] = time.time) -> None:
        self.path, self._wall, self.problem = path, wall, ""

    def open_for(self, target: str) -> float | None:
        """Seconds that the target is to be left alone; 0 when it may be probed, None when nothing is known."""
        now = self._wall()

        def ask(connection: sqlite3.Connection) -> float | None:
            query = "select open_until from breaker where target = ? and open_until > ?"
            row = connection.execute(query, (target, now - _FORGET_AFTER)).fetchone()
            return max(0.0, row[0] - now) if row else None

        return self._with_database(ask, None)

    def opened(self, target: str, seconds: float) -> None:
        """Leave the target alone for so long; nobody holds the probe."""
        until = self._wall() + seconds
        self._with_database(lambda c: c.execute("replace into breaker values (?, ?, 0)", (target, until)), None)

    def closed(self, target: str) -> None:
        """The target is well."""
        self._with_database(lambda c: c.execute("delete from breaker where target = ?", (target,)), None)

    def probe(self, target: str, lease: float) -> bool:
        """Take the probe. True when we have it, and also when the file can't be asked."""
        now = self._wall()

        def take(connection: sqlite3.Connection) -> bool:
            connection.execute("insert or ignore into breaker values (?, ?, 0)", (target, now))
            query = "update breaker set probe_until = ? where target = ? and probe_until <= ? and open_until <= ?"
            # a hundredth of grace: two clocks of one machine may differ by less than what they are asked for
            return connection.execute(query, (now + lease, target, now, now + 0.01)).rowcount == 1

        return self._with_database(take, otherwise=True)

    def _with_database(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Run `work` in a write transaction; a failing database is noted in `problem`, and `otherwise` returned."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # a connection for each use: it survives forks and threads, and only failing calls pay for it
            with contextlib.closing(sqlite3.connect(self.path, timeout=1.0, isolation_level=None)) as connection:
                connection.execute("begin immediate")
                connection.execute(_TABLE)
                result = work(connection)
                connection.execute("commit")
        except (sqlite3.Error, OSError) as error:
            self.problem = f"breaker state isn't shared: {type(error).__name__}: {error}"
            return otherwise
        self.problem = ""
        return result
