"""Leases on names, over machines: held as long as their holder renews them, and free some time after it died.

Each taking of a name has a higher number than the one before. A holder that was paused, or cut off from the server,
finds by that number that somebody else has the name by now. All times are the database's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prodkit.errors import ProdkitError, TransientError
from prodkit.records import new_id
from prodkit.stores import owners
from prodkit.stores.database import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.stores.database import Database, Transaction

SECONDS = 60.0  # after which the lease of a dead holder is free
SHORTEST = 1.0
_BEATS = 12  # renewals in that time
_SAFE_SHARE = 0.8  # of that time, after which a holder that reached no server counts itself out

_TABLES = """
CREATE TABLE IF NOT EXISTS leases (
  name TEXT PRIMARY KEY, token BIGINT NOT NULL, holder TEXT NOT NULL, owner TEXT NOT NULL, about TEXT NOT NULL,
  since DOUBLE PRECISION NOT NULL, until DOUBLE PRECISION NOT NULL
)
"""
SCHEMA = Schema("leases", versions=(_TABLES,))


@dataclass(frozen=True, slots=True)
class Held:
    """Who has a lease now."""

    owner: str  # place, pid and start time
    about: str
    since: datetime
    until: float  # seconds since 1970 by the database's clock; grows while the holder lives

    @property
    def holder(self) -> str:
        """`process 7 on pod-3`."""
        return f"process {self.owner.rsplit('|', 2)[1]} on {owners.host_of(self.owner)}"


@dataclass(slots=True, eq=False)
class Lease:
    """A name that this process holds."""

    name: str
    token: int
    holder: str = ""
    seen: float = 0.0  # `time.monotonic()` before the last renewal that went well
    lost: bool = False
    listeners: list[Callable[[], object]] = field(default_factory=list)

    def lose(self) -> None:
        """Somebody else has the name, or may have it."""
        if not self.lost:
            self.lost = True
            for listener in tuple(self.listeners):
                listener()


class Leases:
    """The leases of one project.

    Args:
        database: shared by all machines, with the tables of `SCHEMA`.
        seconds: how long a lease lasts without being renewed.
    """

    def __init__(self, database: Database, *, seconds: float = SECONDS) -> None:
        self.database, self.seconds = database, seconds

    @property
    def where(self) -> str:
        """The address, for messages."""
        return self.database.where

    def take(self, name: str, about: str = "") -> Lease | Held:
        """Take a name, or say who has it. A lease that was taken is renewed until it is released or lost."""
        holder, began = new_id("lease"), time.monotonic()

        def take(db: Transaction) -> Lease | Held:
            found = db.rows("SELECT token, holder, owner, about, since, until FROM leases WHERE name = ?", (name,))
            token = int(found[0][0]) + 1 if found else 1
            if found and found[0][1] == holder:  # by a try whose answer was lost
                return Lease(name, token - 1, holder, began)
            if found and self._live(found[0][2], found[0][5], db.now):
                _, _, owner, known, since, until = found[0]
                return Held(owner, known, datetime.fromtimestamp(since, UTC), until)
            entry = (
                "INSERT INTO leases (name, token, holder, owner, about, since, until) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET token = excluded.token, holder = excluded.holder,"
                " owner = excluded.owner, about = excluded.about, since = excluded.since, until = excluded.until"
            )
            db.change(entry, (name, token, holder, owners.me(), about, db.now, db.now + self.seconds))
            return Lease(name, token, holder, began)

        taken = self.database.write(take)
        if isinstance(taken, Lease):
            _keeper_of(self).add(taken)
        return taken

    def release(self, lease: Lease, *, forget: bool = False) -> None:
        """Give a name back; `forget` names that are never taken again."""
        _keeper_of(self).remove(lease)
        if lease.lost:
            return
        end = "DELETE FROM leases" if forget else "UPDATE leases SET until = 0"
        mine = lease.name, lease.token
        with contextlib.suppress(TransientError):  # it runs out by itself
            self.database.write(lambda db: db.change(f"{end} WHERE name = ? AND token = ?", mine))

    def renew(self, leases: Sequence[Lease]) -> None:
        """Renew what is still held, and say of the rest that it is lost."""
        began = time.monotonic()
        update = "UPDATE leases SET until = ? WHERE name = ? AND token = ?"

        def renew(db: Transaction) -> list[Lease]:
            until = db.now + self.seconds
            return [lease for lease in leases if not db.change(update, (until, lease.name, lease.token))]

        lost = self.database.write(renew)
        for lease in leases:
            if lease in lost:
                lease.lose()
            else:
                lease.seen = began

    def check(self, lease: Lease) -> None:
        """Make sure that a lease is still held, and for a while to come.

        Raises:
            TransientError: `state.lease-lost`, or `state.unavailable`.
        """
        self.renew([lease])
        if lease.lost:
            raise lost_lease(self.where)

    def live(self, names: Sequence[str]) -> frozenset[str]:
        """Those of the names that somebody holds."""

        def look(db: Transaction) -> frozenset[str]:
            marks = ", ".join("?" * len(names))
            found = db.rows(f"SELECT name, owner, until FROM leases WHERE name IN ({marks})", names)  # noqa: S608
            return frozenset(name for name, owner, until in found if self._live(owner, until, db.now))

        return self.database.read(look) if names else frozenset()

    def _live(self, owner: str, until: float, now: float) -> bool:
        return until > now and not owners.is_gone(owner, shared=True)


def lost_lease(where: str) -> TransientError:
    """The one error for a holder that was paused or cut off for so long that others may go on without it."""
    return TransientError(
        "state.lease-lost",
        "This run was paused or cut off from the state's server for so long that another may have taken its place.",
        where=where,
        fix="look at `prodkit runs`; under the same --key the work is done once",
    )


class _Keeper:
    """Renews all leases of this process at one address, in a thread of its own."""

    def __init__(self, leases: Leases) -> None:
        self._leases, self._kept = leases, list[Lease]()
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._kept.append(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="prodkit-leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            if lease in self._kept:
                self._kept.remove(lease)
            if not self._kept:
                self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._leases.seconds / _BEATS)
            with self._lock:
                self._wake.clear()
                kept = tuple(self._kept)
                if not kept:
                    self._thread = None
                    return
            with contextlib.suppress(ProdkitError):
                self._leases.renew(kept)
            for lease in kept:
                if lease.lost or time.monotonic() - lease.seen > self._leases.seconds * _SAFE_SHARE:
                    lease.lose()
                    self.remove(lease)


_keepers: dict[tuple[int, str], _Keeper] = {}
_keepers_lock = threading.Lock()


def _keeper_of(leases: Leases) -> _Keeper:
    """The keeper of this process: a fork has none of its parent's leases."""
    key = os.getpid(), leases.database.name
    with _keepers_lock:
        return _keepers.setdefault(key, _Keeper(leases))
