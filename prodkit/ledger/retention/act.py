"""The act: plan, note, remove. It may be killed anywhere; the next one goes on.

The order makes that safe. What is to leave MLflow is put on a list first; then the signed note is written to the
journal and synced; then segments go, oldest first; then the list is worked off, as far as each MLflow can be reached.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prodkit.ledger import events
from prodkit.ledger.destinations import FORMAT, connect, describe
from prodkit.ledger.journal import Event, Journal
from prodkit.ledger.ledger import Ledger
from prodkit.ledger.locks import try_lock
from prodkit.ledger.mlflow_errors import RejectedError, UncertainError, UnreachableError
from prodkit.ledger.reach import probe
from prodkit.ledger.retention.notes import sign_note
from prodkit.ledger.retention.outbox import Outbox
from prodkit.ledger.retention.plan import Plan, make_plan, traces_until
from prodkit.ledger.segments import by_stream, last_entry
from prodkit.ledger.shipments import Shipments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.ledger.mlflow_adapter import Mlflow
    from prodkit.ledger.shipments import Cursor
    from prodkit.manifest import Project

LOCK, OUTBOX = "retention.lock", "retention.db"
_BATCH = 100
_LONGEST_PERIOD = (
    3660  # days back in which a shorter period of a data source may have ended without having been noticed
)


@dataclass(frozen=True, slots=True)
class Removed:
    """What left the journal and MLflow, or would leave it.

    Attributes:
        records, requests, segments, bytes: of the journal.
        traces, runs: of MLflow, that it listed before and lists no more.
        decided: runs that stay in MLflow without their artifacts, because a person has decided on them.
        freed: bytes of the project's own MLflow database.
        days_ended: days on which the shorter period of a data source had ended: that content can't be read any more.
        waiting: segments that are old enough, of which not all is in MLflow yet.
        left: what couldn't be removed and why, one sentence each.
        busy: another process does it just now; nothing was done here.
    """

    records: int = 0
    requests: int = 0
    segments: int = 0
    bytes: int = 0
    traces: int = 0
    runs: int = 0
    decided: int = 0
    freed: int = 0
    days_ended: tuple[str, ...] = ()
    waiting: int = 0
    left: tuple[str, ...] = ()
    busy: bool = False


def preview(project: Project, *, days: float | None = None) -> Removed:
    """What `clean` would remove from the journal and from MLflow now."""
    ledger = Ledger.open(project)
    if not ledger.places.journal.is_dir():
        return Removed()
    return _of(make_plan(ledger.places.journal, _Cleaner(ledger).cursors(), _before(project, days)[0]))


def clean(project: Project, *, days: float | None = None, most: int | None = None) -> Removed:
    """Remove what is older than `compliance.retention_days` from the journal and from MLflow.

    Only whole segments of the journal go, and only when all of their records are old enough and were shipped; runs that
    still go on keep theirs. Where a data source has a shorter period, the key of that day's content is destroyed.

    Args:
        project: whose.
        days: a period in place of the manifest's.
        most: traces and runs to remove from MLflow at most; the others follow with the next call.
    """
    ledger = Ledger.open(project)
    if not ledger.places.journal.is_dir():
        return Removed()
    lock = try_lock(ledger.places.state / LOCK)
    if lock is None:
        return Removed(busy=True)
    try:
        return _Cleaner(ledger).run(*_before(project, days), most)
    finally:
        os.close(lock)


def _before(project: Project, days: float | None) -> tuple[datetime, float]:
    period = float(project.manifest.compliance.retention_days if days is None else days)
    return datetime.now(UTC) - timedelta(days=period), period


def _of(plan: Plan) -> Removed:
    return Removed(
        records=plan.records,
        requests=plan.requests,
        segments=len(plan.segments),
        bytes=plan.bytes,
        traces=len(plan.traces),
        runs=len(plan.runs),
        waiting=plan.waiting,
    )


class _Cleaner:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._places = ledger.places
        self._shipments = Shipments(self._places)
        self._outbox = Outbox(self._places.state / OUTBOX)
        self._left: list[str] = []
        self._gone: Counter[str] = Counter()  # counted as it goes: an MLflow that fails in the middle has lost these

    def cursors(self) -> dict[str, Cursor]:
        """How far each stream was shipped; none when nothing ever was."""
        return self._shipments.cursors() if self._places.ship_db.exists() else {}

    def run(self, before: datetime, days: float, most: int | None) -> Removed:
        unshipped = self._ledger.pending
        self._renew(before)
        plan = make_plan(self._places.journal, self.cursors(), before)
        ended = self._days_ended()
        if ended and unshipped:
            self._left.append(f"content of data sources whose period is over: {unshipped} records aren't in MLflow yet")
            ended = []
        self._list(plan, traces_until(self._places.journal, ended) if ended else [])
        if plan.segments:
            self._note(plan, days)
            self._unlink(plan)
        for day in ended:
            self._ledger.keyring.erase(events.until(day))
        self._work_off(most)
        gone = self._gone
        done = replace(_of(plan), traces=gone["traces"], runs=gone["runs"], decided=gone["decided"])
        return replace(done, freed=gone["freed"], days_ended=tuple(ended), left=tuple(self._left))

    def _renew(self, before: datetime) -> None:
        """Begin a new segment where the last one of a stream is old enough, so that it needn't stay as the head."""
        cursors = self.cursors()
        for stream, segments in by_stream(self._places.journal).items():
            last = last_entry(segments)
            cursor = cursors.get(stream)
            if last is None or cursor is None or cursor.seq < last.seq or datetime.fromisoformat(last.time) >= before:
                continue
            same = {"destination": cursor.destination, "format": FORMAT}  # where its records went before
            Journal(self._places, self._ledger.keyring, opening=same.copy).renew(stream)

    def _days_ended(self) -> list[str]:
        """The days on which the shorter period of some data source has ended, and whose content can still be read."""
        known = {subject for subject, erased in self._ledger.keyring.subjects() if not erased}
        today = datetime.now(UTC).date()
        days = ((today - timedelta(days=back)).isoformat() for back in range(1, _LONGEST_PERIOD))
        return [day for day in days if self._ledger.keyring.pseudonym(events.until(day)) in known] if known else []

    def _list(self, plan: Plan, expired: Sequence[str]) -> None:
        if not self._places.ship_db.exists():
            return
        for destination in self._shipments.destinations():
            runs = (self._shipments.run(destination, key) for key in plan.runs)
            self._outbox.add(destination, "trace", [*plan.traces, *expired])
            self._outbox.add(destination, "run", [run.run_id for run in runs if run is not None and run.run_id])

    def _note(self, plan: Plan, days: float) -> None:
        note = sign_note(self._ledger.keyring, days, plan.ends())
        public = {**note.as_public(), "records": plan.records, "requests": plan.requests}
        self._ledger.journal.append_all([Event(events.RETENTION, public)]).durable()

    def _unlink(self, plan: Plan) -> None:
        for segment, (seq, _) in plan.segments:
            segment.path.unlink(missing_ok=True)
            self._shipments.forget_rejections(segment.stream, seq)

    def _work_off(self, most: int | None) -> None:
        for destination in self._outbox.destinations():
            mlflow = connect(self._ledger.project, self._places, destination)
            where = describe(destination, self._ledger.project.root)
            if reason := probe(mlflow.uri):
                self._left.append(f"MLflow at {where} can't be reached ({reason}); it follows with the next cleaning")
                continue
            try:
                self._traces(mlflow, destination, most)
                self._runs(mlflow, destination, most)
                self._forget(mlflow, destination)
            except (RejectedError, UncertainError, UnreachableError, sqlite3.Error) as error:
                self._left.append(f"MLflow at {where}: {error}; it follows with the next cleaning")

    def _forget(self, mlflow: Mlflow, destination: str) -> None:
        """Take the bytes of what was removed out of the file, too, even when an earlier cleaning was killed before."""
        if self._outbox.take(destination, "bytes", 1):
            self._gone["freed"] += mlflow.forget()
            self._outbox.done(destination, "bytes", ["all"])

    def _traces(self, mlflow: Mlflow, destination: str, most: int | None) -> None:
        asked = 0
        while (most is None or asked < most) and (ids := self._outbox.take(destination, "trace", _BATCH)):
            self._outbox.add(destination, "bytes", ["all"])
            self._gone["traces"] += mlflow.delete_traces(ids)
            self._outbox.done(destination, "trace", ids)
            asked += len(ids)

    def _runs(self, mlflow: Mlflow, destination: str, most: int | None) -> None:
        asked = 0
        while (most is None or asked < most) and (ids := self._outbox.take(destination, "run", _BATCH)):
            self._outbox.add(destination, "bytes", ["all"])
            for run_id in ids:
                done = mlflow.remove_run(run_id)
                self._gone["runs"] += done.removed
                self._gone["decided"] += done.decided
                self._left += [one for one in done.left if one not in self._left]
            self._shipments.forget_runs(destination, ids)
            self._outbox.done(destination, "run", ids)
            asked += len(ids)
