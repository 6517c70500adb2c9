"""A model call that stands alone, as the trace of one span that MLflow's autologging would make of it.

Most calls of a job are like that. MLflow's live span would cost their caller half a millisecond, so it isn't made: the
trace is put together once, when the call has ended. Calls inside of the user's own spans, streams and calls
with tools go MLflow's way. `tests/capture/test_leaf.py` holds both ways beside each other.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from prodkit.capture import payload
from prodkit.capture.exporter import FinishedTrace, to_base64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.capture.calls import Call

# the SDKs' own resources whose `create` makes such a call; MLflow's patch lets it past itself
RESOURCES = frozenset(
    f"{module}.{prefix}{name}"
    for prefix in ("", "Async")
    for module, name in (
        ("openai.resources.chat.completions.completions", "Completions"),
        ("openai.resources.embeddings", "Embeddings"),
        ("anthropic.resources.messages.messages", "Messages"),
    )
)
# the end of a request's path -> what MLflow calls the span of it
_NAMES = {"/chat/completions": "Completions", "/embeddings": "Embeddings", "/v1/messages": "Messages.create"}
_FORMATS = {"Completions": "openai", "Messages.create": "anthropic"}  # of the messages, by the span's name
_LOG_LEVEL = "20"  # MLflow's own words for a span that is neither debugging nor a warning
_SAMPLED = "03"  # as MLflow marks its traces: to be recorded, of a random id


class Leaf(NamedTuple):
    """The only span of a trace that has begun.

    Attributes:
        trace_id, span_id: in hex.
        name: of the span and of the trace.
        kind: the span's type.
        tags, metadata: what MLflow says of every trace that begins here and now.
    """

    trace_id: str
    span_id: str
    name: str
    kind: str
    tags: dict[str, str]
    metadata: dict[str, str]

    @property
    def traceparent(self) -> str:
        """The header by which a server goes on with this trace (W3C Trace Context)."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED}"


def name_of(path: str, *, asynchronous: bool) -> str:
    """What MLflow's autologging calls the span of a request; empty where it is left to MLflow."""
    named = next((name for end, name in _NAMES.items() if path.endswith(end)), "")
    return f"Async{named}" if named and asynchronous else named


def is_plain(body: Mapping[str, Any]) -> bool:
    """Whether all that MLflow's span would say of a request is its body."""
    return not body.get("stream") and not body.get("tools")


def new(name: str, kind: str, tags: dict[str, str], metadata: dict[str, str]) -> Leaf:
    """A trace begins."""
    return Leaf(os.urandom(16).hex(), os.urandom(8).hex(), name, kind, tags, metadata)


def finished(call: Call, leaf: Leaf, failure: dict[str, Any] | None) -> FinishedTrace:
    """The trace of a call that has ended; the answer, tokens and cost are added where all traces get theirs.

    Args:
        call: the call.
        leaf: its span.
        failure: the event of the exception that has ended it.
    """
    trace_id, began = f"tr-{leaf.trace_id}", int(call.started.timestamp() * 1e9)
    attributes = {
        "mlflow.experimentId": json.dumps(str(call.run.handle.experiment_id) or "0"),
        "mlflow.traceRequestId": json.dumps(trace_id),
        "mlflow.spanType": json.dumps(leaf.kind),
        "mlflow.spanInputs": json.dumps(payload.plain(call.body)),
        "mlflow.spanLogLevel": _LOG_LEVEL,
    }
    if said := _FORMATS.get(leaf.name.removeprefix("Async")):
        attributes["mlflow.message.format"] = json.dumps(said)
    span = {
        "trace_id": to_base64(bytes.fromhex(leaf.trace_id)),
        "span_id": to_base64(bytes.fromhex(leaf.span_id)),
        "parent_span_id": None,
        "name": leaf.name,
        "start_time_unix_nano": began,
        "end_time_unix_nano": began + int(call.seconds * 1e9),
        "events": [] if failure is None else [failure],
        "status": {"code": "STATUS_CODE_OK" if failure is None else "STATUS_CODE_ERROR", "message": call.error},
        "attributes": attributes,
        "links": [],
    }
    return FinishedTrace(trace_id, [span], leaf.tags, leaf.metadata, call.run)
