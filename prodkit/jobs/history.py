"""What ran, when, and how it ended: a small table that many processes may write at once."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.jobs.ends import Outcome
from prodkit.jobs.exclusion import holder_of
from prodkit.records import now
from prodkit.stores import Schema, owners
from prodkit.stores.leases import Lease, lost_lease
from prodkit.stores.opening import database_of, leases_of
from prodkit.stores.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from prodkit.manifest import Project
    from prodkit.stores import Database, Transaction
    from prodkit.stores.leases import Leases

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
# No place is this machine: 0.1.0 knew no other. The indexes keep a look at the last runs fast among a million.
_PLACES = """
ALTER TABLE runs ADD COLUMN place TEXT NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS runs_by_parent ON runs (parent, started);
CREATE INDEX IF NOT EXISTS runs_by_start ON runs (started);
CREATE INDEX IF NOT EXISTS runs_of_job_by_parent ON runs (job, parent, started);
CREATE INDEX IF NOT EXISTS runs_by_key_and_start ON runs (job, key, started) WHERE key != '';
CREATE INDEX IF NOT EXISTS runs_without_end ON runs (run) WHERE outcome = 'running';
CREATE INDEX IF NOT EXISTS runs_lost ON runs (job, started) WHERE outcome = 'lost'
"""
# Lost runs of 0.1.0 and later that were closed said so by their error alone, which retention takes away.
_CLOSING = """
ALTER TABLE runs ADD COLUMN closed BIGINT NOT NULL DEFAULT 0;
UPDATE runs SET closed = 1 WHERE outcome = 'lost' AND error = 'RunnerKilled';
CREATE INDEX IF NOT EXISTS runs_not_closed ON runs (job, started) WHERE outcome = 'lost' AND closed = 0;
CREATE INDEX IF NOT EXISTS runs_without_id ON runs (started) WHERE run_id = ''
"""
SCHEMA = Schema("history", versions=(_TABLES, _PLACES, _CLOSING))
_PATIENCE_AT_THE_END = 60.0  # seconds; a success that isn't on record is run again under its key
_COLUMNS = (
    *("run", "job", "key", "params", "started", "ended", "outcome", "attempts", "error", "output", "run_id", "url"),
    *("cost", "pid", "parent", "place", "closed"),
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
    place: str = ""
    closed: int = 0  # 1: it was lost, and is closed in the MLflow that has it

    @property
    def host(self) -> str:
        """The name of the machine, container or pod that it ran on; "" when it isn't known."""
        return owners.host_of(self.place)

    @property
    def is_here(self) -> bool:
        """Whether it ran where this process runs."""
        return not self.place or owners.is_here(self.place)

    @property
    def seconds(self) -> float | None:
        """Wall time; None while it runs and when nobody saw the end."""
        return (self.ended - self.started).total_seconds() if self.ended else None


class History:
    """The runs of a project's jobs.

    Args:
        place: the database, or the SQLite file, which is made with its folder on first use.
        leases: over the machines that share the database; a run of another machine lives as long as its lease.
        folder: holds the folders of the jobs' runs, from which outputs are written down; default: the file's own.
    """

    def __init__(self, place: Database | Path, leases: Leases | None = None, folder: Path | None = None) -> None:
        self._folder = place.parent if isinstance(place, Path) else folder
        self._database = SqliteDatabase(place, SCHEMA) if isinstance(place, Path) else place
        self._leases, self._held = leases, dict[str, Lease]()

    @property
    def shared(self) -> bool:
        """Whether projects in other folders write here too, whose records nobody has here."""
        return self._leases is not None

    @classmethod
    def of(cls, project: Project) -> History:
        """The history of a project: its own file, or the database that its machines share."""
        folder = project.state / "jobs"
        return cls(database_of(project, SCHEMA, folder / "history.db"), leases_of(project), folder)

    def begin(self, run: str, job: str, *, key: str = "", params: dict[str, Any], parent: str = "") -> None:
        """A run of this process begins."""
        if self._leases is not None:  # first, so that nobody finds the run without it
            lease = self._leases.take(_lease_of(run))
            if isinstance(lease, Lease):
                self._held[run] = lease
        insert = (
            "INSERT INTO runs (run, job, key, params, started, outcome, pid, process_started, parent, place)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run) DO NOTHING"
        )
        known = run, job, key, json.dumps(params, sort_keys=True)
        process = os.getpid(), _started(os.getpid()), parent, owners.place()
        self._database.write(
            lambda db: db.change(insert, (*known, _time(db).isoformat(), Outcome.RUNNING.value, *process))
        )

    def note(self, run: str, **values: str | int | None) -> None:
        """Set columns of a run that goes on, e.g. `attempts=2`."""
        known = ("attempts", "output", "run_id", "url", "error", "cost", "closed")
        if values.get("output"):
            values["output"] = self._portable(str(values["output"]))
        names = [name for name in known if name in values]
        sets = ", ".join(f"{name} = ?" for name in names)
        if not names:
            return
        new = (*(values[name] for name in names), run)
        self._database.write(lambda db: db.change(f"UPDATE runs SET {sets} WHERE run = ?", new))  # noqa: S608  `known`

    def end(self, run: str, outcome: Outcome) -> None:
        """A run has ended. One that another machine has taken for lost stays lost."""
        update = "UPDATE runs SET outcome = ?, exit_code = ?, ended = ? WHERE run = ?"
        taken = f" AND outcome != '{Outcome.LOST.value}'" if self._leases is not None else ""
        self._database.write(
            lambda db: db.change(update + taken, (outcome.value, outcome.exit_code, _time(db).isoformat(), run)),
            patience=_PATIENCE_AT_THE_END,
        )
        lease = self._held.pop(run, None)
        if lease is not None and self._leases is not None:
            self._leases.release(lease, forget=True)

    def check(self, run: str) -> None:
        """Make sure that a run of this process still counts as running, before its end is told to anybody.

        Raises:
            TransientError: `state.lease-lost`: another machine has taken it for dead.
        """
        lease = self._held.get(run)
        if lease is None or self._leases is None:
            return
        self._leases.renew([lease])
        row = self._database.read(lambda db: db.rows("SELECT outcome FROM runs WHERE run = ?", (run,)))
        if lease.lost or (row and row[0][0] == Outcome.LOST.value):
            raise lost_lease(self._leases.where)

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
        """The run that has already succeeded under this idempotency key.

        Whoever is to begin it otherwise must hold the job: a run that was paused for so long that it counts as lost by
        then can't succeed any more.
        """
        if self._leases is not None:
            self.settle()
        where = "WHERE job = ? AND key = ? AND key != '' AND outcome = ? ORDER BY started DESC LIMIT 1"
        return next(iter(self._find(where, job, key, Outcome.OK.value)), None)

    def not_closed(self, job: str, *, parent: str | None = None) -> tuple[Entry, ...]:
        """The lost runs of a job, or of one fan-out, that nobody has closed in MLflow yet."""
        self.settle()
        where = "WHERE job = ? AND outcome = 'lost' AND closed = 0"
        if parent is None:
            return self._find(f"{where} ORDER BY started", job)
        return self._find(f"{where} AND parent = ? ORDER BY started", job, parent)

    def without_id(self, limit: int) -> tuple[Entry, ...]:
        """The latest runs of which nobody has noted MLflow's id."""
        return self._find("WHERE run_id = '' ORDER BY started DESC LIMIT ?", limit)

    def unfinished(self, job: str, key: str) -> Entry | None:
        """The latest run under this idempotency key that has ended otherwise than well, or was killed."""
        self.settle()
        where = "WHERE job = ? AND key = ? AND key != '' AND outcome NOT IN (?, ?) ORDER BY started DESC LIMIT 1"
        return next(iter(self._find(where, job, key, Outcome.OK.value, Outcome.RUNNING.value)), None)

    def settle(self) -> tuple[str, ...]:
        """Mark the runs whose process is gone without having written an end; returns their ids."""
        # the value stands in the text, because an index of some rows is used by no other way
        running = "SELECT run, job, pid, process_started, parent, place FROM runs WHERE outcome = 'running'"
        rows = self._database.read(lambda db: db.rows(running))
        lost = self._lost_of([_Running(*row) for row in rows])
        if lost:
            update = "UPDATE runs SET outcome = ?, exit_code = ? WHERE run = ? AND outcome = ?"
            end = Outcome.LOST.value, Outcome.LOST.exit_code
            self._database.write(
                lambda db: db.change_each(update, [(*end, run, Outcome.RUNNING.value) for run in lost])
            )
        return lost

    def forget(self, days: float) -> int:
        """Keep of runs that began before so many days neither parameters nor error texts; returns how many there were.

        That they ran, when, and how they ended stays, with their idempotency keys.
        """
        update = (
            "UPDATE runs SET params = '{}', error = '' WHERE started < ? AND outcome != ?"
            " AND (params != '{}' OR error != '')"
        )
        before = (now() - timedelta(days=days)).isoformat()
        changed = self._database.write(lambda db: db.change(update, (before, Outcome.RUNNING.value)))
        if changed and isinstance(self._database, SqliteDatabase):
            self._database.compact()
        return changed

    def _lost_of(self, running: list[_Running]) -> tuple[str, ...]:
        """The runs that nobody goes on with: their lease is over, or their process is gone from this machine."""
        if self._leases is not None:
            live = self._leases.live([_lease_of(one.run) for one in running])
            return tuple(one.run for one in running if _lease_of(one.run) not in live)
        gone = {one.run for one in running if one.is_gone(self._database)}
        open_ = {one.run for one in running} - gone
        # an item on another machine, as Dask has them: only the fan-out that it belongs to knows of its end
        gone |= {one.run for one in running if one.is_elsewhere and one.parent and one.parent not in open_}
        return tuple(one.run for one in running if one.run in gone)

    def _find(self, clause: str, *values: object) -> tuple[Entry, ...]:
        rows = self._database.read(lambda db: db.rows(f"{_SELECT} {clause}", values))
        return tuple(self._entry(dict(zip(_COLUMNS, row, strict=True))) for row in rows)

    def _entry(self, row: dict[str, Any]) -> Entry:
        known = {name: value for name, value in row.items() if name not in {"params", "started", "ended", "outcome"}}
        return Entry(
            **known | {"output": self._located(row["output"], row["job"], row["run"])},
            params=json.loads(row["params"]),
            started=datetime.fromisoformat(row["started"]),
            ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
            outcome=Outcome(row["outcome"]),
        )

    def _portable(self, output: str) -> str:
        """A file in the folder of the jobs' runs by its place in it, since the project may move."""
        folder = self._folder
        inside = folder is not None and Path(output).is_relative_to(folder)
        return Path(output).relative_to(folder).as_posix() if folder is not None and inside else output

    def _located(self, output: str, job: str, run: str) -> str:
        """A file where the project is now; 0.1.0 wrote it down where the project was then."""
        if not output or self._folder is None:
            return output
        _, known, below = output.rpartition(f"/{job}/{run}/")
        return str(self._folder / (f"{job}/{run}/{below}" if known else output))


@dataclass(frozen=True, slots=True)
class _Running:
    """A run without an end."""

    run: str
    job: str
    pid: int
    began: float
    parent: str
    place: str

    @property
    def is_elsewhere(self) -> bool:
        return bool(self.place) and not owners.is_here(self.place)

    def is_gone(self, database: Database) -> bool:
        """Whether its process has ended; on another machine, whether nobody has its job's lock by now."""
        if not self.is_elsewhere:
            return not _lives(self.pid, self.began)
        if self.parent:
            return False
        holder = holder_of(Path(database.where).parent / self.job / "lock")
        return holder is None or (holder.place, holder.pid) != (self.place, self.pid)


def _lease_of(run: str) -> str:
    return f"run:{run}"


def _time(db: Transaction) -> datetime:
    return datetime.fromtimestamp(db.now, UTC)


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
