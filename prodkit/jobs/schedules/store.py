"""The scheduler's own memory: which schedules there are, and which of their firings were claimed, begun and ended.

One SQLite file in WAL mode. A firing is claimed in it before it starts; what is claimed and not ended is what a next
scheduler goes on with, whenever the one before it was killed.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from prodkit.errors import ConfigError, ProdkitError, TransientError
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.schedule import Due, Firing, Schedule
from prodkit.jobs.schedules.schema import prepare
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

_BUSY_SECONDS = 30.0
_SCHEDULE = (
    "name, job, line, zone, params, since, pool, priority, jitter, catch_up, catch_up_limit, date_parameter, "
    "date_kind, paused, revision"
)
_SCHEDULES = f"SELECT {_SCHEDULE} FROM schedules"  # noqa: S608  fixed words
_FIRING = "name, due, kind, missed, claimed, begun, ended, outcome, error"


class ScheduleStore:
    """Schedules and firings of a project.

    It belongs to the thread that uses it first; others, and other processes, open their own.

    Each use may raise `ConfigError` (`schedule.store`, `schedule.store-newer`) or `TransientError`
    (`schedule.store-busy`) where the file can't be opened.

    Args:
        path: the file; made on first use.
        root: the project's folder, from which job folders are written down; default: what lies around the file.
    """

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path, self._root = path, root or path.parents[2]
        self._opened: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; another use opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def put(self, schedule: Schedule) -> None:
        """Add a schedule, or change the one of this name. What the older one had waiting is withdrawn."""
        with self._transaction() as db:
            revision = self._new_revision(db)
            _withdraw(db, schedule.name, "replaced")
            db.execute(
                f"INSERT OR REPLACE INTO schedules ({_SCHEDULE}) VALUES ({', '.join('?' * 15)})",  # noqa: S608  fixed words
                self._row(replace(schedule, revision=revision)),
            )

    def remove(self, name: str) -> bool:
        """Take a schedule away with what it has waiting; its firings stay on record. False when there was none."""
        with self._transaction() as db:
            self._new_revision(db)
            _withdraw(db, name, "removed")
            return db.execute("DELETE FROM schedules WHERE name = ?", (name,)).rowcount > 0

    def pause(self, name: str, moment: datetime) -> bool:
        """Let a schedule fire no more until it is resumed; what it has waiting is withdrawn."""
        with self._transaction() as db:
            _withdraw(db, name, "paused")
            return self._change(db, name, "paused = COALESCE(paused, ?)", moment.isoformat())

    def resume(self, name: str, moment: datetime) -> bool:
        """Let a schedule fire again, from a moment on."""
        with self._transaction() as db:
            values = (moment.isoformat(),)
            return self._change(
                db, name, "since = CASE WHEN paused IS NULL THEN since ELSE MAX(since, ?) END, paused = NULL", *values
            )

    def schedules(self) -> tuple[Schedule, ...]:
        """All schedules by name."""
        rows = self._db.execute(_SCHEDULES + " ORDER BY name").fetchall()
        return tuple(map(self._schedule, rows))

    def schedule(self, name: str) -> Schedule | None:
        """One schedule."""
        row = self._db.execute(_SCHEDULES + " WHERE name = ?", (name,)).fetchone()
        return self._schedule(row) if row else None

    def revisions(self) -> dict[str, int]:
        """Which schedules there are, and a number for each that grows when it changes."""
        return dict(self._db.execute("SELECT name, revision FROM schedules").fetchall())

    def changes(self) -> int:
        """A number that changes when somebody else has written."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def claim(self, due: Iterable[tuple[Due, Schedule]], moment: datetime) -> list[Firing]:
        """Claim firings, all in one transaction; what is only noted as missed ends at once.

        Returns:
            Those that are to run: not what was claimed before, nor what belongs to a schedule that somebody has
            changed, paused or removed meanwhile.
        """
        claimed = []
        with self._transaction() as db:
            for one, schedule in due:
                firing = replace(one.firing, claimed=moment, ended=None if one.run else moment)
                current = db.execute(
                    "UPDATE schedules SET since = ? WHERE name = ? AND revision = ? AND paused IS NULL",
                    (firing.due.isoformat(), firing.name, schedule.revision),
                ).rowcount
                if current and _insert(db, firing, "" if one.run else "missed") and one.run:
                    claimed.append(firing)
        return claimed

    def begin(self, firings: Sequence[Firing], moment: datetime) -> list[Firing]:
        """Begin firings; returns those whose schedule is still there, active, and that nobody has withdrawn."""
        begun = []
        with self._transaction() as db:
            for firing in firings:
                done = db.execute(
                    "UPDATE firings SET begun = ?3 WHERE name = ?1 AND due = ?2 AND ended IS NULL AND EXISTS "
                    "(SELECT 1 FROM schedules WHERE name = ?1 AND paused IS NULL)",
                    (firing.name, firing.due.isoformat(), moment.isoformat()),
                ).rowcount
                if done:
                    begun.append(replace(firing, begun=moment))
        return begun

    def release(self, firing: Firing) -> None:
        """A firing couldn't begin after all: it waits again."""
        with self._transaction() as db:
            where = (firing.name, firing.due.isoformat())
            db.execute("UPDATE firings SET begun = NULL WHERE name = ? AND due = ? AND ended IS NULL", where)

    def end(self, firings: Sequence[Firing]) -> None:
        """Firings have ended: `ended`, `outcome` and `error` say when and how."""
        with self._transaction() as db:
            db.executemany(
                "UPDATE firings SET ended = ?, outcome = ?, error = ? WHERE name = ? AND due = ?",
                [
                    ((one.ended or now()).isoformat(), one.outcome, one.error, one.name, one.due.isoformat())
                    for one in firings
                ],
            )

    def backfill(self, name: str, dues: Iterable[datetime], moment: datetime) -> int:
        """Let firings run that never did, or that ended otherwise than well; returns how many."""
        count = 0
        with self._transaction() as db:
            for due in dues:
                firing = Firing(name, due, "backfill", claimed=moment)
                again = db.execute(
                    "UPDATE firings SET kind = 'backfill', missed = 0, claimed = ?, begun = NULL, ended = NULL, "
                    "outcome = '', error = '' WHERE name = ? AND due = ? AND ended IS NOT NULL AND outcome != 'ok'",
                    (moment.isoformat(), name, due.isoformat()),
                ).rowcount
                count += again or _insert(db, firing)
            self._change(db, name, "since = since")
        return count

    def unfinished(self, name: str = "") -> tuple[Firing, ...]:
        """Firings, of one schedule or all, that were claimed and not ended, the oldest first."""
        where, values = ("AND name = ?", (name,)) if name else ("", ())
        return self._firings(f"WHERE ended IS NULL {where} ORDER BY due, name", *values)

    def last(self, name: str) -> Firing | None:
        """The latest firing of a schedule."""
        return next(iter(self._firings("WHERE name = ? ORDER BY due DESC LIMIT 1", name)), None)

    def firings(self, name: str, since: datetime, until: datetime) -> dict[datetime, Firing]:
        """The firings of a schedule in `[since, until]` by when they were due."""
        span = (moment.astimezone(UTC).isoformat() for moment in (since, until))
        found = self._firings("WHERE name = ? AND due BETWEEN ? AND ?", name, *span)
        return {firing.due: firing for firing in found}

    def forget(self, name: str, keep: int) -> int:
        """Drop the ended firings of a schedule but for the latest ones; returns how many."""
        with self._transaction() as db:
            return db.execute(
                "DELETE FROM firings WHERE name = ?1 AND ended IS NOT NULL AND due < "
                "(SELECT due FROM firings WHERE name = ?1 ORDER BY due DESC LIMIT 1 OFFSET ?2)",
                (name, keep - 1),
            ).rowcount

    def note(self, name: str, value: Any) -> None:
        """Keep a JSON value beside the schedules; None takes it away."""
        with self._transaction() as db:
            if value is None:
                db.execute("DELETE FROM notes WHERE name = ?", (name,))
            else:
                db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))

    def noted(self, name: str) -> Any:
        """A value that was kept; None without one."""
        row = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def _firings(self, where: str, *values: str) -> tuple[Firing, ...]:
        rows = self._db.execute(f"SELECT {_FIRING} FROM firings {where}", values).fetchall()  # noqa: S608  fixed words
        return tuple(map(_firing, rows))

    def _change(self, db: sqlite3.Connection, name: str, what: str, *values: str) -> bool:
        revision = self._new_revision(db)
        query = f"UPDATE schedules SET {what}, revision = ? WHERE name = ?"  # noqa: S608  fixed words
        return db.execute(query, (*values, revision, name)).rowcount > 0

    def _new_revision(self, db: sqlite3.Connection) -> int:
        """Revisions grow over all schedules, so that one which was removed and added again has another."""
        revision = int(self.noted("revision") or 1) + 1
        db.execute("INSERT OR REPLACE INTO notes VALUES ('revision', ?)", (str(revision),))
        return revision

    def _row(self, one: Schedule) -> tuple[Any, ...]:
        job = Path(os.path.abspath(one.job))  # noqa: PTH100  without following links
        place = job.relative_to(self._root).as_posix() if job.is_relative_to(self._root) else str(job)
        params, paused = json.dumps(dict(one.params), sort_keys=True), one.paused.isoformat() if one.paused else None
        return (
            *(one.name, place, one.cron.line, one.cron.zone, params, one.since.isoformat(), one.pool, one.priority),
            *(one.jitter, one.catch_up, one.limit, one.date_parameter, one.date_kind, paused, one.revision),
        )

    def _schedule(self, row: tuple[Any, ...]) -> Schedule:
        name, job, line, zone, params, since, pool, priority, jitter, catch_up, limit, date, kind, paused, revision = (
            row
        )
        return Schedule(
            *(name, self._root / job, Cron(line, zone), json.loads(params), datetime.fromisoformat(since)),
            *(pool, priority, jitter, catch_up, limit, date, kind),
            datetime.fromisoformat(paused) if paused else None,
            revision,
        )

    @property
    def _db(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._opened = self._open()
            except (sqlite3.Error, OSError) as error:
                raise _unusable(self.path, error) from error
        return self._opened

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # a claim must outlive the machine, too
            prepare(db, self.path, self._root)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _insert(db: sqlite3.Connection, one: Firing, outcome: str = "") -> int:
    claimed = (one.claimed or now()).isoformat()
    ended = one.ended.isoformat() if one.ended else None
    return db.execute(
        "INSERT OR IGNORE INTO firings (name, due, kind, missed, claimed, ended, outcome) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (one.name, one.due.isoformat(), one.kind, one.missed, claimed, ended, outcome),
    ).rowcount


def _withdraw(db: sqlite3.Connection, name: str, why: str) -> None:
    """End what a schedule has waiting; what has begun goes on."""
    db.execute(
        "UPDATE firings SET ended = ?, outcome = ? WHERE name = ? AND ended IS NULL AND begun IS NULL",
        (now().isoformat(), why, name),
    )


def _firing(row: tuple[Any, ...]) -> Firing:
    name, due, kind, missed, *moments, outcome, error = row
    claimed, begun, ended = (datetime.fromisoformat(one) if one else None for one in moments)
    return Firing(name, datetime.fromisoformat(due), kind, missed, claimed, begun, ended, outcome, error)


def _unusable(path: Path, error: Exception) -> ProdkitError:
    if "locked" in str(error):
        return TransientError("schedule.store-busy", "Another process holds the schedules.", where=str(path))
    return ConfigError(
        "schedule.store",
        f"The schedules can't be opened: {error}.",
        where=str(path),
        fix="let this user write to the file and its folder, or put back a copy of the file",
    )
