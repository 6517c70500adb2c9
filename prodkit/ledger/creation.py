"""Creating what MLflow can't create twice safely: runs and prompt versions. Each exactly once, whoever is first."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prodkit.ledger.locks import locked
from prodkit.ledger.mlflow_adapter import KEY_TAG, Mlflow, OutgoingRun
from prodkit.ledger.mlflow_errors import UnreachableError
from prodkit.ledger.shipments import Shipments, ShippedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_PARENT_TAG = "mlflow.parentRunId"
_WAIT = 30.0


class Creation:
    """Creates runs and prompt versions in one destination, and remembers their ids.

    The intent is noted before MLflow is asked: who finds an intent without an id (its process was killed in between)
    looks for the run by our key first.

    Args:
        mlflow: the destination.
        shipments: where ids are kept.
        destination: the destination's name in `shipments`.
        lock: held while something is created.
        continued: how a run of this key began that another address has, when its records go to this destination now.
        doubtful_until: runs that were begun before (ISO 8601) may be there without being noted here: a copy of the
            project, or the project before it was restored from a backup, may have created them.
    """

    def __init__(
        self,
        mlflow: Mlflow,
        shipments: Shipments,
        destination: str,
        lock: Path,
        continued: Callable[[str, str], dict[str, Any] | None] = lambda *_: None,
        *,
        doubtful_until: str = "",
    ) -> None:
        self._mlflow = mlflow
        self._shipments = shipments
        self._destination = destination
        self._lock = lock
        self._continued = continued
        self._doubtful_until = doubtful_until

    def continue_run(self, key: str) -> ShippedRun | None:
        """The run of this key, made anew where it was begun at an address that its records went away from."""
        spec = self._continued(key, self._destination)
        return self.ensure_run(spec) if spec is not None else None

    def ensure_run(self, spec: Mapping[str, Any]) -> ShippedRun:
        """The run of this spec (a `RunSpec` as the journal holds it)."""
        known = self._shipments.run(self._destination, spec["key"])
        if known is not None and known.run_id:
            return known
        experiment_id = self._mlflow.experiment_id  # creates the experiment, under a lock of its own
        if spec.get("parent_key") and self._shipments.run(self._destination, spec["parent_key"]) is None:
            self.continue_run(spec["parent_key"])
        with self._locked():
            known = self._shipments.run(self._destination, spec["key"])
            if known is not None and known.run_id:
                return known
            doubtful = known is not None or spec["started"] < self._doubtful_until
            run_id = self._mlflow.find_run(spec["key"]) if doubtful else ""
            if known is None:
                intent = ShippedRun(spec["key"], "", experiment_id, spec.get("parent_key", ""))
                self._shipments.set_run(self._destination, intent)
            run_id = run_id or self._create(spec)
            if spec["params"]:
                self._mlflow.update_run(OutgoingRun(run_id, params=spec["params"]))
            made = ShippedRun(spec["key"], run_id, experiment_id, spec.get("parent_key", ""))
            self._shipments.set_run(self._destination, made)
        self._adopt(made)
        return made

    def _create(self, spec: Mapping[str, Any]) -> str:
        started = int(datetime.fromisoformat(spec["started"]).timestamp() * 1000)
        tags = {**spec["tags"], KEY_TAG: spec["key"], "prodkit.kind": spec["kind"]}
        if parent := self._parent(spec):
            tags[_PARENT_TAG] = parent
        return self._mlflow.create_run(spec["name"], tags, started_ms=started)

    def _parent(self, spec: Mapping[str, Any]) -> str:
        if spec.get("parent_key"):
            parent = self._shipments.run(self._destination, spec["parent_key"])
            if parent is not None and parent.run_id:
                return parent.run_id
        return str(spec.get("parent_run_id", ""))

    def _adopt(self, parent: ShippedRun) -> None:
        """Children that were created first (by another process) get their parent now."""
        for child in self._shipments.children(self._destination, parent.key):
            if child.run_id:
                self._mlflow.update_run(OutgoingRun(child.run_id, tags={_PARENT_TAG: parent.run_id}))

    def ensure_prompt(self, prompt: Mapping[str, Any]) -> int:
        """The registry's version of this prompt (a prompt event of the journal)."""
        name, digest = prompt["name"], prompt["digest"]
        known = self._shipments.prompt(self._destination, name, digest)
        if known is not None:
            return known
        _ = self._mlflow.experiment_id  # prepares the database
        with self._locked():
            version = self._mlflow.register_prompt(
                name, prompt["template"], prompt["parameters"], prompt["tags"], digest
            )
            self._shipments.set_prompt(self._destination, name, digest, version)
        return version

    def _locked(self) -> Any:
        return _patient(self._lock)


def _patient(lock: Path) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def hold() -> Iterator[None]:
        held = locked(lock, timeout=_WAIT)
        try:
            held.__enter__()
        except TimeoutError as error:
            raise UnreachableError(str(error)) from None
        try:
            yield
        finally:
            held.__exit__(None, None, None)

    return hold()
