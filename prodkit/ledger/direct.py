"""Asking MLflow directly, so that a run's id is known at once: with patience of a few seconds and no more."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from prodkit.ledger.destinations import connect, current_destination, describe
from prodkit.ledger.mlflow_errors import Failure, find_failure
from prodkit.ledger.patience import bounded
from prodkit.ledger.reach import find_obstacle, is_server, within
from prodkit.ledger.retargets import Retargets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodkit.ledger.creation import Creation
    from prodkit.ledger.places import Places
    from prodkit.ledger.shipments import Shipments, ShippedRun
    from prodkit.manifest import Project

_PROBE = 1.5
_PATIENCE = 2.5
_FIRST_TIME = 30.0  # importing MLflow and creating a fresh SQLite take seconds, once
_LEAVE_ALONE = 10.0


class Direct:
    """Creates runs and prompts while the user waits, unless MLflow keeps him waiting.

    Args:
        project: whose MLflow it is.
        places: the ledger's files.
        shipments: where ids are kept.
    """

    def __init__(self, project: Project, places: Places, shipments: Shipments) -> None:
        self._project = project
        self._places = places
        self._shipments = shipments
        self._creations: dict[str, Creation] = {}
        self._until = 0.0
        self._obstacle: Failure | None = None
        self._where = ""

    def create_run(self, spec: Mapping[str, Any]) -> ShippedRun | None:
        """The run, or None when MLflow doesn't answer in time; shipping makes it then."""
        run: ShippedRun | None = self._ask(lambda creation: creation.ensure_run(spec))
        return run

    def create_prompt(self, prompt: Mapping[str, Any]) -> int | None:
        """The prompt's version, or None when MLflow doesn't answer in time."""
        known = self._shipments.prompt(self._destination(), prompt["name"], prompt["digest"])
        if known is not None:
            return known
        version: int | None = self._ask(lambda creation: creation.ensure_prompt(prompt))
        return version

    def _ask(self, act: Callable[[Creation], Any]) -> Any:
        if time.monotonic() < self._until:
            return None
        uri = connect(self._project, self._places, self._destination()).uri
        if (failure := find_obstacle(uri, _PROBE)) is not None:
            return self._leave_alone(failure)
        patience = _PATIENCE if self._warm(uri) else _FIRST_TIME
        try:
            done, result = within(patience, lambda: self._bounded(act))
        except Exception as error:
            known = find_failure(error) or find_failure(error.__cause__ or error)
            if known is not None and known.kind == "refused":  # nothing of a record was sent yet: it is the experiment
                fix = "correct MLFLOW_EXPERIMENT_ID, or restore the experiment"
                known = Failure("refused", str(error), fix, transient=False)
            return self._leave_alone(known or Failure("unreachable", str(error) or type(error).__name__))
        if not done:
            return self._leave_alone(Failure("slow", f"not done within {patience:g} s"))
        self._obstacle = None
        return result

    @property
    def problem(self) -> str:
        """Why the last run or prompt wasn't made at once: a sentence with its code and fix; empty when it was."""
        return self._obstacle.while_records_wait(self._where) if self._obstacle is not None else ""

    def _bounded(self, act: Callable[[Creation], Any]) -> Any:
        with bounded():  # it goes on in its thread after our patience has ended, and holds the lock of creation
            return act(self._creation())

    def _warm(self, uri: str) -> bool:
        if "mlflow.tracking" not in sys.modules:
            return False
        return is_server(uri) or bool(self._creations)

    def _leave_alone(self, failure: Failure) -> None:
        self._obstacle = failure
        self._where = describe(self._destination(), self._project.root)
        self._until = time.monotonic() + _LEAVE_ALONE

    def _destination(self) -> str:
        """Where records go that are made now, after all decisions to send them elsewhere."""
        return Retargets(self._shipments.db).resolve(current_destination(self._project))

    def _creation(self) -> Creation:
        from prodkit.ledger.creation import Creation

        destination = self._destination()
        if destination not in self._creations:
            mlflow = connect(self._project, self._places, destination)
            _ = mlflow.experiment_id
            self._creations[destination] = Creation(mlflow, self._shipments, destination, self._places.runs_lock)
        return self._creations[destination]
