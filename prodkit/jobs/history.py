"""What ran, when, and how it ended: a small SQLite file that many processes may write at once."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prodkit.jobs.ends import Outcome
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, job TEXT NOT NULL, key TEXT NOT NULL, params TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
  outcome TEXT NOT NULL, exit_code INTEGER, attempts INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
  output TEXT NOT NULL DEFAULT '', run_id TEXT NOT NULL DEFAULT '', url TEXT NOT NULL DEFAULT '', cost TEXT,
  pid INTEGER NOT NULL, process_started REAL NOT NULL, parent TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS runs_by_job ON runs (job, started);
CREATE INDEX IF NOT EXISTS runs_by_key ON runs (job, key) WHERE key != '';
"""
_BUSY_SECONDS = 30.0


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
        path: the SQLite file; made with its folder on first use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, run: str, job: str, *, key: str = "", params: dict[str, Any], parent: str = "") -> None:
        """A run of this process begins."""
        with self._open() as db:
            db.execute(
                "INSERT INTO runs (run, job, key, params, started, outcome, pid, process_started, parent)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(run, job, key, json.dumps(params, sort_keys=True), now().isoformat(), Outcome.RUNNING.value),
                    *(os.getpid(), _started(os.getpid()), parent),
                ),
            )

    def note(self, run: str, **values: str | int | None) -> None:
        """Set columns of a run that goes on, e.g. `attempts=2`."""
        known = ("attempts", "output", "run_id", "url", "error", "cost")
        columns = [name for name in known if name in values]
        with self._open() as db:
            for name in columns:
                db.execute(f"UPDATE runs SET {name} = ? WHERE run = ?", (values[name], run))  # noqa: S608  from `known`

    def end(self, run: str, outcome: Outcome) -> None:
        """A run has ended."""
        with self._open() as db:
            db.execute(
                "UPDATE runs SET outcome = ?, exit_code = ?, ended = ? WHERE run = ?",
                (outcome.value, outcome.exit_code, now().isoformat(), run),
            )

    def entries(self, job: str = "", *, limit: int = 20, parent: str | None = None) -> tuple[Entry, ...]:
        """The latest runs first; those whose process was killed are marked as lost on the way."""
        self.settle()
        where: list[str] = ["1"]
        values: list[object] = []
        if job:
            where, values = [*where, "job = ?"], [*values, job]
        if parent is not None:
            where, values = [*where, "parent = ?"], [*values, parent]
        query = f"SELECT * FROM runs WHERE {' AND '.join(where)} ORDER BY started DESC LIMIT ?"  # noqa: S608  fixed words
        with self._open() as db:
            return tuple(_entry(row) for row in db.execute(query, (*values, limit)))

    def find(self, run: str) -> Entry | None:
        """One run by its id."""
        self.settle()
        with self._open() as db:
            row = db.execute("SELECT * FROM runs WHERE run = ?", (run,)).fetchone()
        return _entry(row) if row else None

    def done(self, job: str, key: str) -> Entry | None:
        """The run that has already succeeded under this idempotency key."""
        with self._open() as db:
            row = db.execute(
                "SELECT * FROM runs WHERE job = ? AND key = ? AND outcome = ? ORDER BY started DESC LIMIT 1",
                (job, key, Outcome.OK.value),
            ).fetchone()
        return _entry(row) if row else None

    def lost(self, job: str, *, parent: str | None = None) -> tuple[Entry, ...]:
        """All runs of a job, or of one fan-out, whose process was killed."""
        self.settle()
        with self._open() as db:
            rows = db.execute(
                "SELECT * FROM runs WHERE job = ? AND outcome = ? AND parent = COALESCE(?, parent) ORDER BY started",
                (job, Outcome.LOST.value, parent),
            )
            return tuple(_entry(row) for row in rows)

    def unfinished(self, job: str, key: str) -> Entry | None:
        """The latest run under this idempotency key that has ended otherwise than well, or was killed."""
        self.settle()
        with self._open() as db:
            row = db.execute(
                "SELECT * FROM runs WHERE job = ? AND key = ? AND outcome NOT IN (?, ?) ORDER BY started DESC LIMIT 1",
                (job, key, Outcome.OK.value, Outcome.RUNNING.value),
            ).fetchone()
        return _entry(row) if row else None

    def settle(self) -> tuple[str, ...]:
        """Mark the runs whose process is gone without having written an end; returns their ids."""
        with self._open() as db:
            running = db.execute(
                "SELECT run, pid, process_started FROM runs WHERE outcome = ?", (Outcome.RUNNING.value,)
            ).fetchall()
            lost = tuple(str(run) for run, pid, began in running if not _lives(pid, began))
            for run in lost:
                db.execute(
                    "UPDATE runs SET outcome = ?, exit_code = ? WHERE run = ? AND outcome = ?",
                    (Outcome.LOST.value, Outcome.LOST.exit_code, run, Outcome.RUNNING.value),
                )
        return lost

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use: nothing is shared between threads or survives a fork."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level="IMMEDIATE")) as db:
            db.executescript(_SCHEMA)
            db.row_factory = sqlite3.Row
            with db:
                yield db


def _entry(row: sqlite3.Row) -> Entry:
    ended = row["ended"]
    return Entry(
        run=row["run"],
        job=row["job"],
        key=row["key"],
        params=json.loads(row["params"]),
        started=datetime.fromisoformat(row["started"]),
        ended=datetime.fromisoformat(ended) if ended else None,
        outcome=Outcome(row["outcome"]),
        attempts=row["attempts"],
        error=row["error"],
        output=row["output"],
        run_id=row["run_id"],
        url=row["url"],
        cost=row["cost"],
        pid=row["pid"],
        parent=row["parent"],
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
