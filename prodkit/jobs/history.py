"""What ran, when, and how it ended: a small table that many processes may write at once."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.jobs.ends import Outcome
from prodkit.stores import Schema
from prodkit.stores.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from prodkit.manifest import Project
    from prodkit.stores import Database, Transaction

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, job TEXT NOT NULL, key TEXT NOT NULL, params TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
  outcome TEXT NOT NULL, exit_code BIGINT, attempts BIGINT NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
  output TEXT NOT NULL DEFAULT '', run_id TEXT NOT NULL DEFAULT '', url TEXT NOT NULL DEFAULT '', cost TEXT,
  pid BIGINT NOT NULL, process_started DOUBLE PRECISION NOT NULL, parent TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS runs_by_job ON runs (job, started);
CREATE INDEX IF NOT EXISTS runs_by_key ON runs (job, key) WHERE key != ''
"""
SCHEMA = Schema("history", versions=(_TABLES,))
_COLUMNS = (
    *("run", "job", "key", "params", "started", "ended", "outcome", "attempts", "error", "output", "run_id", "url"),
    *("cost", "pid", "parent"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM runs"  # noqa: S608  fixed words


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of a job as the history holds it. `params` are JSON values; secrets are references."""

    run: str
    job: str
    key: str
    params: dict[str, Any]
    started: datetime
    ended: datetime | None
    outcome: Outcome
    attempts: int
    error: str
    output: str
    run_id: str
    url: str
    cost: str | None
    pid: int
    parent: str

    @property
    def seconds(self) -> float | None:
        """Wall time; None while it runs and when nobody saw the end."""
        return (self.ended - self.started).total_seconds() if self.ended else None


class History:
    """The runs of a project's jobs.

    Args:
        place: the database, or the SQLite file, which is made with its folder on first use.
    """

    def __init__(self, place: Database | Path) -> None:
        self._database = SqliteDatabase(place, SCHEMA) if isinstance(place, Path) else place

    @classmethod
    def of(cls, project: Project) -> History:
        """The history of a project."""
        return cls(project.state / "jobs" / "history.db")

    def begin(self, run: str, job: str, *, key: str = "", params: dict[str, Any], parent: str = "") -> None:
        """A run of this process begins."""
        insert = (
            "INSERT INTO runs (run, job, key, params, started, outcome, pid, process_started, parent)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run) DO NOTHING"
        )
        known = run, job, key, json.dumps(params, sort_keys=True)
        process = os.getpid(), _started(os.getpid()), parent
        self._database.write(
            lambda db: db.change(insert, (*known, _time(db).isoformat(), Outcome.RUNNING.value, *process))
        )

    def note(self, run: str, **values: str | int | None) -> None:
        """Set columns of a run that goes on, e.g. `attempts=2`."""
        known = ("attempts", "output", "run_id", "url", "error", "cost")
        names = [name for name in known if name in values]
        sets = ", ".join(f"{name} = ?" for name in names)
        if not names:
            return
        new = (*(values[name] for name in names), run)
        self._database.write(lambda db: db.change(f"UPDATE runs SET {sets} WHERE run = ?", new))  # noqa: S608  `known`

    def end(self, run: str, outcome: Outcome) -> None:
        """A run has ended."""
        update = "UPDATE runs SET outcome = ?, exit_code = ?, ended = ? WHERE run = ?"
        self._database.write(
            lambda db: db.change(update, (outcome.value, outcome.exit_code, _time(db).isoformat(), run))
        )

    def entries(self, job: str = "", *, limit: int = 20, parent: str | None = None) -> tuple[Entry, ...]:
        """The latest runs first; those whose process was killed are marked as lost on the way."""
        self.settle()
        asked = (("job", job or None), ("parent", parent))
        where = [f"{name} = ?" for name, value in asked if value is not None]
        values = [value for _, value in asked if value is not None]
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        return self._find(f"{clause} ORDER BY started DESC LIMIT ?", *values, limit)

    def find(self, run: str) -> Entry | None:
        """One run by its id."""
        self.settle()
        return next(iter(self._find("WHERE run = ?", run)), None)

    def done(self, job: str, key: str) -> Entry | None:
        """The run that has already succeeded under this idempotency key."""
        where = "WHERE job = ? AND key = ? AND outcome = ? ORDER BY started DESC LIMIT 1"
        return next(iter(self._find(where, job, key, Outcome.OK.value)), None)

    def lost(self, job: str, *, parent: str | None = None) -> tuple[Entry, ...]:
        """All runs of a job, or of one fan-out, whose process was killed."""
        self.settle()
        if parent is None:
            return self._find("WHERE job = ? AND outcome = ? ORDER BY started", job, Outcome.LOST.value)
        where = "WHERE job = ? AND outcome = ? AND parent = ? ORDER BY started"
        return self._find(where, job, Outcome.LOST.value, parent)

    def unfinished(self, job: str, key: str) -> Entry | None:
        """The latest run under this idempotency key that has ended otherwise than well, or was killed."""
        self.settle()
        where = "WHERE job = ? AND key = ? AND outcome NOT IN (?, ?) ORDER BY started DESC LIMIT 1"
        return next(iter(self._find(where, job, key, Outcome.OK.value, Outcome.RUNNING.value)), None)

    def settle(self) -> tuple[str, ...]:
        """Mark the runs whose process is gone without having written an end; returns their ids."""
        running = "SELECT run, pid, process_started FROM runs WHERE outcome = ?"
        rows = self._database.read(lambda db: db.rows(running, (Outcome.RUNNING.value,)))
        lost = tuple(str(run) for run, pid, began in rows if not _lives(pid, began))
        if lost:
            update = "UPDATE runs SET outcome = ?, exit_code = ? WHERE run = ? AND outcome = ?"
            end = Outcome.LOST.value, Outcome.LOST.exit_code
            self._database.write(
                lambda db: db.change_each(update, [(*end, run, Outcome.RUNNING.value) for run in lost])
            )
        return lost

    def _find(self, clause: str, *values: object) -> tuple[Entry, ...]:
        rows = self._database.read(lambda db: db.rows(f"{_SELECT} {clause}", values))
        return tuple(_entry(dict(zip(_COLUMNS, row, strict=True))) for row in rows)


def _time(db: Transaction) -> datetime:
    return datetime.fromtimestamp(db.now, UTC)


def _entry(row: dict[str, Any]) -> Entry:
    known = {name: value for name, value in row.items() if name not in {"params", "started", "ended", "outcome"}}
    return Entry(
        **known,
        params=json.loads(row["params"]),
        started=datetime.fromisoformat(row["started"]),
        ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
        outcome=Outcome(row["outcome"]),
    )


def _started(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).create_time())


def _lives(pid: int, began: float) -> bool:
    """Whether the process runs and is the one that was meant: ids are given again."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - began) < 1.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
