"""Finished traces as records: which spans are calls, what the guard knows of them, and what MLflow's UI shows."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prodkit.capture import calls, payload
from prodkit.capture.context import Stamp
from prodkit.ledger import telling
from prodkit.ledger.telling import COST, USAGE
from prodkit.pricing import price
from prodkit.records import CallRecord, Cost, Status, TraceRecord, Usage, new_id

if TYPE_CHECKING:
    from prodkit.capture.calls import Call
    from prodkit.capture.exporter import FinishedTrace
    from prodkit.capture.runs import OpenRun

CALL_TYPES = frozenset({"LLM", "CHAT_MODEL", "EMBEDDING"})
STAMP = "prodkit.stamp"


def to_record(trace: FinishedTrace, run: OpenRun) -> TraceRecord:
    """The trace with its calls found, priced and attributed."""
    by_id = {_hex(span["span_id"]): span for span in sorted(trace.spans, key=lambda one: one["start_time_unix_nano"])}
    found: list[CallRecord] = []
    guards: set[str] = set()
    for span_id, span in by_id.items():
        call = calls.take(span_id)
        if call is not None:
            record = call.record(trace.trace_id, span_id)
            _complete(span, call)
            guards.add(span["span_id"])
        elif _is_below(span, guards, trace.spans):
            _strip(span)
            continue
        elif _is_leaf_call(span, trace.spans) and not _is_told_elsewhere(span, run):
            record = _unguarded(span, span_id, trace, run)
            run.note(
                f"Calls of {record.provider or record.model or 'a model'} go past prodkit: they are recorded, but the "
                "budget, deadline and fallbacks of prodkit.yaml don't hold for them, and their SDK retries as it likes."
            )
        else:
            continue
        _annotate(span, record)
        found.append(record)
    for span in trace.spans:
        span["attributes"].pop(STAMP, None)
    return TraceRecord(
        trace_id=trace.trace_id,
        spans=tuple(trace.spans),
        calls=tuple(found),
        run_key=run.key,
        tags={**trace.tags, **telling.run_tags(run.name, run.key)},
        metadata=_metadata(trace, run),
    )


def _hex(span_id: str) -> str:
    return base64.b64decode(span_id).hex()


def _attribute(span: dict[str, Any], name: str) -> Any:
    value = span["attributes"].get(name)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _is_leaf_call(span: dict[str, Any], spans: list[dict[str, Any]]) -> bool:
    """A model's span with no other below it: a chain's own span of a call repeats the call of the SDK."""
    if _attribute(span, "mlflow.spanType") not in CALL_TYPES:
        return False
    below = [span["span_id"]]
    while below:
        children = [one for one in spans if one["parent_span_id"] in below]
        if any(_attribute(child, "mlflow.spanType") in CALL_TYPES for child in children):
            return False
        below = [child["span_id"] for child in children]
    return True


def _is_below(span: dict[str, Any], above: set[str], spans: list[dict[str, Any]]) -> bool:
    """Whether the span lies below one of those: part of a call that is recorded as a whole."""
    parents = {one["span_id"]: one["parent_span_id"] for one in spans}
    at = span["parent_span_id"]
    while at is not None:
        if at in above:
            return True
        at = parents.get(at)
    return False


def _is_told_elsewhere(span: dict[str, Any], run: OpenRun) -> bool:
    """Whether a framework's span repeats a call that the guard has seen in a trace of its own.

    langchain's callbacks of async and batch calls don't carry MLflow's context to the SDK, so the SDK's span isn't
    below theirs, and its tokens would be counted twice.
    """
    twin = next((call for call in run.recent() if _is_twin(span, call)), None)
    if twin is None:
        return False
    run.twins.add(twin.request_id)
    _strip(span)
    span["attributes"]["prodkit.same_call_as"] = json.dumps(twin.trace_id)
    return True


def _is_twin(span: dict[str, Any], call: CallRecord) -> bool:
    """Whether the call lies inside of the span, at the same model, with the same answer."""
    began, ended = _time(span["start_time_unix_nano"]), _time(span["end_time_unix_nano"] or 0)
    model = _attribute(span, "mlflow.llm.model") or call.model
    if not (
        began <= call.started and call.ended <= ended and model in {call.model, call.parameters.get("asked_model")}
    ):
        return False
    if span["status"]["code"] == "STATUS_CODE_ERROR":
        return call.status is not Status.OK
    said = {text for text in payload.strings(_attribute(span, "mlflow.spanOutputs")) if text}
    text = payload.answer_text(call.response)
    counts = _attribute(span, USAGE) or {}
    return text in said if text else counts.get("output_tokens") == call.usage.output_tokens


def _strip(span: dict[str, Any]) -> None:
    """Take tokens and cost from a span whose call is counted elsewhere."""
    for name in (USAGE, COST):
        span["attributes"].pop(name, None)


def _complete(span: dict[str, Any], call: Call) -> None:
    """The answer as the call has it: without MLflow's nulls, and of a stream with the text that MLflow leaves out."""
    attributes = span["attributes"]
    for name in call.body:  # the inputs have them; each text is cleaned once and not twice
        attributes.pop(name, None)
    if call.response is not None:
        attributes["mlflow.spanOutputs"] = json.dumps(call.response, default=str)
    if call.streamed and call.response is not None:
        ended = int((call.started.timestamp() + call.seconds) * 1e9)
        span["end_time_unix_nano"] = max(span["end_time_unix_nano"] or 0, ended)
    if call.attempts:
        span["events"].extend(telling.attempt_events(call.started, call.attempts))


def _annotate(span: dict[str, Any], record: CallRecord) -> None:
    """The attributes by which MLflow's UI sums up tokens and cost, and ours beside them."""
    if record.cost.usd is None:
        span["attributes"].pop(COST, None)  # MLflow's own figure would pass for ours
    span["attributes"].update(telling.attributes(record))


def _metadata(trace: FinishedTrace, run: OpenRun) -> dict[str, str]:
    stamp = run.stamp
    said = {telling.USER: stamp.user, telling.SESSION: stamp.session, "mlflow.sourceRun": run.handle.run_id}
    return telling.mlflows_own(trace.metadata) | {name: value for name, value in said.items() if value}


def _unguarded(span: dict[str, Any], span_id: str, trace: FinishedTrace, run: OpenRun) -> CallRecord:
    """A call through an SDK whose requests we don't wrap: all that is known is what MLflow's span says."""
    stamp = trace_stamp(span, run)
    counts = _attribute(span, USAGE) or {}
    usage = Usage(
        counts.get("input_tokens"),
        counts.get("output_tokens"),
        counts.get("cache_read_input_tokens"),
        counts.get("cache_creation_input_tokens"),
    )
    inputs = _attribute(span, "mlflow.spanInputs")
    body = inputs if isinstance(inputs, dict) else {"input": inputs}
    model = str(_attribute(span, "mlflow.llm.model") or body.get("model") or "")
    provider = str(_attribute(span, "mlflow.llm.provider") or "")
    started = _time(span["start_time_unix_nano"])
    failed = span["status"]["code"] == "STATUS_CODE_ERROR"
    known = usage.input_tokens is not None or usage.output_tokens is not None
    cost = (
        price(provider, model, usage, when=started, manifest=run.manifest)
        if known
        else Cost(reason="no tokens reported")
    )
    kept_for, expires = run.retention(started)
    return CallRecord(
        request_id=new_id("req"),
        name=run.name,
        started=started,
        ended=_time(span["end_time_unix_nano"] or span["start_time_unix_nano"]),
        status=Status.ERROR if failed else Status.OK,
        provider=provider,
        model=model,
        parameters=payload.parameters(body),
        prompt=payload.prompt(body) or inputs,
        response=_attribute(span, "mlflow.spanOutputs"),
        usage=usage,
        cost=cost,
        user=stamp.user,
        session=stamp.session,
        data_source=stamp.source,
        purpose=stamp.purpose,
        region=run.region_of(model),
        trace_id=trace.trace_id,
        span_id=span_id,
        run_key=run.key,
        error=str(span["status"].get("message") or "") if failed else "",
        prompts=run.prompts_in(payload.prompt(body) or inputs),
        datasets=run.dataset_digests,
        retention_class=kept_for,
        expires=expires,
    )


def trace_stamp(span: dict[str, Any], run: OpenRun) -> Stamp:
    """Who asked, as the span was marked when it began."""
    marked = _attribute(span, STAMP) or []
    return Stamp(*marked).over(run.stamp)


def _time(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
