"""The one place that knows MLflow: its clients, its error codes, and the internals that make shipping fast.

Written against MLflow 3.17. What isn't public API is used here only, and `tests/ledger/test_mlflow_contract.py` says
which of it broke. Addresses are always given explicitly, so that the user's own `mlflow.set_tracking_uri` is never
touched.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prodkit.ledger import mlflow_view
from prodkit.ledger.client import files_below, is_whole, open_client, search_runs, search_versions
from prodkit.ledger.locks import locked
from prodkit.ledger.mlflow_bulk import insert_traces
from prodkit.ledger.mlflow_errors import RejectedError, UncertainError, UnreachableError, not_mlflow, told
from prodkit.ledger.mlflow_file import compact_file, drop_orphans, make_file
from prodkit.ledger.mlflow_removal import RunRemoval, remove_run
from prodkit.ledger.reach import public_uri
from prodkit.ledger.relocation import settle_uri
from prodkit.records import FeedbackRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prodkit.records import DatasetRecord

KEY_TAG = "prodkit.key"
DIGEST_TAG = "prodkit.digest"
FEEDBACK_TAG = "prodkit.feedback"
CHECKPOINT = "prodkit/checkpoint.json"
_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
_LINKS_PER_CALL = 100
_PARAM, _TAG, _TRACE_TAG, _NAME = 6000, 8000, 4096, 250
_BAD_KEY = re.compile(r"[^\w\-./ :]")
_SQLITE = "sqlite:///"
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_TRACE_TAG_PREFIX = "mlflow.traceTag."


@dataclass(frozen=True, slots=True)
class OutgoingTrace:
    """A trace on its way: spans as dictionaries, and what they are linked to."""

    trace_id: str
    spans: tuple[dict[str, Any], ...]
    run_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    prompts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class OutgoingRun:
    """What is written of a run with one call; metrics as (name, value, Unix milliseconds)."""

    run_id: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[tuple[str, float, int], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class Mlflow:
    """One MLflow store and one experiment in it.

    Args:
        uri: where MLflow is: `sqlite:///...`, `postgresql://...`, `http://...`.
        experiment: the experiment's name, or `#` and its id.
        artifact_root: where artifacts lie when we create the experiment in the project's own SQLite.
        lock: held while a database or an experiment is created, which MLflow doesn't do safely in parallel.
    """

    def __init__(self, uri: str, experiment: str, *, artifact_root: Path, lock: Path) -> None:
        self.uri = uri
        self._experiment = experiment
        self._artifact_root = artifact_root
        self._lock = lock
        self._id = ""

    @property
    def experiment_id(self) -> str:
        """The experiment's id; creates database and experiment when they aren't there.

        Raises:
            UnreachableError: also when the experiment was deleted or its id is unknown: that is no record's fault.
        """
        if not self._id:
            try:
                self._id = self._prepare()
            except (RejectedError, UncertainError) as error:
                raise UnreachableError(f"the experiment `{self._experiment}` can't be used: {error}") from error
        return self._id

    def _prepare(self) -> str:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # "creating tables", "waiting for prompt version": such lines would land in the user's cell
        for talkative in ("mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        with told():
            if not self.uri.startswith("sqlite"):
                return self._find_or_create()
            settle_uri(self.uri)  # takes the lock below, so it must be done before that is held
            # a fresh SQLite crashes when several processes migrate it at once
            with locked(self._lock, timeout=60.0):
                if self.uri.startswith(_SQLITE):
                    make_file(Path(self.uri.removeprefix(_SQLITE)))
                return self._find_or_create()

    def _find_or_create(self) -> str:
        client = self._client()
        if self._experiment.startswith("#"):
            return str(client.get_experiment(self._experiment[1:]).experiment_id)
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(client.create_experiment(self._experiment, artifact_location=self._artifacts()))
            except MlflowException as error:
                if error.error_code != _EXISTS:
                    raise
            found = client.get_experiment_by_name(self._experiment)  # another process was first
        if found is None or found.lifecycle_stage != "active":
            raise RejectedError("it was deleted; restore it or rename the service")
        return str(found.experiment_id)

    def _artifacts(self) -> str | None:
        if not self.uri.startswith("sqlite"):
            return None  # the server decides
        self._artifact_root.mkdir(parents=True, exist_ok=True)
        return self._artifact_root.as_uri()

    def _client(self) -> Any:
        return open_client(self.uri)

    def _tracing(self) -> Any:
        from mlflow.tracing.client import TracingClient

        return TracingClient(self.uri)

    def url(self, run_id: str) -> str:
        """A link to the run; where no server runs, the command that opens it."""
        if urlsplit(self.uri).scheme in {"http", "https"}:
            return f"{public_uri(self.uri).rstrip('/')}/#/experiments/{self._id}/runs/{run_id}"
        return f"prodkit ui --run {run_id}"

    def create_run(self, name: str, tags: Mapping[str, str], *, started_ms: int) -> str:
        """Create a run; returns its id."""
        with told():
            run = self._client().create_run(
                self.experiment_id, start_time=started_ms, tags=run_tags(tags), run_name=name[:_NAME] or None
            )
            return str(run.info.run_id)

    def find_run(self, key: str) -> str:
        """The id of the run that carries our key, empty when there is none."""
        with told():
            escaped = key.replace("'", "")
            found = search_runs(self._client(), [self.experiment_id], f"tags.`{KEY_TAG}` = '{escaped}'", most=1)
            return str(found[0].info.run_id) if found else ""

    def update_run(self, run: OutgoingRun) -> None:
        """Write parameters, metrics and tags with as few calls as MLflow's limits allow. Repeating changes nothing."""
        from mlflow.entities import Metric, Param, RunTag

        params = [Param(_key(key), value[:_PARAM]) for key, value in run.params.items()]
        metrics = [Metric(_key(key), value, at, 0) for key, value, at in run.metrics]
        tags = [RunTag(key, value) for key, value in run_tags(run.tags).items()]
        client = self._client()
        with told():
            for begin in range(0, max(len(metrics), len(tags)), 100):
                client.log_batch(run.run_id, metrics[begin : begin + 100], (), tags[begin : begin + 100])
            for begin in range(0, len(params), 100):  # last, because MLflow refuses a parameter that changes its value
                client.log_batch(run.run_id, (), params[begin : begin + 100])

    def end_run(self, run_id: str, status: str, ended_ms: int) -> None:
        """Close a run: `FINISHED`, `FAILED` or `KILLED`."""
        with told():
            self._client().set_terminated(run_id, status, ended_ms)

    def log_traces(self, traces: Sequence[OutgoingTrace]) -> None:
        """Write many traces at once and link them. Repeating changes nothing."""
        from mlflow.entities import Span

        traces = [_within_limits(trace) for trace in traces]
        with told():
            store = self._tracing().store
            written = insert_traces(store, self.experiment_id, traces)
            rest = [trace for trace in traces if trace.trace_id not in written]
            if rest:
                spans = [Span.from_dict(span) for trace in rest for span in _with_labels(trace)]
                store.log_spans(self.experiment_id, spans)
                self._link(rest)

    def _link(self, traces: Sequence[OutgoingTrace]) -> None:
        from mlflow.entities.model_registry import PromptVersion

        client = self._client()
        by_run: dict[str, list[str]] = {}
        for trace in traces:
            if trace.run_id:
                by_run.setdefault(trace.run_id, []).append(trace.trace_id)
            if trace.prompts:
                versions = [PromptVersion(name, version, template="") for name, version in trace.prompts]
                self._tracing().store.link_prompts_to_trace(trace.trace_id, versions)
        for run_id, ids in by_run.items():
            for begin in range(0, len(ids), _LINKS_PER_CALL):
                client.link_traces_to_run(ids[begin : begin + _LINKS_PER_CALL], run_id)

    def delete_traces(self, trace_ids: Sequence[str]) -> int:
        """Remove traces of the experiment; how many of them it had."""
        with told():
            parts = (trace_ids[begin : begin + _LINKS_PER_CALL] for begin in range(0, len(trace_ids), _LINKS_PER_CALL))
            return sum(self._client().delete_traces(self.experiment_id, trace_ids=list(part)) for part in parts)

    def log_dataset(self, run_id: str, dataset: DatasetRecord) -> None:
        """Link a dataset to a run by its name, source and digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        facts = {"columns": [list(column) for column in dataset.columns], **dataset.attributes}
        entity = Dataset(
            name=dataset.name[:500],
            digest=dataset.digest[:36],
            source_type=dataset.kind or "prodkit",
            source=json.dumps({"uri": dataset.source}),
            schema=_schema(dataset),
            profile=json.dumps({"num_rows": dataset.rows, "fingerprint": dataset.fingerprint, **facts}),
        )
        tags = [InputTag("mlflow.data.context", dataset.context)]
        if dataset.contract:
            tags.append(InputTag("prodkit.contract", dataset.contract[:500]))
        with told():
            self._client().log_inputs(run_id, [DatasetInput(entity, tags)])

    def log_artifact(self, run_id: str, file: Path, folder: str) -> None:
        """Upload a file into a folder of the run's artifacts.

        Raises:
            UnreachableError: also when something on the way took it in the server's place.
        """
        client = self._client()
        with told():
            client.log_artifact(run_id, str(file), folder or None)
            if not is_whole(client, run_id, f"{folder}/{file.name}".lstrip("/"), file.stat().st_size):
                raise UnreachableError(f"an upload didn't arrive: {not_mlflow().reason}")

    def list_artifacts(self, run_id: str) -> list[str]:
        """The paths of all files among a run's artifacts."""
        with told():
            return sorted(file.path for file in files_below(self._client(), run_id))

    def read_artifact(self, run_id: str, path: str) -> bytes:
        """The content of one artifact."""
        import tempfile

        client = self._client()
        with told(), _no_bars(), tempfile.TemporaryDirectory() as folder:
            data = Path(client.download_artifacts(run_id, path, folder)).read_bytes()
            if not is_whole(client, run_id, path, len(data)):
                raise UnreachableError(f"a download isn't the file: {not_mlflow().reason}")
            return data

    def remove_run(self, run_id: str) -> RunRemoval:
        """Remove a run with its artifacts, as far as MLflow can."""
        with told():
            return remove_run(self._client(), self.uri, run_id)

    def forget(self) -> int:
        """Leave nothing of deleted rows in the file of the project's own SQLite; a server's database is its own.

        Returns:
            The bytes that became free.
        """
        if not self.uri.startswith(_SQLITE):
            return 0
        with told():
            path = Path(self.uri.removeprefix(_SQLITE))
            drop_orphans(path)
            return compact_file(path)

    def register_prompt(
        self, name: str, template: str, parameters: Mapping[str, Any], tags: Mapping[str, str], digest: str
    ) -> int:
        """The version of this prompt; a new one only when no version has this digest."""
        client = self._client()
        with told():
            known = self._prompt_version(name, digest)
            if known is not None:
                return known
            made = client.register_prompt(
                name,
                template,
                commit_message="Recorded by prodkit",
                tags={**{key: value[:_TAG] for key, value in tags.items()}, DIGEST_TAG: digest},
                model_config=dict(parameters) or None,
            )
            return int(made.version)

    def _prompt_version(self, name: str, digest: str) -> int | None:
        versions = search_versions(self._client(), name)
        found = [int(version.version) for version in versions if version.tags.get(DIGEST_TAG) == digest]
        return min(found, default=None)

    def link_prompt(self, run_id: str, name: str, version: int) -> None:
        """Show a prompt's version at a run."""
        client = self._client()
        with told():
            linked = json.loads(client.get_run(run_id).data.tags.get("mlflow.linkedPrompts", "[]"))
            entry = {"name": name, "version": str(version)}
            if entry not in linked:
                client.set_tag(run_id, "mlflow.linkedPrompts", json.dumps([*linked, entry]))

    def note_experiment(self, markdown: str) -> None:
        """The note above the experiment's tabs, and the view of its runs that the note leads to."""
        client = self._client()
        with told():
            client.set_experiment_tag(self.experiment_id, "mlflow.note.content", markdown[:_TAG])
            if mlflow_view.TAG not in client.get_experiment(self.experiment_id).tags:  # people may change it
                client.set_experiment_tag(self.experiment_id, mlflow_view.TAG, mlflow_view.saved_view())

    def checkpoints(self, most: int = 20) -> list[tuple[str, str]]:
        """The signed checkpoints that the latest runs carry, as (where, text)."""
        import tempfile

        client = self._client()
        found = []
        with told(), _no_bars(), tempfile.TemporaryDirectory() as folder:
            for run in search_runs(client, [self.experiment_id], newest=True, most=most):
                if any(file.path == CHECKPOINT for file in files_below(client, run.info.run_id, "prodkit")):
                    file = client.download_artifacts(run.info.run_id, CHECKPOINT, folder)
                    found.append((f"of run {run.info.run_id}", Path(file).read_text(encoding="utf-8")))
        return found

    def reviews(self, trace_id: str) -> list[FeedbackRecord]:
        """What people have said of a trace, here or in MLflow's own UI; the latter has no id of ours."""
        with told():
            assessments = self._tracing().get_trace_info(trace_id).assessments
        return [
            FeedbackRecord(
                id=(item.metadata or {}).get(FEEDBACK_TAG, ""),
                request_id=(item.metadata or {}).get("prodkit.request", ""),
                trace_id=trace_id,
                person=str(item.source.source_id),
                value=item.value,
                name=item.name,
                comment=item.rationale or "",
                given=datetime.fromtimestamp(item.create_time_ms / 1000, UTC),
            )
            for item in assessments
            if item.source.source_type == "HUMAN"
        ]

    def log_feedback(self, feedback: FeedbackRecord) -> None:
        """Show a person's judgement at a trace. Repeating changes nothing: each carries its own id."""
        from mlflow.entities import AssessmentSource, Feedback

        with told():
            known = self._tracing().get_trace_info(feedback.trace_id).assessments
            if any((item.metadata or {}).get(FEEDBACK_TAG) == feedback.id for item in known):
                return
            at = int(feedback.given.timestamp() * 1000)
            assessment = Feedback(
                name=feedback.name,
                value=feedback.value,
                source=AssessmentSource("HUMAN", feedback.person),
                trace_id=feedback.trace_id,
                rationale=feedback.comment or None,
                metadata={FEEDBACK_TAG: feedback.id, "prodkit.request": feedback.request_id},
                create_time_ms=at,
                last_update_time_ms=at,
            )
            self._tracing().log_assessment(feedback.trace_id, assessment)

    def can_write(self) -> bool:
        """Whether MLflow takes any write at all: tells a bad record from a bad server."""
        try:
            with told():
                self._client().set_experiment_tag(self.experiment_id, "prodkit.ledger", "shipping")
        except (UnreachableError, UncertainError, RejectedError):
            return False
        return True


@contextmanager
def _no_bars() -> Iterator[None]:
    """MLflow draws a progress bar for each file that it downloads, into the terminal and into cells."""
    before = os.environ.get(_BARS)
    os.environ[_BARS] = "false"
    try:
        yield
    finally:
        os.environ.pop(_BARS)
        if before is not None:
            os.environ[_BARS] = before


def run_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags within MLflow's limits."""
    return {_key(key): value if len(value) <= _TAG else value[: _TAG - 1] + "…" for key, value in tags.items()}


def _key(key: str) -> str:
    return _BAD_KEY.sub("_", key)[:_NAME] or "_"


def _schema(dataset: DatasetRecord) -> str | None:
    """MLflow's own form of a schema, which its UI shows; a type that it doesn't know is shown as a string."""
    if not dataset.columns:
        return None
    known = {"int": "long", "float": "double", "bool": "boolean", "datetime": "datetime", "date": "datetime"}
    columns = [
        {
            "type": next((to for begin, to in known.items() if kind.lower().startswith(begin)), "string"),
            "name": name,
            "required": False,
        }
        for name, kind in dataset.columns
    ]
    return json.dumps({"mlflow_colspec": columns})


def _within_limits(trace: OutgoingTrace) -> OutgoingTrace:
    return dataclasses.replace(
        trace,
        tags={_key(key): value[:_TRACE_TAG] for key, value in trace.tags.items()},
        metadata={_key(key): value[:_NAME] for key, value in trace.metadata.items()},
    )


def _with_labels(trace: OutgoingTrace) -> Iterator[dict[str, Any]]:
    """The spans; the root carries the trace's tags, user and session in the form that `log_spans` understands."""
    for span in trace.spans:
        if span["parent_span_id"]:
            yield span
            continue
        # this way MLflow takes no metadata of ours; what it doesn't own becomes a tag
        own = {key: value for key, value in trace.metadata.items() if not key.startswith("mlflow.")}
        labels = {f"{_TRACE_TAG_PREFIX}{key}": json.dumps(value) for key, value in {**own, **trace.tags}.items()}
        labels.setdefault(f"{_TRACE_TAG_PREFIX}mlflow.traceName", json.dumps(span["name"][:_NAME]))
        if trace.prompts:
            linked = [{"name": name, "version": str(version)} for name, version in trace.prompts]
            labels[f"{_TRACE_TAG_PREFIX}mlflow.linkedPrompts"] = json.dumps(json.dumps(linked))
        for key, attribute in (("mlflow.trace.user", "user.id"), ("mlflow.trace.session", "session.id")):
            if trace.metadata.get(key):
                labels[attribute] = json.dumps(trace.metadata[key])
        yield {**span, "attributes": {**labels, **span["attributes"]}}
