"""Spans that end become finished traces: held until the last span and the last stream of a trace have ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from prodkit.ledger.telling import to_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHUNK_EVENT = "mlflow.chunk.item."  # holds the answer a second time, in pieces that no redactor can read


class FinishedTrace(NamedTuple):
    """A trace whose spans have all ended; `owner` is what `Host.owner` gave when it began."""

    trace_id: str
    spans: list[dict[str, Any]]  # as MLflow's `Span.to_dict()` gives them
    tags: dict[str, str]
    metadata: dict[str, str]
    owner: Any


class Host(Protocol):
    """What the seam asks of the room that it serves."""

    def owner(self) -> Any:
        """The run that a trace belongs to that begins here and now; None leaves the trace to MLflow."""

    def experiment_id(self, owner: Any) -> str:
        """The MLflow experiment of the owner."""

    def active(self) -> Any:
        """The `RunHandle` that is to be MLflow's active run here and now, or None."""

    def marks(self) -> dict[str, str]:
        """Attributes for a span that begins here and now."""

    def pending(self, span_ids: Sequence[str]) -> bool:
        """Whether one of these spans (ids in hex) stands for a call that goes on, e.g. a stream that is being read."""

    def finished(self, trace: FinishedTrace) -> None:
        """Take a finished trace."""

    def ended(self, call: Any, leaf: Any, failure: dict[str, Any] | None) -> None:
        """Take a call that stands alone, its `Leaf`, and the event of the exception that has ended it."""

    def flush(self) -> None:
        """Ship what has been taken."""

    def problem(self, text: str) -> None:
        """Take one sentence about what can't be captured."""


class TraceExporter(SpanExporter):
    """Hands each trace to the host when it is complete; traces without an owner go on to MLflow's own exporter.

    Args:
        host: who takes the traces.
        manager: gives MLflow's register of open traces.
        foreign: gives MLflow's own exporter, or None while the user has switched tracing off.
    """

    def __init__(self, host: Callable[[], Host | None], manager: Callable[[], Any], foreign: Callable[[], Any]) -> None:
        self._host, self._manager, self._foreign = host, manager, foreign
        self._owners: dict[int, Any] = {}  # OTel trace id -> owner, from the root's start to the trace's end
        self._rooted: dict[int, Any] = {}  # traces whose root span has ended, while other spans go on
        self._lock = threading.Lock()

    def begin(self, trace_id: int, owner: Any) -> None:
        """A trace begins."""
        self._owners[trace_id] = owner

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Called by OpenTelemetry for each span that ends, in the thread that ends it."""
        for span in spans:
            trace_id = span.context.trace_id
            if trace_id not in self._owners:
                self._pass_on(span)
                continue
            if span.parent is None or span.parent.is_remote:
                self._rooted[trace_id] = span
            self.release(trace_id)
        return SpanExportResult.SUCCESS

    def release(self, trace_id: int, *, by_force: bool = False) -> bool:
        """Give the trace to the host if nothing of it goes on any more; False while it is held."""
        if trace_id not in self._rooted and not by_force:
            return False
        manager, host = self._manager(), self._host()
        known = manager.get_mlflow_trace_id_from_otel_id(trace_id)
        if host is None or known is None:
            return False
        with manager.get_trace(known) as trace:
            spans = list(trace.span_dict.values()) if trace else []
        waits = any(span.end_time_ns is None for span in spans) or host.pending([span.span_id for span in spans])
        if waits and not by_force:
            return False
        with self._lock:
            owner = self._owners.pop(trace_id, None)
            self._rooted.pop(trace_id, None)
        if owner is None:  # another thread was faster
            return False
        host.finished(_pop(manager, trace_id, spans, owner))
        return True

    def release_all(self, owner: Any) -> int:
        """Give out the owner's traces whose root has ended, whatever goes on below; returns how many are still open."""
        mine = [trace_id for trace_id, one in list(self._owners.items()) if one is owner]
        for trace_id in mine:
            if trace_id in self._rooted:
                self.release(trace_id, by_force=True)
        return sum(trace_id in self._owners for trace_id in mine)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is buffered here."""
        foreign = self._foreign()
        return foreign is None or bool(foreign.force_flush(timeout_millis))

    @property
    def _async_queue(self) -> TraceExporter:
        """Where `mlflow.flush_trace_async_logging` looks for something to flush."""
        return self

    def flush(self, terminate: bool = False) -> None:
        """Ship what has been recorded, ours and the user's own."""
        queue = getattr(self._foreign(), "_async_queue", None)
        if queue is not None:
            queue.flush(terminate)
        host = self._host()
        if host is not None:
            host.flush()

    def shutdown(self) -> None:
        """MLflow retires providers at will; ours lives as long as the process."""

    def _pass_on(self, span: Any) -> None:
        foreign = self._foreign()
        if foreign is not None:
            foreign.export([span])


def _pop(manager: Any, trace_id: int, spans: list[Any], owner: Any) -> FinishedTrace:
    """Take a trace out of MLflow's register, without the previews that MLflow would compute from raw text."""
    with manager._lock:  # noqa: SLF001
        name = manager._otel_id_to_mlflow_trace_id.pop(trace_id)  # noqa: SLF001
        trace = manager._traces.pop(name, None)  # noqa: SLF001
    info = trace.info
    return FinishedTrace(name, [_to_dict(span) for span in spans], dict(info.tags), dict(info.trace_metadata), owner)


def _to_dict(span: Any) -> dict[str, Any]:
    """MLflow's own form, less the chunks of streams."""
    raw = span._span  # noqa: SLF001
    context, parent = raw.context, raw.parent
    status = span.status
    return {
        "trace_id": to_base64(context.trace_id.to_bytes(16, "big")),
        "span_id": to_base64(context.span_id.to_bytes(8, "big")),
        "parent_span_id": to_base64(parent.span_id.to_bytes(8, "big")) if parent else None,
        "name": raw.name,
        "start_time_unix_nano": raw.start_time,
        "end_time_unix_nano": raw.end_time,
        "events": [
            {"name": event.name, "time_unix_nano": event.timestamp, "attributes": dict(event.attributes or {})}
            for event in raw.events
            if not event.name.startswith(CHUNK_EVENT)
        ],
        "status": {"code": status.status_code.to_otel_proto_status_code_name(), "message": status.description},
        "attributes": dict(raw.attributes),
        "links": [link.to_dict() for link in span.links],
    }
