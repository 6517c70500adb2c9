"""Shipping: the journal's records become what MLflow shows. Nothing is lost, nothing appears twice.

Every write to MLflow is one that changes nothing when repeated, or is guarded by `Creation`; the cursor moves only
behind what MLflow has taken. So shipping may be killed anywhere and gone on with by any other process.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.ledger import events
from prodkit.ledger.cargo import Cargo
from prodkit.ledger.creation import Creation
from prodkit.ledger.locks import try_lock
from prodkit.ledger.mlflow_errors import RejectedError, UnreachableError
from prodkit.ledger.reach import probe
from prodkit.ledger.reading import Step, count_pending, read_chunk
from prodkit.ledger.segments import by_stream
from prodkit.ledger.shipments import Cursor, Rejection, Shipments

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.ledger.keys import Keyring
    from prodkit.ledger.mlflow_adapter import Mlflow
    from prodkit.ledger.mlflow_prices import Opinion
    from prodkit.ledger.places import Places

BUSY = "another process is shipping"
_DESTINATION_KINDS = {events.OPEN, events.DESTINATION}


@dataclass(frozen=True, slots=True)
class Shipped:
    """What a round of shipping did: records moved, records waiting, and why they wait."""

    records: int = 0
    pending: int = 0
    reason: str = ""


class Shipping:
    """Ships what the journal holds.

    Args:
        places: the ledger's files.
        keyring: opens sealed content.
        destinations: makes the MLflow of a destination's name.
    """

    def __init__(self, places: Places, keyring: Keyring, destinations: Callable[[str], Mlflow]) -> None:
        self._places = places
        self._keyring = keyring
        self._make = destinations
        self._mlflows: dict[str, Mlflow] = {}
        self.shipments = Shipments(places.ship_db)

    def run(self, *, again: bool = False) -> Shipped:
        """Ship until nothing is left or MLflow stops taking it. Does nothing while another process ships.

        Args:
            again: also try what MLflow has refused before.
        """
        self._places.make()
        lock = try_lock(self._places.ship_lock)
        if lock is None:
            return Shipped(0, self.pending(), BUSY)
        try:
            if again:
                self._retry()
            return self.run_locked()
        finally:
            os.close(lock)

    def run_locked(self) -> Shipped:
        """As `run`, for who holds the lock already."""
        moved, reason = 0, ""
        try:
            # records may name a run that another process has opened; only when nobody can go on are they sent without
            while (here := self._round(strict=True)) or (here := self._round(strict=False)):
                moved += here
        except UnreachableError as error:
            reason = str(error) or "MLflow doesn't answer"
        except RejectedError as error:
            reason = str(error)
        self.shipments.note("problem", reason)
        return Shipped(moved, self.pending(), reason)

    def pending(self) -> int:
        """How many records wait."""
        return count_pending(self._places.journal, self.shipments.cursors())

    def mlflow(self, destination: str) -> Mlflow:
        """The MLflow of a destination; made once.

        Raises:
            UnreachableError: nothing answers there.
        """
        if destination not in self._mlflows:
            self._mlflows[destination] = self._make(destination)
        mlflow = self._mlflows[destination]
        if reason := probe(mlflow.uri):
            raise UnreachableError(reason)
        return mlflow

    def _round(self, *, strict: bool) -> int:
        moved = 0
        cursors = self.shipments.cursors()
        for stream, segments in by_stream(self._places.journal).items():
            cursor = cursors.get(stream, Cursor(stream))
            while steps := read_chunk(segments, cursor):
                after, opinions = self._ship(steps, cursor, strict=strict)
                if after == cursor:
                    break
                self.shipments.move(after, opinions)
                moved += after.seq - cursor.seq
                cursor = after
        return moved

    def _retry(self) -> None:
        refused = {(item.stream, item.seq) for item in self.shipments.rejections()}
        for stream, segments in by_stream(self._places.journal).items():
            cursor, destination = Cursor(stream), ""
            while refused and (steps := read_chunk(segments, cursor)):
                for step in steps:
                    cursor = step.cursor
                    if step.entry is None:
                        continue
                    if step.entry.kind in _DESTINATION_KINDS:
                        destination = str(step.entry.public.get("destination", cursor.destination))
                    if (stream, step.entry.seq) in refused:
                        self.shipments.forget_rejection(stream, step.entry.seq)
                        _, opinions = self._send([step], destination, strict=False)
                        self.shipments.keep(destination, opinions)

    def _ship(self, steps: list[Step], cursor: Cursor, *, strict: bool) -> tuple[Cursor, dict[str, Opinion]]:
        """Ship the steps up to the first that goes elsewhere or has to wait; the cursor behind them, and new sums."""
        destination = cursor.destination
        batch: list[Step] = []
        for step in steps:
            entry = step.entry
            if entry is not None and entry.kind in _DESTINATION_KINDS:
                if batch:
                    break
                destination = str(entry.public.get("destination", destination))
                cursor = dataclasses.replace(step.cursor, destination=destination)
                continue
            batch.append(step)
        if not batch:
            return cursor, {}
        taken, opinions = self._send(batch, destination, strict=strict)
        if not taken:
            return cursor, {}
        return dataclasses.replace(batch[taken - 1].cursor, destination=destination), opinions

    def _send(self, batch: list[Step], destination: str, *, strict: bool) -> tuple[int, dict[str, Opinion]]:
        mlflow = self.mlflow(destination)
        creation = Creation(mlflow, self.shipments, destination, self._places.runs_lock)
        cargo = Cargo(mlflow, creation, self.shipments, destination, self._keyring, self._places)
        taken = cargo.send(batch, strict=strict)
        for rejection in cargo.rejections:
            self.shipments.reject(rejection)
        self._tidy(batch[:taken])
        return taken, cargo.opinions

    def _tidy(self, steps: list[Step]) -> None:
        for step in steps:
            if step.entry is not None and step.entry.kind == events.ARTIFACT:
                shutil.rmtree(self._places.spool / step.entry.public["spool"], ignore_errors=True)


__all__ = ["Rejection", "Shipped", "Shipping"]
