"""Redaction on the way into the journal. It fails closed: what can't be cleaned isn't written at all.

Everything textual goes through the redactor: prompts, answers, errors, span attributes, events, links, names, tags,
parameters, file names and dictionary keys. Only ids that we or MLflow made keep their place untouched.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from prodkit.ledger import media, telling
from prodkit.records import altered

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.records import CallRecord, CallSpan, TraceRecord

WITHHELD = "[withheld: redaction failed]"
_IDENTITY = ("user.id", "mlflow.trace.user", "mlflow.user")
_OWN_IDS = {  # attributes that change from call to call and hold nothing that anybody has said
    "mlflow.traceRequestId": re.compile(r'"?tr-[0-9a-f]{32}"?'),
    "prodkit.request_id": re.compile(r'"req-[0-9a-f]{28}"'),
}
_MAX_DEPTH = 200
_ATOMS = frozenset({type(None), bool, int, float, str})
_SHORT, _MOST_KNOWN, _MOST_SEEN = 200, 4096, 48


class Cleaner(Protocol):
    """What the ledger needs of a redactor."""

    def clean(self, obj: Any) -> Any:
        """A result with `.value`, the cleaned copy, and `.counts`, findings by class."""


class Cleaning:
    """Cleans records, counts what it found, and never lets content through when the redactor fails.

    Args:
        redactor: the rule.
        pseudonym: a stand-in for a user's id that the redactor had to change (an e-mail address).
        known: short texts that were found clean before (names, roles, models); shared between records.
    """

    def __init__(
        self, redactor: Cleaner, pseudonym: Callable[[str], str], known: dict[str, None] | None = None
    ) -> None:
        self._redactor = redactor
        self._pseudonym = pseudonym
        self._known = {} if known is None else known
        self._seen: deque[tuple[Any, Any]] = deque(maxlen=_MOST_SEEN)
        self.counts: dict[str, int] = defaultdict(int)

    def value(self, value: Any) -> Any:
        """A JSON-able, cleaned copy of any value."""
        copy = plain(value)
        if isinstance(copy, dict | list | str):
            for raw, cleaned in self._seen:  # a call's prompt stands in its span too: clean (and count) it once
                if raw == copy:
                    return cleaned
        return self._clean(copy)

    def _see(self, raw: Any, cleaned: Any) -> None:
        self._seen.append((raw, cleaned))
        if isinstance(raw, dict) and isinstance(cleaned, dict):
            self._seen.extend((raw[key], cleaned[key]) for key in raw if key in cleaned and isinstance(raw[key], list))

    def _clean(self, value: Any) -> Any:
        try:
            cleaned = self._redactor.clean(value)
            for name, count in cleaned.counts.items():
                self.counts[name] += count
        except Exception:
            self.counts["withheld"] += 1
            return WITHHELD
        return cleaned.value

    def text(self, text: str) -> str:
        """A cleaned text."""
        if not text or text in self._known:
            return text
        cleaned = str(self.value(text))
        if cleaned == text:
            self._remember(text)
        return cleaned

    def mapping(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """A cleaned mapping; empty when it can't be cleaned."""
        if not mapping:
            return {}
        mark = repr(mapping) if all(type(value) in _ATOMS for value in mapping.values()) else ""
        if mark and mark in self._known:  # labels are the same on most records of a run
            return dict(mapping)
        copy = plain(mapping)
        cleaned = self._clean(copy)
        if mark and cleaned == copy == mapping:
            self._remember(mark)
        return cleaned if isinstance(cleaned, dict) else {"withheld": WITHHELD}

    def _remember(self, text: str) -> None:
        if len(text) <= _SHORT:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[text] = None

    def texts(self, mapping: Mapping[str, Any]) -> dict[str, str]:
        """A cleaned mapping of texts, for tags and parameters."""
        return {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in self.mapping(mapping).items()
        }

    def user(self, user: str) -> str:
        """A user's id; its pseudonym when the redactor would change it, so that two users stay two."""
        return user if not user or self.text(user) == user else self._pseudonym(user)

    def call(self, call: CallRecord) -> CallRecord:
        """A cleaned call."""
        return altered(
            call,
            name=self.text(call.name),
            model=self.text(call.model),
            parameters=self.mapping(call.parameters),
            prompt=self.value(call.prompt),
            response=self.value(call.response),
            user=self.user(call.user),
            session=self.text(call.session),
            purpose=self.text(call.purpose),
            error=self.text(call.error),
            span=None if call.span is None else self._span_of(call.span),
        )

    def _span_of(self, span: CallSpan) -> CallSpan:
        failure = None if span.failure is None else self._event(span.failure)
        return altered(span, tags=self._labels(span.tags), metadata=self._labels(span.metadata), failure=failure)

    def trace(self, trace: TraceRecord) -> TraceRecord:
        """A cleaned trace with its calls, and what these say of it."""
        spans = tuple(self.span(span) for span in trace.spans)  # first: the calls' content is among theirs
        calls = tuple(self.call(call) for call in trace.calls)
        if not spans:
            return altered(trace, calls=calls, tags={}, metadata={})  # said by the calls, or not at all
        return altered(
            trace,
            spans=spans,
            calls=calls,
            tags=self._labels(trace.tags) | telling.tags(calls),
            metadata=self._labels(trace.metadata) | telling.metadata(calls),
        )

    def span(self, span: Mapping[str, Any]) -> dict[str, Any]:
        """A cleaned span, in the form of `Span.to_dict()`."""
        status = span.get("status") or {}
        return {
            **{key: span.get(key) for key in ("trace_id", "span_id", "parent_span_id")},
            **{key: _integer(span.get(key)) for key in ("start_time_unix_nano", "end_time_unix_nano")},
            "name": self.text(str(span.get("name", ""))),
            "events": [self._event(event) for event in span.get("events") or ()],
            "status": {"code": str(status.get("code", "")), "message": self.text(status.get("message") or "")},
            "attributes": self.attributes(span.get("attributes") or {}),
            "links": [
                {**link, "attributes": self.mapping(link.get("attributes") or {})} for link in span.get("links") or ()
            ],
        }

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Cleaned attributes. MLflow keeps each as JSON text, so the text is opened, cleaned inside, and closed."""
        cleaned = {}
        for key, value in attributes.items():
            if key in _OWN_IDS and isinstance(value, str) and _OWN_IDS[key].fullmatch(value):
                cleaned[key] = value
            elif key in _IDENTITY and isinstance(value, str):
                cleaned[key] = json.dumps(self.user(str(_opened(value)[1])))
            else:
                cleaned[self.text(key)] = self._attribute(value)
        return cleaned

    def document(self, text: str) -> str:
        """A cleaned text file; JSON (a notebook) is cleaned inside, so that it stays JSON."""
        is_json, opened = _opened(text)
        if is_json and isinstance(opened, dict | list):
            return json.dumps(self.value(opened), indent=1, ensure_ascii=False)
        return self.text(text)

    def _labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        mark = repr(labels)
        if mark in self._known:  # they are the same on most records of a run
            return dict(labels)
        users = {key: self.user(value) for key, value in labels.items() if key in _IDENTITY}
        cleaned = {**self.texts({key: value for key, value in labels.items() if key not in _IDENTITY}), **users}
        if cleaned == labels:
            self._remember(mark)
        return cleaned

    def _attribute(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self.value(value)
        if value in self._known:
            return value
        for raw, cleaned in self._seen:
            if raw == value:
                return cleaned
        is_json, opened = _opened(value)
        if not is_json:
            return self.text(value)
        if not value.isascii() or "\\u" in value:  # only then can it hold what `plain` would mend
            opened = plain(opened)
        elif len(value) > _SHORT and any(sign in value for sign in media.SIGNS):
            opened = media.described(opened)
        cleaned = self._clean(opened)
        if len(value) > _SHORT:
            self._see(opened, cleaned)
        text = json.dumps(cleaned)
        if text == value:
            self._remember(value)
        self._seen.append((value, text))
        return text

    def _event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": self.text(str(event.get("name", ""))),
            "time_unix_nano": _integer(event.get("time_unix_nano")),
            "attributes": {
                self.text(key): self._attribute(value) for key, value in (event.get("attributes") or {}).items()
            },
        }


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON can carry it: text is valid Unicode without NUL, unknown objects become their type's name."""
    kind = type(value)
    if kind is str:
        return _valid(value)
    if kind in _ATOMS:
        return value
    if depth > _MAX_DEPTH:
        return "[nested too deeply]"
    if kind is dict or isinstance(value, Mapping):
        copy = {_valid(str(key)): plain(inner, depth + 1) for key, inner in value.items()}
        return media.in_mapping(copy) if media.FIELDS & copy.keys() else copy
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner, depth + 1) for inner in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _valid(value)
    if isinstance(value, Decimal | datetime | date):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return _valid(bytes(value).decode("utf-8", "replace"))
    return f"[{type(value).__name__}]"


def _valid(text: str) -> str:
    """Without lone surrogates and NUL, which databases refuse, and without pictures."""
    if ";base64," in text:
        text = media.in_text(text)
    if text.isascii():
        return text.replace("\x00", "\ufffd") if "\x00" in text else text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", "�") if "\x00" in text else text


def _opened(text: str) -> tuple[bool, Any]:
    if not text or text[0] not in '{["-0123456789tfn':
        return False, text
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError):
        return False, text


def _integer(value: Any) -> int | None:
    return int(value) if value is not None else None
