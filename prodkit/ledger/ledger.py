"""The ledger: the only way that records leave the process. Redact, write to the journal, ship to MLflow."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import shutil
import sqlite3
import threading
import time
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prodkit.errors import ConfigError
from prodkit.ledger import events
from prodkit.ledger.cleaning import Cleaning
from prodkit.ledger.destinations import FORMAT, connect, current_destination, tracking_uri
from prodkit.ledger.direct import Direct
from prodkit.ledger.helper import Helper
from prodkit.ledger.journal import Event, Journal
from prodkit.ledger.keys import Keyring
from prodkit.ledger.later import Later
from prodkit.ledger.places import Places, unwritable
from prodkit.ledger.prompts import check_name, prompt_digest
from prodkit.ledger.relocation import settle
from prodkit.ledger.shipments import Shipments, ShippedRun
from prodkit.records import (
    DatasetRecord,
    FeedbackRecord,
    PromptVersion,
    RunHandle,
    RunSpec,
    Status,
    TraceRecord,
    new_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.ledger.cleaning import Cleaner
    from prodkit.ledger.mlflow_prices import Opinion
    from prodkit.manifest import Project

SHIPPER_VARIABLE = "PRODKIT_SHIPPER"
_POLL = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class FlushReport:
    """How a flush ended: records shipped since it began, records that wait, and why they wait."""

    shipped: int
    pending: int
    reason: str = ""


class Ledger:
    """One per process and project; `open` gives it.

    Args:
        project: whose records these are.
        redactor: cleans everything first; the manifest's policy when None.
        shipper: `helper` ships in a process beside this one, `inline` only when `flush` is called.
    """

    _opened: ClassVar[dict[Path, Ledger]] = {}
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self, project: Project, *, redactor: Cleaner | None = None, shipper: Literal["helper", "inline"] | None = None
    ) -> None:
        self.project = project
        self._redactor = redactor
        self._inline = (shipper or os.environ.get(SHIPPER_VARIABLE) or "helper") == "inline"
        self.places = Places(project.state, project.root)
        self.keyring = Keyring(self.places.keys)
        self.journal = Journal(self.places, self.keyring, opening=self._destination_event)
        self._shipments = Shipments(self.places)
        self._helper = Helper(project.root, self.places)
        self._direct = Direct(project, self.places, self._shipments)
        self._later = Later()
        self._said = ""
        self._clean: dict[str, None] = {}

    @classmethod
    def open(
        cls,
        project: Project,
        *,
        redactor: Cleaner | None = None,
        shipper: Literal["helper", "inline"] | None = None,
    ) -> Ledger:
        """The ledger of this project in this process. Cheap; writes nothing and doesn't import MLflow."""
        with cls._opening:
            ledger = cls._opened.get(project.state)
            if ledger is None or ledger.project != project or redactor is not None or shipper is not None:
                if ledger is not None:
                    ledger.close()
                ledger = cls._opened[project.state] = cls(project, redactor=redactor, shipper=shipper)
            return ledger

    def start_run(self, spec: RunSpec) -> RunHandle:
        """Journal a run and, where MLflow answers quickly, create it there.

        Returns:
            A handle; `run_id` and `url` are empty when MLflow didn't answer in time. The run is then made by shipping.

        Raises:
            ConfigError: the journal can't be written.
        """
        cleaning = self._cleaning()
        spec = dataclasses.replace(
            spec, name=cleaning.text(spec.name), params=cleaning.texts(spec.params), tags=cleaning.texts(spec.tags)
        )
        event = events.run_event(spec)
        self._append(event)
        with contextlib.suppress(OSError, sqlite3.Error):  # shipping tries again, and says why it can't
            settle(self.places.state)  # before anything of MLflow's asks its database where files lie
        run = self._direct.create_run(event.public)
        if run is None:
            return RunHandle(spec.key, spec.name)
        return RunHandle(
            spec.key, spec.name, run.run_id, run.experiment_id, self.run_url(run.run_id, run.experiment_id)
        )

    def end_run(
        self,
        handle: RunHandle,
        *,
        status: Status,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Close a run with its last figures; the record is on the disk when this returns."""
        update = self._update(handle, metrics or {}, {"prodkit.status": str(status), **(tags or {})}, params or {})
        self._append(Event(events.RUN_END, {**update, "status": str(status)}))
        self.journal.sync()
        self._checkpoint(handle)

    def _checkpoint(self, handle: RunHandle) -> None:
        """Sign what the journal holds now; the run carries the copy to MLflow, out of this machine's reach."""
        from prodkit.ledger.checkpoints import ARTIFACT, keep_checkpoint, take_checkpoint

        taken = take_checkpoint(self.places.journal, self.keyring)
        keep_checkpoint(self.places.checkpoints, taken)
        self._artifact(handle, ARTIFACT, taken.to_json().encode("utf-8"))

    def later(self, handle: RunHandle, work: Callable[[], None]) -> None:
        """Record in the background what takes long to find out about a run that has ended; `flush` and `close` wait."""

        def record() -> None:
            work()
            self.journal.sync()
            self._checkpoint(handle)

        self._later.do(record)

    def log_metrics(self, handle: RunHandle, metrics: Mapping[str, float]) -> None:
        """Record figures of a run; `None` values are left out, because unknown isn't zero."""
        self._append(Event(events.RUN_UPDATE, self._update(handle, metrics, {}, {})))

    def set_tags(self, handle: RunHandle, tags: Mapping[str, str]) -> None:
        """Record tags of a run."""
        self._append(Event(events.RUN_UPDATE, self._update(handle, {}, tags, {})))

    def log_params(self, handle: RunHandle, params: Mapping[str, str]) -> None:
        """Record parameters of a run; MLflow keeps the first value of each."""
        self._append(Event(events.RUN_UPDATE, self._update(handle, {}, {}, params)))

    def log_trace(self, trace: TraceRecord) -> dict[str, int]:
        """Clean a finished trace and write it with its calls to the journal; it ships in the background.

        The spans of a trace with one call go into the call's record; a trace without spans is that of one call, whose
        record tells of its span.

        Returns:
            How many findings of each class were taken out of it; a text that stands in it several times counts once.

        Raises:
            ConfigError: the journal can't be written.
        """
        cleaning = self._cleaning(once=True)
        cleaned = cleaning.trace(trace)
        self._append(*events.trace_events(cleaned, self.keyring.pseudonym, cleaning.counts))
        return dict(cleaning.counts)

    def log_feedback(self, feedback: FeedbackRecord, *, user: str = "") -> None:
        """Record what a person says of an answer; MLflow shows it at the trace once it is shipped.

        Args:
            feedback: the judgement; its words are cleaned first.
            user: whose answer it is about: erasing that user takes the words away too.

        Raises:
            ConfigError: the journal can't be written.
        """
        cleaning = self._cleaning()
        value = feedback.value if not isinstance(feedback.value, str) else cleaning.text(feedback.value)
        cleaned = dataclasses.replace(
            feedback,
            name=cleaning.text(feedback.name),
            person=cleaning.text(feedback.person),
            comment=cleaning.text(feedback.comment),
            value=value,
        )
        self._append(events.feedback_event(cleaned, (user,) if user else ()))
        self.journal.sync()

    def log_dataset(self, handle: RunHandle, dataset: DatasetRecord) -> None:
        """Record a dataset that a run read or wrote."""
        cleaning = self._cleaning()
        cleaned = dataclasses.replace(
            dataset,
            name=cleaning.text(dataset.name),
            source=cleaning.text(dataset.source),
            columns=tuple((cleaning.text(name), kind) for name, kind in dataset.columns),
            attributes=cleaning.texts(dataset.attributes),
        )
        self._append(events.dataset_event(handle.key, cleaned))

    def log_text(self, handle: RunHandle, text: str, path: str) -> None:
        """Record a text as an artifact of a run.

        Args:
            handle: the run.
            text: the artifact's content; cleaned first.
            path: where it lies among the run's artifacts, e.g. `data/report.html`.
        """
        self._artifact(handle, path, self._cleaning().document(text).encode("utf-8"))

    def clean(self, text: str) -> str:
        """A text as it would be written: without secrets and what the manifest's policy takes out."""
        return self._cleaning().document(text)

    def log_file(self, handle: RunHandle, file: Path, path: str = "") -> None:
        """Record a file as an artifact of a run; text and JSON are cleaned, other files are taken as they are.

        Raises:
            ConfigError: the file can't be read.
        """
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            raise ConfigError(
                "ledger.artifact", f"The file can't be read: {error.strerror}.", where=str(file)
            ) from None
        with contextlib.suppress(UnicodeDecodeError):  # no text
            data = self._cleaning().document(data.decode("utf-8")).encode("utf-8")
        self._artifact(handle, path or Path(file).name, data)

    def register_prompt(
        self,
        name: str,
        template: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        run: RunHandle | None = None,
    ) -> PromptVersion:
        """A version of a prompt, new only when its text or its parameters are.

        Args:
            name: letters, digits, `.`, `_` and `-`.
            template: the text, with `{placeholders}`.
            parameters: the model's parameters that belong to it.
            tags: labels of the version.
            run: a run to link it to.

        Returns:
            The version; its number is None until MLflow has answered.

        Raises:
            ConfigError: the name isn't one, or the journal can't be written.
        """
        check_name(name)
        cleaning = self._cleaning()
        template, parameters = cleaning.text(template), cleaning.mapping(parameters or {})
        digest = prompt_digest(template, parameters)
        public = {
            "name": name,
            "template": template,
            "parameters": parameters,
            "digest": digest,
            "tags": cleaning.texts(tags or {}),
            "run_key": run.key if run else "",
        }
        said = f"{name}@{digest}@{public['run_key']}"
        if said != self._said:  # a template in a loop is one record, not a thousand
            self._append(Event(events.PROMPT, public))
            self._said = said
        return PromptVersion(name, self._direct.create_prompt(public), digest, template)

    def note_experiment(self, markdown: str) -> None:
        """The note that MLflow shows above the experiment's tabs."""
        self._append(Event(events.NOTE, {"markdown": self._cleaning().text(markdown)}))

    def flush(self, timeout: float = 30.0) -> FlushReport:
        """Wait until everything that any process has recorded so far is in MLflow.

        Args:
            timeout: seconds to wait at most. Returns earlier when MLflow can't be reached.
        """
        self._later.wait(timeout)
        self.journal.sync()
        before = self._pending()
        if before == 0:
            return FlushReport(0, 0)
        reason = self._ship_within(timeout) if self._inline else self._wait(timeout)
        pending = self._pending()
        return FlushReport(max(0, before - pending), pending, reason if pending else "")

    @property
    def pending(self) -> int:
        """How many records of all processes wait to be shipped."""
        return self._pending()

    @property
    def problem(self) -> str:
        """Why records wait instead of being shipped: one sentence with its code and fix, empty when all is well."""
        if said := self._direct.problem:
            return said
        reason, at = self._shipments.noted("problem") if self.places.ship_db.exists() else ("", 0.0)
        reason = reason if time.time() - at < 300.0 else ""  # noqa: PLR2004  five minutes: later it says nothing about now
        reason = reason or self._helper.problem
        if not reason:
            return ""
        return (
            f"[ledger.mlflow-unreachable] MLflow can't be reached ({reason}); the records are safe in the journal. "
            "Fix: start it or correct MLFLOW_TRACKING_URI, then run `prodkit audit sync`."
        )

    def url(self, handle: RunHandle) -> str:
        """A link to a run, or the command that opens it; empty while MLflow doesn't know it."""
        if handle.url:
            return handle.url
        destination, known = current_destination(self.project), self.places.ship_db.exists()
        run = self._shipments.find_run(destination, handle.key) if known else None
        return self.run_url(run.run_id, run.experiment_id) if run and run.run_id else ""

    def run_id(self, key: str) -> str:
        """MLflow's id of a run of this project; empty while MLflow doesn't know it."""
        run = self._shipments.run(current_destination(self.project), key) if self.places.ship_db.exists() else None
        return run.run_id if run else ""

    def adopt(self, key: str, run_id: str, experiment_id: str) -> None:
        """Know a run that another machine has created in MLflow, so that its end can be told from here."""
        destination = current_destination(self.project)
        self.places.make()
        if self._shipments.run(destination, key) is None:
            self._shipments.set_run(destination, ShippedRun(key, run_id, experiment_id))

    def run_url(self, run_id: str, experiment_id: str) -> str:
        """As `url`, by MLflow's ids."""
        from prodkit.ledger.reach import public_uri

        uri = tracking_uri(self.project)
        if uri.startswith(("http://", "https://")):
            return f"{public_uri(uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
        return f"prodkit ui --run {run_id}"

    def second_opinion(self, run_ids: Sequence[str]) -> Opinion:
        """What MLflow's own price catalog says of these runs' calls, as far as they are shipped, beside our figure."""
        from prodkit.ledger.mlflow_prices import Opinion

        return self._shipments.opinions(run_ids) if run_ids and self.places.ship_db.exists() else Opinion()

    def close(self) -> None:
        """Finish what was left for later, sync the journal and give its stream back."""
        self._later.wait()
        self.journal.close()

    @cached_property
    def _rule(self) -> Cleaner:
        if self._redactor is not None:
            return self._redactor
        from prodkit.redaction import Redactor

        rule: Cleaner = Redactor(self.project.manifest.redaction.policy, self.keyring.derive("redaction"))
        return rule

    def _cleaning(self, *, once: bool = False) -> Cleaning:
        rule = self._rule
        make = getattr(rule, "once", None) if once else None
        return Cleaning(make() if make is not None else rule, self.keyring.pseudonym, self._clean)

    def _destination_event(self) -> dict[str, Any]:
        self._destination = current_destination(self.project)
        return {"destination": self._destination, "format": FORMAT}

    def _append(self, *written: Event) -> None:
        moved = current_destination(self.project)
        if getattr(self, "_destination", moved) != moved:  # the user has pointed MLflow elsewhere
            written = (Event(events.DESTINATION, self._destination_event()), *written)
        self.journal.append_all(written)
        if not self._inline:
            self._helper.wake()

    def _update(
        self, handle: RunHandle, metrics: Mapping[str, Any], tags: Mapping[str, str], params: Mapping[str, str]
    ) -> dict[str, Any]:
        cleaning = self._cleaning()
        return {
            "run_key": handle.key,
            "metrics": {cleaning.text(name): float(value) for name, value in metrics.items() if value is not None},
            "tags": cleaning.texts(tags),
            "params": cleaning.texts(params),
        }

    def _artifact(self, handle: RunHandle, path: str, data: bytes) -> None:
        path = _artifact_path(self._cleaning().text(path))
        spool = new_id("art")
        file = self.places.spool / spool / path.rpartition("/")[2]
        try:
            self.places.make()
            file.parent.mkdir(mode=0o700)
            file.write_bytes(data)
        except OSError as error:
            shutil.rmtree(file.parent, ignore_errors=True)
            raise unwritable(file.parent, error) from None
        self._append(Event(events.ARTIFACT, {"run_key": handle.key, "path": path, "spool": spool, "bytes": len(data)}))

    def _pending(self) -> int:
        from prodkit.ledger.reading import count_pending

        return count_pending(self.places.journal, self._shipments) if self.places.journal.exists() else 0

    def _ship_here(self) -> str:
        from prodkit.ledger.shipping import Shipping

        return Shipping(self.places, self.keyring, partial(connect, self.project, self.places)).run().reason

    def _ship_within(self, timeout: float) -> str:
        from prodkit.ledger.reach import within

        try:
            done, reason = within(timeout, self._ship_here)
        except RuntimeError:  # the interpreter is ending and starts no thread
            return self._ship_here()
        return str(reason) if done else f"not done within {timeout:g} s"

    def _wait(self, timeout: float) -> str:
        from prodkit.ledger.reading import count_unread

        begun, deadline = time.time(), time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._helper.wake()
            if self._pending() == 0:
                return ""
            reason, at = self._shipments.noted("problem")
            if reason and at > begun and count_unread(self.places.journal, self._shipments.heads()) == 0:
                return reason  # what waits, waits for an address that fails
            if self._helper.problem:
                return self._ship_here()
            time.sleep(_POLL)
        return f"not done within {timeout:g} s"


def _artifact_path(path: str) -> str:
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    return "/".join(parts) or "artifact"


def _after_fork() -> None:
    Ledger._opening = threading.Lock()  # noqa: SLF001
    for ledger in Ledger._opened.values():  # noqa: SLF001
        ledger._later.abandon()  # noqa: SLF001
        ledger.journal.abandon()


@atexit.register
def _close_all() -> None:
    for ledger in Ledger._opened.values():  # noqa: SLF001
        ledger.close()


os.register_at_fork(after_in_child=_after_fork)
