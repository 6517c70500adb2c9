"""What MLflow is told of a call: attributes, events, tags and metadata in its words, and ours beside them.

Most calls of a job stand alone. The trace of such a call holds nothing that its record doesn't, so the journal has one
record of it, and the trace is made from that where it is shipped.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from prodkit.records import Status
from prodkit.resilience.call import REPLAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from prodkit.records import Attempt, CallRecord, CallSpan, Usage

USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"
USER, SESSION = "mlflow.trace.user", "mlflow.trace.session"
_LOG_LEVEL = "20"  # MLflow's own words for a span that is neither debugging nor a warning

# MLflow cuts the first two out of the raw text, where half a secret could hide from a redactor; the ledger makes its
# own, and its sums are made of the calls
_SAID_BY_CALLS = ("mlflow.traceInputs", "mlflow.traceOutputs", "mlflow.trace.tokenUsage", "mlflow.trace.cost")
_OF_THE_RUN = "mlflow.source."  # script, commit, branch: said once, by the run, and not again by each of its traces


def mlflows_own(metadata: Mapping[str, str]) -> dict[str, str]:
    """What MLflow says of a trace that neither its run nor its calls do."""
    return {
        name: value
        for name, value in metadata.items()
        if name not in _SAID_BY_CALLS and not name.startswith(_OF_THE_RUN)
    }


def attributes(call: CallRecord) -> dict[str, str]:
    """The attributes by which MLflow's UI sums up tokens and cost, and ours beside them; each as JSON."""
    said: dict[str, Any] = {
        "mlflow.llm.model": call.model,
        "mlflow.llm.provider": call.provider,
        "prodkit.request_id": call.request_id,
        "prodkit.status": call.status.value if call.status != Status.OK else "",
        "prodkit.cost.status": call.cost.status if call.cost.status != "priced" else "",
        "prodkit.cost.source": call.cost.source,
        "prodkit.data_source": call.data_source,
        "prodkit.purpose": call.purpose,
        "prodkit.served_by": call.served_by if call.served_by != f"{call.provider}/{call.model}" else "",
        "user.id": call.user,
        "session.id": call.session,
        "prodkit.first_token_seconds": call.first_token_seconds,
    }
    said |= {f"prodkit.{name}": True for name in ("simulated", "degraded", "streamed") if getattr(call, name)}
    if call.usage.input_tokens is not None or call.usage.output_tokens is not None:
        said[USAGE] = _usage(call.usage)
    if call.cost.usd is not None:
        said[COST] = _costs(call.cost.usd, call.cost.input_usd)
    else:
        said["prodkit.cost.reason"] = call.cost.reason
    return {name: json.dumps(value) for name, value in said.items() if value not in ("", None)}


def _usage(usage: Usage) -> dict[str, int]:
    counts = {
        "input_tokens": usage.input_tokens or 0,
        "output_tokens": usage.output_tokens or 0,
        "total_tokens": (usage.input_tokens or 0) + (usage.output_tokens or 0),
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


def _costs(total: Decimal, input_usd: Decimal | None) -> dict[str, float]:
    """Our figure in MLflow's three parts."""
    part = total if input_usd is None else min(input_usd, total)
    return {"input_cost": float(part), "output_cost": float(total - part), "total_cost": float(total)}


def attempt_events(started: datetime, attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """One event for each attempt of a call, at its end; none for a call that went well at once: its span says that."""
    if len(attempts) == 1 and not attempts[0].failed and not attempts[0].waited and attempts[0].breaker == "closed":
        return []
    at = _nanoseconds(started)
    events = []
    for attempt in attempts:
        at += int((attempt.waited + attempt.seconds) * 1e9)
        values = {
            "target": attempt.target,
            "failure_class": attempt.failure_class,
            "seconds": round(attempt.seconds, 6),
            "waited": round(attempt.waited, 6),
            "breaker": attempt.breaker,
        }
        events.append({"name": "prodkit.attempt", "time_unix_nano": at, "attributes": values})
    return events


def tags(calls: Sequence[CallRecord]) -> dict[str, str]:
    """What a trace's calls say of it, to be searched for in MLflow."""
    said = {}
    users = {call.user for call in calls} - {""}
    if len(users) > 1:  # one alone is MLflow's own field
        said["prodkit.user"] = ", ".join(sorted(users))
    for name in ("data_source", "purpose"):
        if values := sorted({getattr(call, name) for call in calls} - {""}):
            said[f"prodkit.{name}"] = ", ".join(values)
    for flag in ("simulated", "degraded"):
        if any(getattr(call, flag) for call in calls):
            said[f"prodkit.{flag}"] = "true"
    if any(call.served_by == REPLAY for call in calls):
        said["prodkit.replayed"] = "true"
    if prompts := sorted({uri for call in calls for uri in call.prompts}):
        said["prodkit.prompts"] = ", ".join(prompts)
    return said


def run_tags(name: str, run_key: str) -> dict[str, str]:
    """The run that a trace belongs to."""
    return {"prodkit.name": name, "prodkit.run_key": run_key}


def metadata(calls: Sequence[CallRecord]) -> dict[str, str]:
    """Who asked first, as MLflow keeps it. MLflow sums up tokens and cost itself, from the spans."""
    said = {USER: calls[0].user, SESSION: calls[0].session} if calls else {}
    return {name: value for name, value in said.items() if value}


def alone(
    call: CallRecord, span: CallSpan, experiment_id: str
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Span, tags and metadata of the trace of a call that stands alone."""
    said = {**span.tags, **run_tags(call.name, call.run_key), **tags([call])}
    return _span_of(call, span, experiment_id), said, span.metadata | metadata([call])


def _span_of(call: CallRecord, span: CallSpan, experiment_id: str) -> dict[str, Any]:
    """The span of a call that stands alone, in the form of MLflow's `Span.to_dict()`."""
    said = {
        "mlflow.experimentId": json.dumps(experiment_id or "0"),
        "mlflow.traceRequestId": json.dumps(call.trace_id),
        "mlflow.spanType": json.dumps(span.kind),
        "mlflow.spanInputs": json.dumps(_request(call, span)),
        "mlflow.spanLogLevel": _LOG_LEVEL,
    }
    if span.message_format:
        said["mlflow.message.format"] = json.dumps(span.message_format)
    if call.response is not None:
        said["mlflow.spanOutputs"] = json.dumps(call.response)
    began, failed = _nanoseconds(call.started), span.failure is not None
    return {
        "trace_id": to_base64(bytes.fromhex(call.trace_id.removeprefix("tr-"))),
        "span_id": to_base64(bytes.fromhex(call.span_id)),
        "parent_span_id": None,
        "name": span.name,
        "start_time_unix_nano": began,
        "end_time_unix_nano": began + int(call.seconds * 1e9),
        "events": [*([span.failure] if span.failure else []), *attempt_events(call.started, call.attempts)],
        "status": {"code": "STATUS_CODE_ERROR" if failed else "STATUS_CODE_OK", "message": call.error},
        "attributes": said | attributes(call),
        "links": [],
    }


def _request(call: CallRecord, span: CallSpan) -> dict[str, Any]:
    """The request as it was sent: model, content and parameters."""
    model = call.parameters.get("asked_model", call.model)
    whole = isinstance(call.prompt, dict) and len(span.content) > 1
    content = call.prompt if whole else dict.fromkeys(span.content[:1], call.prompt)
    rest = {name: value for name, value in call.parameters.items() if name != "asked_model"}
    return {**({"model": model} if model else {}), **content, **rest}


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


def to_base64(data: bytes) -> str:
    """An id of a span or a trace as `Span.to_dict()` writes it."""
    return base64.b64encode(data).decode("ascii")
