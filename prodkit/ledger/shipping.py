"""Shipping: the journal's records become what MLflow shows. Nothing is lost, nothing appears twice.

Every write to MLflow is one that changes nothing when repeated, or is guarded by `Creation`; the cursor moves only
behind what MLflow has taken, or behind what was parked for a destination that takes nothing now. So shipping may be
killed anywhere and gone on with by any other process, and an address that fails holds up its own records only.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.ledger import events
from prodkit.ledger.cargo import Cargo
from prodkit.ledger.creation import Creation
from prodkit.ledger.destinations import describe, destination_in, is_inside, split
from prodkit.ledger.locks import is_locked, try_lock
from prodkit.ledger.mlflow_errors import RejectedError, UncertainError, UnreachableError
from prodkit.ledger.reach import probe
from prodkit.ledger.reading import Step, count_pending, find_run_start, read_chunk
from prodkit.ledger.relocation import moved_at, settle
from prodkit.ledger.retargets import Retargets
from prodkit.ledger.segments import Segment, by_stream
from prodkit.ledger.shipments import Cursor, Rejection, Shipments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from prodkit.ledger.chain import Entry
    from prodkit.ledger.keys import Keyring
    from prodkit.ledger.mlflow_adapter import Mlflow
    from prodkit.ledger.mlflow_prices import Opinion
    from prodkit.ledger.places import Places

BUSY = "another process is shipping"
_CONTROL = {events.OPEN, events.DESTINATION, events.RETARGET}
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 20.0


@dataclass(frozen=True, slots=True)
class Problem:
    """An address that takes no records, why, and how many wait for it."""

    address: str
    reason: str
    waiting: int = 0

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Shipped:
    """What a round of shipping did.

    Attributes:
        records: how many moved.
        pending: how many wait.
        reason: why they wait: each address that fails with its reason; empty when none does.
        problems: the same, one by one.
        suggestion: an address that works, where another one keeps failing; empty when there is none.
    """

    records: int = 0
    pending: int = 0
    reason: str = ""
    problems: tuple[Problem, ...] = ()
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines of a stream that follow each other and go to one destination (before any retargeting)."""

    destination: str
    begin: Cursor
    steps: list[Step]

    @property
    def end(self) -> Cursor:
        return self.steps[-1].cursor

    def run_keys(self) -> list[str]:
        return [step.entry.public["key"] for step in self.steps if step.entry and step.entry.kind == events.RUN_START]


class Shipping:
    """Ships what the journal holds.

    Args:
        places: the ledger's files.
        keyring: opens sealed content.
        destinations: makes the MLflow of a destination's name.
    """

    def __init__(self, places: Places, keyring: Keyring, destinations: Callable[[str], Mlflow]) -> None:
        self._places = places
        self._root = places.project_root
        self._keyring = keyring
        self._make = destinations
        self._mlflows: dict[str, Mlflow] = {}
        self._waits: dict[str, tuple[float, float]] = {}  # destination -> (when it is tried again, seconds waited)
        self._failed: dict[str, str] = {}  # in this turn
        self._worked: dict[str, None] = {}
        self._homes: dict[str, str] = {}
        self.shipments = Shipments(places)
        self.retargets = Retargets(self.shipments.db)

    def run(self, *, again: bool = False) -> Shipped:
        """Ship until nothing is left or nobody takes it. Does nothing while another process ships.

        Args:
            again: also try what MLflow has refused before.
        """
        self._places.make()
        lock = try_lock(self._places.ship_lock)
        if lock is None:
            return Shipped(0, self.pending(), BUSY)
        try:
            self._waits.clear()
            self._failed.clear()
            if again:
                self._retry()
            return self.run_locked()
        finally:
            os.close(lock)

    def run_locked(self) -> Shipped:
        """As `run`, for who holds the lock already; a destination that has failed is asked again after a while."""
        moved = 0
        now = time.monotonic()
        self._failed = {name: why for name, why in self._failed.items() if self._waits.get(name, (0, 0))[0] > now}
        self._worked.clear()
        # records may name a run that another process has opened; only when nobody can go on are they sent without
        while (here := self._round(strict=True)) is not None or (here := self._round(strict=False)) is not None:
            moved += here
        problems = self._problems()
        reason = "; ".join(map(str, problems))
        self.shipments.note("problem", reason)
        return Shipped(moved, self.pending(), reason, problems, self._suggestion())

    @property
    def due(self) -> bool:
        """Whether it is time to ask a destination again that has failed."""
        return any(at <= time.monotonic() for at, _ in self._waits.values())

    @property
    def failing(self) -> bool:
        """Whether a destination has failed that records wait for."""
        return bool(self._waits)

    def pending(self) -> int:
        """How many records wait."""
        return count_pending(self._places.journal, self.shipments)

    def mlflow(self, destination: str) -> Mlflow:
        """The MLflow of a destination; made once.

        Raises:
            UnreachableError: nothing answers there, or it has no such experiment.
        """
        try:
            settle(self._places.state)
        except (OSError, sqlite3.Error) as error:
            if is_inside(destination):
                raise UnreachableError(f"its addresses of files can't be brought up to date: {error}") from error
        if destination not in self._mlflows:
            self._mlflows[destination] = self._make(destination)
        mlflow = self._mlflows[destination]
        if reason := probe(mlflow.uri):
            raise UnreachableError(reason)
        _ = mlflow.experiment_id  # an address that can't be used must not look like records that are refused
        return mlflow

    def _problems(self) -> tuple[Problem, ...]:
        waiting: dict[str, int] = {}
        for span in self.shipments.parked():
            name = self.retargets.resolve(span.destination)
            waiting[name] = waiting.get(name, 0) + span.records
        self._waits = {name: wait for name, wait in self._waits.items() if name in waiting}
        for failure in self.retargets.failures():
            if failure.destination not in waiting:  # nobody waits for it any more
                self.retargets.succeed(failure.destination)
        return tuple(
            Problem(describe(name, self._root), reason, waiting.get(name, 0)) for name, reason in self._failed.items()
        )

    def _suggestion(self) -> str:
        if self._worked:
            self.shipments.note("worked", next(reversed(self._worked)))
        worked = self.shipments.noted("worked")[0] if self._failed else ""
        return describe(worked, self._root) if worked and worked not in self._failed else ""

    def _round(self, *, strict: bool) -> int | None:
        """One pass over all streams: how many records were shipped; None when nothing could go on."""
        moved, went_on = 0, False
        for stream, segments in by_stream(self._places.journal).items():
            heads = self.shipments.heads()
            delivered = self._deliver_parked(stream, segments, strict=strict)
            shipped = self._go_on(segments, heads.get(stream, Cursor(stream)), strict=strict)
            moved += delivered + max(shipped, 0)
            went_on |= delivered > 0 or shipped >= 0
        return moved if went_on else None

    def _deliver_parked(self, stream: str, segments: list[Segment], *, strict: bool) -> int:
        moved = 0
        stuck: set[str] = set()
        for span in self.shipments.parked(stream):
            begin, destination = span.begin, self.retargets.resolve(span.destination)
            while destination not in stuck and not span.ends_at(begin):
                steps = [step for step in read_chunk(segments, begin) if not span.passed_by(step.cursor)]
                taken, opinions = self._try(steps, destination, strict=strict)
                if not taken:
                    stuck.add(destination)
                    break
                upto = steps[taken - 1].cursor
                self.shipments.deliver(span, upto, destination, opinions)
                self._tidy(steps[:taken])
                moved += upto.seq - begin.seq
                begin = upto
        return moved

    def _go_on(self, segments: list[Segment], cursor: Cursor, *, strict: bool) -> int:
        """Ship or park what a stream holds behind its cursor: how much was shipped; -1 when nothing could go on."""
        moved = -1
        while steps := read_chunk(segments, cursor):
            for batch in self._batches(steps, cursor):
                moved = max(moved, 0)
                if batch.destination:
                    taken, waits = self._ship_or_park(batch, strict=strict)
                    moved += taken
                    if waits:
                        return moved if moved or cursor != batch.begin else -1
                cursor = batch.end
            if not batch.destination:
                self.shipments.move(cursor)
        return moved

    def _ship_or_park(self, batch: _Batch, *, strict: bool) -> tuple[int, bool]:
        """How many records were shipped, and whether the stream has to wait there for a run to be opened."""
        destination = self.retargets.resolve(batch.destination)
        behind = any(
            self.retargets.resolve(span.destination) == destination
            for span in self.shipments.parked(batch.begin.stream)
        )
        taken, opinions = (0, {}) if behind else self._try(batch.steps, destination, strict=strict)
        if taken:
            upto = batch.steps[taken - 1].cursor
            self.shipments.move(upto, destination, opinions)
            self._tidy(batch.steps[:taken])
            return upto.seq - batch.begin.seq, taken < len(batch.steps)
        if not behind and destination not in self._failed:
            return 0, True
        self.shipments.park(batch.begin, batch.end, batch.destination, batch.run_keys())
        self._homes.clear()
        return 0, False

    def _batches(self, steps: list[Step], cursor: Cursor) -> Iterator[_Batch]:
        """The steps by where they go. A batch without a destination holds what only says where others go."""
        held: list[Step] = []
        goes, begin, named = "", cursor, cursor.destination
        for step in steps:
            to = ""
            if step.entry is None or step.entry.kind not in _CONTROL:
                to = self._home(step.entry, named) or named
            elif step.entry.kind == events.RETARGET:
                self.retargets.add(step.entry.stream, step.entry.seq, step.entry.public)
            else:
                named = destination_in(step.entry.public, self._root, named)
            if held and to != goes:
                yield _Batch(goes, begin, held)
                begin, held = held[-1].cursor, []
            goes = to
            held.append(dataclasses.replace(step, cursor=dataclasses.replace(step.cursor, destination=named)))
        yield _Batch(goes, begin, held)

    def _home(self, entry: Entry | None, named: str) -> str:
        """Where the run of a record is or waits: what belongs to a run follows it, wherever MLflow was pointed to."""
        key = entry.public.get("run_key", "") if entry is not None else ""
        if not key:
            return ""
        if key not in self._homes:
            home = self.shipments.home(key)
            if not home:
                return ""
            self._homes[key] = home
        home = self._homes[key]
        at_the_same_place = split(home)[0] == split(named)[0]
        return named if at_the_same_place and self.shipments.run(named, key) else home

    def _retry(self) -> None:
        refused = {(item.stream, item.seq): item for item in self.shipments.rejections()}
        for stream, segments in by_stream(self._places.journal).items():
            cursor = Cursor(stream)
            while refused and (steps := read_chunk(segments, cursor)):
                for batch in self._batches(steps, cursor):
                    for step in batch.steps:
                        item = refused.get((stream, step.entry.seq)) if step.entry is not None else None
                        if item is not None:
                            self._retry_one(item, step, self.retargets.resolve(batch.destination))
                    cursor = batch.end

    def _retry_one(self, item: Rejection, step: Step, destination: str) -> None:
        self.shipments.forget_rejection(item.stream, item.seq)
        taken, opinions = self._try([step], destination, strict=False)
        if taken:
            self.shipments.keep(destination, opinions)
        else:
            self.shipments.reject(item)

    def _try(self, steps: list[Step], destination: str, *, strict: bool) -> tuple[int, dict[str, Opinion]]:
        """Send to a destination that hasn't failed in this turn: how many steps it took, and new sums."""
        if destination in self._failed or not steps:
            return 0, {}
        try:
            outcome = self._send(steps, destination, strict=strict)
        except (UnreachableError, UncertainError, RejectedError) as error:
            self._fail(destination, str(error) or "MLflow doesn't answer")
            return 0, {}
        self._worked[destination] = None
        if self._waits.pop(destination, None) is not None:
            self.retargets.succeed(destination)
        return outcome

    def _fail(self, destination: str, reason: str) -> None:
        _, waited = self._waits.get(destination, (0.0, 0.0))
        wait = min(_LONGEST_WAIT, waited * 2 or _FIRST_WAIT)
        self._waits[destination] = time.monotonic() + wait, wait
        self._failed[destination] = reason
        self.retargets.fail(destination, reason)

    def _send(self, batch: Sequence[Step], destination: str, *, strict: bool) -> tuple[int, dict[str, Opinion]]:
        mlflow = self.mlflow(destination)
        creation = Creation(
            mlflow,
            self.shipments,
            destination,
            self._places.runs_lock,
            self._continued,
            doubtful_until=moved_at(self._places.state),
        )
        cargo = Cargo(mlflow, creation, self.shipments, destination, self._keyring, self._places)
        taken = cargo.send(batch, strict=strict)
        for rejection in cargo.rejections:
            self.shipments.reject(rejection)
        return taken, cargo.opinions

    def _continued(self, key: str, destination: str) -> dict[str, Any] | None:
        """How a run began that is at an address whose records go to this destination now; None when it isn't."""
        home = self.shipments.home(key)
        if not home or split(self.retargets.resolve(home))[0] != split(destination)[0]:
            return None
        earlier = self.shipments.run(home, key)
        spec = find_run_start(self._places.journal, key) if earlier is not None and earlier.run_id else None
        if spec is None or earlier is None:
            return None
        before = f"{earlier.run_id} at {describe(home, self._root)}"
        return {**spec, "tags": {**spec["tags"], "prodkit.continues": before}}

    def _tidy(self, steps: Sequence[Step]) -> None:
        """Remove files that are in MLflow and noted as shipped; not during a backup, which may have an older note."""
        if is_locked(self._places.backup_lock):
            return  # the retention period removes what stays
        for step in steps:
            if step.entry is not None and step.entry.kind == events.ARTIFACT:
                shutil.rmtree(self._places.spool / step.entry.public["spool"], ignore_errors=True)


__all__ = ["Problem", "Rejection", "Shipped", "Shipping"]
