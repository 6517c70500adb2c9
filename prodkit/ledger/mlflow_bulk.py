"""The second half of the MLflow adapter: many new traces written into MLflow's own SQL database with one transaction.

MLflow's `log_spans` takes 3-6 ms for each trace even in batches, most of it bookkeeping for traces that may be there
already. Traces that aren't there yet are written here with MLflow's own tables and its own translation of spans, about
ten times faster. Where MLflow's tables aren't those that this was written for, `insert_traces` declines and the
adapter takes the slow way; `tests/ledger/test_mlflow_contract.py` compares both ways, field by field.
"""

from __future__ import annotations

import json
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.ledger.mlflow_adapter import OutgoingTrace

_DIALECTS = {"sqlite", "postgresql", "mysql"}
_METADATA_LENGTH = 250
_PREVIEW = 300  # characters: what a list of traces shows; MLflow would keep 1,000 of a text that the span holds anyway
_PACKED = (",", ":")
_COST = "mlflow.llm.cost"
_ATTACHMENT = "mlflow-attachment:"
_COLUMNS = {
    "trace_info": {
        "request_id", "experiment_id", "timestamp_ms", "execution_time_ms", "status", "client_request_id",
        "request_preview", "response_preview", "db_payload_generation", "trace_name", "session_id", "input_tokens",
        "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
        "cache_creation_input_tokens_above_1hr", "input_cost", "output_cost", "total_cost",
    },
    "trace_tags": {"key", "value", "request_id"},
    "trace_request_metadata": {"key", "value", "request_id"},
    "spans": {
        "trace_id", "experiment_id", "span_id", "parent_span_id", "name", "type", "status", "start_time_unix_nano",
        "end_time_unix_nano", "duration_ns", "content", "input_cost", "output_cost", "total_cost", "model_name",
        "model_provider",
    },
    "entity_associations": {
        "association_id", "source_type", "source_id", "destination_type", "destination_id", "created_time",
    },
}  # fmt: skip


@cache
def _internals() -> Any:
    """MLflow's tables and helpers; None when this MLflow isn't the one we know."""
    try:
        from mlflow.store.tracking import sqlalchemy_store as module
        from mlflow.store.tracking.dbmodels import models

        tables = {
            name: getattr(models, model).__table__
            for name, model in (
                ("trace_info", "SqlTraceInfo"),
                ("trace_tags", "SqlTraceTag"),
                ("trace_request_metadata", "SqlTraceMetadata"),
                ("spans", "SqlSpan"),
                ("entity_associations", "SqlEntityAssociation"),
            )
        }
        for name in _NEEDED:
            getattr(module, name)
    except (ImportError, AttributeError):
        return None
    if any({column.name for column in tables[name].columns} != columns for name, columns in _COLUMNS.items()):
        return None
    return module, tables


_NEEDED = (
    "translate_span_when_storing",
    "_span_aggregation_node",
    "aggregate_usage_from_span_nodes",
    "aggregate_cost_from_span_nodes",
    "_get_truncated_preview",
    "_try_parse_json_string",
    "bounded_model_dimension",
    "finite_float_or_none",
    "token_count_or_none",
    "rollups_enabled",
    "TraceJSONEncoder",
    "TOKEN_COLUMN_BY_KEY",
    "COST_COLUMN_BY_KEY",
    "PROMOTED_TRACE_METADATA_KEYS",
    "SqlAlchemyStore",
)


def insert_traces(store: Any, experiment_id: str, traces: Sequence[OutgoingTrace]) -> set[str]:
    """Write the traces that aren't there yet.

    Args:
        store: MLflow's tracking store.
        experiment_id: where they belong.
        traces: what to write, each trace complete.

    Returns:
        The ids of the traces that were written now; the others have to go through `log_spans`.
    """
    known = _internals()
    if known is None or type(store) is not known[0].SqlAlchemyStore or store.db_type not in _DIALECTS:
        return set()
    module, tables = known
    if module.rollups_enabled():
        return set()
    new = {trace.trace_id: trace for trace in traces}
    for there in _existing(store, tables["trace_info"], list(new)):
        del new[there]
    if not new:
        return set()
    rows = _Rows(module, store, experiment_id)
    for trace in new.values():
        rows.add(trace)
    return set(new) if _write(store, tables, rows.rows) else set()


def _existing(store: Any, table: Any, ids: list[str]) -> list[str]:
    from sqlalchemy import select

    with store.ManagedSessionMaker(read_only=True) as session:
        found = session.execute(select(table.c.request_id).where(table.c.request_id.in_(ids)))
        return [row[0] for row in found]


def _write(store: Any, tables: Mapping[str, Any], rows: Mapping[str, list[dict[str, Any]]]) -> bool:
    """All rows in one transaction; False when another process was first with one of them."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy import insert
    from sqlalchemy.exc import IntegrityError

    try:
        with store.ManagedSessionMaker(read_only=False) as session:
            for name, table in tables.items():
                if rows[name]:
                    session.execute(insert(table), rows[name])
    except IntegrityError:
        return False
    except MlflowException as error:
        if isinstance(error.__cause__, IntegrityError) or "IntegrityError" in str(error):
            return False
        raise
    return True


class _Rows:
    """The rows of MLflow's tables for a batch of new traces."""

    def __init__(self, module: Any, store: Any, experiment_id: str) -> None:
        self._mlflow = module
        self._store = store
        self._experiment = store.get_experiment(experiment_id)
        self._experiment_id = int(experiment_id)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}

    def add(self, trace: OutgoingTrace) -> None:
        from mlflow.entities import Span

        spans = [Span.from_dict(span) for span in trace.spans]
        stored = [self._translate(span) for span in spans]
        self.rows["spans"] += [self._span(span, content) for span, content in zip(spans, stored, strict=True)]
        self.rows["trace_info"].append(self._info(trace, spans, stored))
        self._add_labels(
            trace, attached=any(_ATTACHMENT in row["content"] for row in self.rows["spans"][-len(spans) :])
        )

    def _translate(self, span: Any) -> dict[str, Any]:
        """MLflow's translation, without its price look-up: who records the call prices it, and unpriced stays so.

        The look-up imports and scans anew for every span, 25 ms for a model that it doesn't know.
        """
        attributes = span._span._attributes  # noqa: SLF001  shared with the dictionary that the span was made from
        if attributes.get(_COST) is not None:
            priced: dict[str, Any] = self._mlflow.translate_span_when_storing(span)
            return priced
        attributes[_COST] = "null"
        try:
            content: dict[str, Any] = self._mlflow.translate_span_when_storing(span)
        finally:
            del attributes[_COST]
        content["attributes"].pop(_COST, None)
        return content

    def _span(self, span: Any, content: dict[str, Any]) -> dict[str, Any]:
        mlflow = self._mlflow
        attributes = content.get("attributes", {})
        cost = _object(attributes.get(_COST))
        model, provider = (
            mlflow.bounded_model_dimension(mlflow._try_parse_json_string(attributes.get(key)))  # noqa: SLF001
            for key in ("mlflow.llm.model", "mlflow.llm.provider")
        )
        return {
            "trace_id": span.trace_id,
            "experiment_id": self._experiment_id,
            "span_id": span.span_id,
            "parent_span_id": span.parent_id,
            "name": span.name,
            "type": span.span_type,
            "status": span.status.status_code,
            "start_time_unix_nano": span.start_time_ns,
            "end_time_unix_nano": span.end_time_ns,
            "content": json.dumps(
                {**content, "attributes": {key: _repacked(value) for key, value in attributes.items()}},
                cls=mlflow.TraceJSONEncoder,
                ensure_ascii=False,
                separators=_PACKED,
            ),
            **{key: mlflow.finite_float_or_none(cost.get(key)) for key in ("input_cost", "output_cost", "total_cost")},
            "model_name": model,
            "model_provider": provider,
        }

    def _info(self, trace: OutgoingTrace, spans: list[Any], stored: list[dict[str, Any]]) -> dict[str, Any]:
        mlflow = self._mlflow
        begin = min(span.start_time_ns for span in spans) // 1_000_000
        ends = [span.end_time_ns for span in spans if span.end_time_ns is not None]
        root = next((content for span, content in zip(spans, stored, strict=True) if span.parent_id is None), {})
        attributes = root.get("attributes", {})
        usage, cost = (self._sum(spans, stored, key) for key in ("mlflow.chat.tokenUsage", _COST))
        return {
            "request_id": trace.trace_id,
            "experiment_id": self._experiment_id,
            "timestamp_ms": begin,
            "execution_time_ms": max(ends) // 1_000_000 - begin if ends else None,
            "status": self._store._get_trace_status_from_root_span(spans) or "IN_PROGRESS",  # noqa: SLF001
            "client_request_id": None,
            "request_preview": self._preview(attributes.get("mlflow.spanInputs"), "user"),
            "response_preview": self._preview(attributes.get("mlflow.spanOutputs"), "assistant"),
            "db_payload_generation": 1,
            "trace_name": trace.tags.get("mlflow.traceName") or root.get("name"),
            "session_id": trace.metadata.get("mlflow.trace.session", "")[:_METADATA_LENGTH] or None,
            **{
                column: mlflow.token_count_or_none(usage.get(key)) for key, column in mlflow.TOKEN_COLUMN_BY_KEY.items()
            },
            **{column: mlflow.finite_float_or_none(cost.get(key)) for key, column in mlflow.COST_COLUMN_BY_KEY.items()},
        }

    def _sum(self, spans: list[Any], stored: list[dict[str, Any]], key: str) -> dict[str, Any]:
        mlflow = self._mlflow
        nodes = [
            mlflow._span_aggregation_node(span.span_id, span.parent_id, content.get("attributes", {}), key)  # noqa: SLF001
            for span, content in zip(spans, stored, strict=True)
        ]
        if key == _COST:
            return mlflow.aggregate_cost_from_span_nodes(nodes) or {}
        return mlflow.aggregate_usage_from_span_nodes(nodes) or {}

    def _preview(self, value: str | None, role: str) -> str | None:
        preview = self._mlflow._get_truncated_preview(value, role=role) if value else None  # noqa: SLF001
        return preview if preview is None or len(preview) <= _PREVIEW else preview[: _PREVIEW - 3] + "..."

    def _add_labels(self, trace: OutgoingTrace, *, attached: bool) -> None:
        tags = {**trace.tags, "mlflow.trace.spansLocation": "TRACKING_STORE"}
        if attached:  # spans lie in the database; a folder of files is asked for only where a span names one of them
            where = self._store._get_trace_artifact_location_tag(self._experiment, trace.trace_id)  # noqa: SLF001
            tags[where.key] = where.value
        tags.pop("mlflow.traceName", None)  # a column of its own
        metadata = {key: value[:_METADATA_LENGTH] for key, value in trace.metadata.items()}
        for key in self._mlflow.PROMOTED_TRACE_METADATA_KEYS:  # likewise: session, tokens, cost
            metadata.pop(key, None)
        metadata.pop("mlflow.trace_schema.version", None)  # MLflow's `log_spans` doesn't write it either
        if trace.run_id:
            metadata["mlflow.sourceRun"] = trace.run_id
        if trace.prompts:
            linked = [{"name": name, "version": str(version)} for name, version in trace.prompts]
            tags["mlflow.linkedPrompts"] = json.dumps(linked)
        for table, labels in (("trace_tags", tags), ("trace_request_metadata", metadata)):
            self.rows[table] += [
                {"request_id": trace.trace_id, "key": key, "value": value} for key, value in labels.items()
            ]
        self.rows["entity_associations"] += [
            {
                "association_id": uuid.uuid4().hex,
                "source_type": "trace",
                "source_id": trace.trace_id,
                "destination_type": "prompt_version",
                "destination_id": f"{name}/{version}",
            }
            for name, version in trace.prompts
        ]


def _repacked(value: Any) -> Any:
    """An attribute as MLflow reads it, JSON in JSON, without blanks between its parts and with letters as they are."""
    if not isinstance(value, str) or value[:1] not in {"{", "[", '"'}:
        return value
    try:
        text = json.dumps(json.loads(value), ensure_ascii=False, separators=_PACKED)
        text.encode("utf-8")  # half a surrogate pair can only be kept as an escape
    except (ValueError, RecursionError):
        return value
    return text if len(text) < len(value) else value


def _object(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
