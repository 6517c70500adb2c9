"""The scheduler's own memory: which schedules there are, and which of their ticks were begun and ended."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.jobs.schedules.cron import Cron
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SCHEMA = """
CREATE TABLE IF NOT EXISTS schedules (
  name TEXT PRIMARY KEY, job TEXT NOT NULL, line TEXT NOT NULL, zone TEXT NOT NULL, params TEXT NOT NULL,
  since TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS ticks (
  name TEXT NOT NULL, due TEXT NOT NULL, missed INTEGER NOT NULL, begun TEXT NOT NULL, ended TEXT, outcome TEXT,
  PRIMARY KEY (name, due)
);
"""
_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job that the local scheduler runs. Firings up to `since` don't count."""

    name: str
    job: Path
    cron: Cron
    params: Mapping[str, str]
    since: datetime


@dataclass(frozen=True, slots=True)
class Tick:
    """One firing. `missed` are the firings before it that it stands for; `outcome` is "" until it has ended."""

    name: str
    due: datetime
    missed: int
    begun: datetime
    ended: datetime | None
    outcome: str

    @property
    def key(self) -> str:
        """The idempotency key of its run."""
        return f"{self.name}@{self.due.isoformat()}"


class ScheduleStore:
    """Schedules and ticks of a project in one SQLite file.

    Args:
        path: the file; made on first use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, name: str, job: Path, cron: Cron, params: Mapping[str, str]) -> None:
        """Add a schedule, or change one; it counts from now on."""
        values = (name, str(job), cron.line, cron.zone, json.dumps(dict(params), sort_keys=True), now().isoformat())
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?, ?)", values)

    def remove(self, name: str) -> bool:
        """Take a schedule away; its ticks stay on record. False when there was none."""
        with self._open() as db:
            return db.execute("DELETE FROM schedules WHERE name = ?", (name,)).rowcount > 0

    def schedules(self) -> tuple[Schedule, ...]:
        """All schedules by name."""
        with self._open() as db:
            rows = db.execute("SELECT name, job, line, zone, params, since FROM schedules ORDER BY name").fetchall()
        return tuple(
            Schedule(name, Path(job), Cron(line, zone), json.loads(params), datetime.fromisoformat(since))
            for name, job, line, zone, params, since in rows
        )

    def claim(self, name: str, due: datetime, missed: int) -> Tick | None:
        """Begin a tick; None when somebody has begun it before."""
        tick = Tick(name, due, missed, now(), None, "")
        with self._open() as db:
            done = db.execute(
                "INSERT OR IGNORE INTO ticks (name, due, missed, begun) VALUES (?, ?, ?, ?)",
                (name, due.isoformat(), missed, tick.begun.isoformat()),
            ).rowcount
        return tick if done else None

    def end(self, tick: Tick, outcome: str) -> None:
        """A tick's run has ended."""
        with self._open() as db:
            db.execute(
                "UPDATE ticks SET ended = ?, outcome = ? WHERE name = ? AND due = ?",
                (now().isoformat(), outcome, tick.name, tick.due.isoformat()),
            )

    def unfinished(self) -> tuple[Tick, ...]:
        """Ticks that were begun and not ended, the oldest first: their scheduler was killed or stopped."""
        return self._ticks("WHERE ended IS NULL ORDER BY due")

    def last(self, name: str) -> Tick | None:
        """The latest tick of a schedule."""
        return next(iter(self._ticks("WHERE name = ? ORDER BY due DESC LIMIT 1", name)), None)

    def _ticks(self, where: str, *values: str) -> tuple[Tick, ...]:
        with self._open() as db:
            rows = db.execute(f"SELECT name, due, missed, begun, ended, outcome FROM ticks {where}", values)  # noqa: S608
            return tuple(
                Tick(
                    name,
                    datetime.fromisoformat(due),
                    missed,
                    datetime.fromisoformat(begun),
                    datetime.fromisoformat(ended) if ended else None,
                    outcome or "",
                )
                for name, due, missed, begun, ended, outcome in rows
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level="IMMEDIATE")) as db:
            db.executescript(_SCHEMA)
            with db:
                yield db
