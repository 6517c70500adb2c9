"""How records are written in the journal, and read back.

What must outlive an erasure (ids, times, model, tokens, cost, digests) is public; content (prompt, answer, error text,
spans) is private and sealed for the people whose content it is. Of a call only those fields are written that aren't
what a reader would assume: most are empty on most calls.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from prodkit.ledger.journal import Event
from prodkit.ledger.telling import USER
from prodkit.records import (
    Attempt,
    CallRecord,
    CallSpan,
    Cost,
    DatasetRecord,
    FeedbackRecord,
    RunSpec,
    Status,
    TraceRecord,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.ledger.chain import Entry

CALL, TRACE = "call", "trace"
RUN_START, RUN_END, RUN_UPDATE = "run.start", "run.end", "run.update"
DATASET, ARTIFACT, PROMPT, NOTE, FEEDBACK = "dataset", "artifact", "prompt", "note", "feedback"
OPEN, DESTINATION, RETARGET = "open", "destination", "retarget"
ERASE, CHECKPOINT, RETENTION = "erase", "checkpoint", "retention"
COMPLIANCE = "compliance"

_ATOMS = frozenset({type(None), str, int, float, bool})
_SAID = ("value", "comment")
_PRIVATE = ("prompt", "response", "error", "user", "session", "parameters")
_AS_IT_IS = tuple(
    field.name
    for field in fields(CallRecord)
    if field.name not in {*_PRIVATE, "span", "started", "ended", "usage", "cost", "attempts", "served_by", "expires"}
)
_PRIVATE_OF_SPAN = ("tags", "metadata", "failure")
_SECONDS_DIGITS = 6
_MICROSECOND = timedelta(microseconds=1)


class _Sparse(NamedTuple):
    """The fields of a record, to be written where they aren't the default that a reader would put there."""

    get: Callable[[Any], tuple[Any, ...]]
    defaults: tuple[tuple[str, Any], ...]

    def of(self, record: Any) -> dict[str, Any]:
        return {
            name: value
            for (name, default), value in zip(self.defaults, self.get(record), strict=False)
            if value is not default and (value != default or value.__class__ is not default.__class__)
        }


def _sparse(kind: type, names: Sequence[str] = ()) -> _Sparse:
    known = {field.name: field.default for field in fields(kind)}
    wanted = tuple(names or known)
    return _Sparse(attrgetter(*wanted), tuple((name, known[name]) for name in wanted))


_of_call = _sparse(CallRecord, _AS_IT_IS)
_of_usage, _of_cost, _of_attempt = _sparse(Usage), _sparse(Cost), _sparse(Attempt)
_of_private = _sparse(CallRecord, tuple(name for name in _PRIVATE if name != "parameters"))
_of_span = _sparse(CallSpan, ("name", "kind", "content", "message_format"))


def trace_events(trace: TraceRecord, pseudonym: Callable[[str], str], redactions: Mapping[str, int]) -> list[Event]:
    """The records of a finished trace: one for each call, and one for the spans.

    Spans hold what their calls hold: where there is one call, its record holds both, and each word is written once.
    """
    if trace.spans and len(trace.calls) == 1 and _is_of(trace, trace.calls[0]):
        return [call_event(trace.calls[0], pseudonym, redactions, trace)]
    written = [call_event(call, pseudonym, redactions) for call in trace.calls]
    return [*written, trace_event(trace, pseudonym)] if trace.spans else written


def _is_of(trace: TraceRecord, call: CallRecord) -> bool:
    """Whether a call says of its trace what the trace's own record would say."""
    return (trace.trace_id, trace.run_key) == (call.trace_id, call.run_key) and call.span is None


def call_event(
    call: CallRecord,
    pseudonym: Callable[[str], str],
    redactions: Mapping[str, int],
    trace: TraceRecord | None = None,
) -> Event:
    """One request: who sent what, from where, to which model, what it cost.

    With the span of one that stands alone, or all spans of the trace whose only call it is.
    """
    public = {"run_key": call.run_key, **_of_call.of(call)}
    public["started"] = call.started.isoformat()
    public["took"] = (call.ended - call.started) // _MICROSECOND
    public |= {"usage": _of_usage.of(call.usage), "cost": _plain(_of_cost.of(call.cost))}
    public |= _how_served(call)
    if call.expires is not None:
        public["expires"] = call.expires.isoformat()
    public["subject"] = pseudonym(call.user)
    if call.error:
        public["failed"] = True
    if settings := {k: v for k, v in call.parameters.items() if not isinstance(v, str | dict | list)}:
        public["settings"] = settings
    if redactions:
        public["redactions"] = dict(redactions)
    private = _of_private.of(call) | {"parameters": call.parameters}
    users: tuple[str, ...] = (call.user,) if call.user else ()
    if (labelled := trace or call.span) is not None:
        users = users_of(labelled.metadata, [call])
        if (subjects := [pseudonym(user) for user in users]) != [public["subject"]]:
            public["subjects"] = subjects
    if trace is not None:
        public["spans"] = len(trace.spans)
        private["trace"] = _content_of(trace)
    elif call.span is not None:
        public["span"] = _of_span.of(call.span)
        private["span"] = {key: value for key in _PRIVATE_OF_SPAN if (value := getattr(call.span, key))}
    return Event(CALL, public, private, (*users, *_until([call])))


def _how_served(call: CallRecord) -> dict[str, Any]:
    """By whom and with which attempts; most calls have one that went well, at the target that their model names."""
    target = f"{call.provider}/{call.model}"
    if call.served_by == target and len(call.attempts) == 1:
        [only] = call.attempts
        if only == Attempt(target, "", only.seconds):
            return {"once": round(only.seconds, _SECONDS_DIGITS)}
    said: dict[str, Any] = {"served_by": call.served_by} if call.served_by else {}
    if call.attempts:
        said["attempts"] = [_attempt_of(attempt) for attempt in call.attempts]
    return said


def _attempt_of(attempt: Attempt) -> dict[str, Any]:
    written = _of_attempt.of(attempt)
    written["seconds"] = round(attempt.seconds, _SECONDS_DIGITS)
    if attempt.cost_usd is not None:
        written["cost_usd"] = str(attempt.cost_usd)
    return written


def subjects_of(entry: Entry) -> tuple[str, ...]:
    """The pseudonyms of the people whose content a record of a trace holds."""
    subjects = entry.public.get("subjects")
    return tuple([entry.public["subject"]] if subjects is None else subjects)


def users_of(metadata: Mapping[str, str], calls: Sequence[CallRecord]) -> tuple[str, ...]:
    """Whose content a trace holds: its calls' users, and who MLflow was told has asked."""
    return tuple(sorted({metadata.get(USER, ""), *(call.user for call in calls)} - {""}))


def read_call(public: Mapping[str, Any], private: Mapping[str, Any] | None) -> CallRecord:
    """A request read back; its content is None after an erasure."""
    known = {field.name for field in fields(CallRecord)}
    values: dict[str, Any] = {key: value for key, value in public.items() if key in known}
    said = {key: value for key, value in private.items() if key in known} if private else None
    values.update(said or {"parameters": dict(public.get("settings", {}))})
    values["span"] = _read_span(public.get("span"), (private or {}).get("span"))
    values["started"] = datetime.fromisoformat(values["started"])
    if "took" in public:
        values["ended"] = values["started"] + public["took"] * _MICROSECOND
    else:  # as 0.1.0 wrote it
        values["ended"] = datetime.fromisoformat(values["ended"])
    values["status"] = Status(values["status"])
    values["usage"] = Usage(**values["usage"])
    values["cost"] = _read_cost(values["cost"])
    values["expires"] = date.fromisoformat(values["expires"]) if values.get("expires") else None
    values["attempts"] = tuple(_read_attempt(attempt) for attempt in values.get("attempts", ()))
    if "once" in public:
        values["served_by"] = f"{public.get('provider', '')}/{public.get('model', '')}"
        values["attempts"] = (Attempt(values["served_by"], "", public["once"]),)
    values |= {name: tuple(values.get(name, ())) for name in ("prompts", "datasets")}
    return CallRecord(**values)


def trace_event(trace: TraceRecord, pseudonym: Callable[[str], str]) -> Event:
    """The spans of a finished trace, sealed for everybody whose content it holds."""
    users = users_of(trace.metadata, trace.calls)
    public = {
        "trace_id": trace.trace_id,
        "run_key": trace.run_key,
        "spans": len(trace.spans),
        "requests": [call.request_id for call in trace.calls],
        "prompts": sorted({uri for call in trace.calls for uri in call.prompts}),
        "subjects": [pseudonym(user) for user in users],
    }
    return Event(TRACE, public, _content_of(trace), (*users, *_until(trace.calls)))


def _content_of(trace: TraceRecord) -> dict[str, Any]:
    return {"spans": list(trace.spans), "tags": trace.tags, "metadata": trace.metadata}


def until(day: str) -> str:
    """Who content is sealed for, besides its users, that a data source lets us keep until this day (ISO 8601) only."""
    return f"until:{day}"


def _until(calls: Sequence[CallRecord]) -> tuple[str, ...]:
    """The shorter period of a data source ends for one record, while others of its segment have to stay."""
    days = [call.expires for call in calls if call.expires and call.retention_class not in {"", COMPLIANCE}]
    return (until(min(days).isoformat()),) if days else ()


def is_trace(entry: Entry) -> bool:
    """Whether a record is one of a trace: of its spans, or of its only call."""
    return entry.kind == TRACE or (entry.kind == CALL and ("span" in entry.public or "spans" in entry.public))


def feedback_event(feedback: FeedbackRecord, users: tuple[str, ...]) -> Event:
    """What a person said of an answer; the words are sealed for the user whose answer it is."""
    return Event(FEEDBACK, _jsonable(feedback, without=_SAID), {key: getattr(feedback, key) for key in _SAID}, users)


def read_feedback(public: Mapping[str, Any], private: Mapping[str, Any]) -> FeedbackRecord:
    """A person's judgement read back."""
    return FeedbackRecord(**{**public, **private, "given": datetime.fromisoformat(public["given"])})


def run_event(spec: RunSpec) -> Event:
    """A run that begins."""
    return Event(RUN_START, _jsonable(spec))


def dataset_event(run_key: str, dataset: DatasetRecord) -> Event:
    """A dataset that a run read or wrote."""
    return Event(DATASET, {"run_key": run_key, "dataset": _jsonable(dataset)})


def read_dataset(public: Mapping[str, Any]) -> DatasetRecord:
    """A dataset read back."""
    values = dict(public["dataset"])
    values["columns"] = tuple((str(name), str(kind)) for name, kind in values["columns"])
    return DatasetRecord(**values)


def _jsonable(record: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """As `dataclasses.asdict`, without its deep copies: this runs on every call."""
    return {name: _plain(getattr(record, name)) for name in record.__dataclass_fields__ if name not in without}


def _plain(value: Any) -> Any:
    if type(value) in _ATOMS or isinstance(value, str | int | float):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return _jsonable(value)


def _read_cost(values: Mapping[str, Any]) -> Cost:
    usd, day, of_input = values.get("usd"), values.get("price_date"), values.get("input_usd")
    read: dict[str, Any] = {
        **values,
        "usd": None if usd is None else Decimal(usd),
        "price_date": None if day is None else date.fromisoformat(day),
        "input_usd": None if of_input is None else Decimal(of_input),
    }
    return Cost(**read)


def _read_span(public: Mapping[str, Any] | None, private: Mapping[str, Any] | None) -> CallSpan | None:
    if public is None:
        return None
    return CallSpan(**{**public, **(private or {}), "content": tuple(public["content"])})


def _read_attempt(values: Mapping[str, Any]) -> Attempt:
    usd = values.get("cost_usd")
    return Attempt(**{**values, "cost_usd": None if usd is None else Decimal(usd)})
