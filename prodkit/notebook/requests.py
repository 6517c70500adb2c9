"""The request browser: captured prompts and answers, filtered, two of them side by side, and what people say of them.

Texts are redacted before they leave Python, go to the browser for the chosen calls only, and are stored in no file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, ParameterError
from prodkit.manifest import find_project
from prodkit.notebook.displays import seconds, usd
from prodkit.notebook.sieve import CHOICES, Sieve
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Face, Follower
from prodkit.ownership import name_person
from prodkit.records import FeedbackRecord, new_id
from prodkit.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodkit.notebook.cells import CellRuns
    from prodkit.records import CallRecord

_PAGE = 50  # calls that the browser gets at once
_LENGTH = 4_000  # characters of a text that it gets
_STATIC = 30  # rows of the stored table
_CHOICES = 100  # names in a list to choose from
_BEST = 5


class RequestBrowser(Face):
    """The calls of this kernel's runs, the newest first; `find`, `compare` and `judge` work without a browser."""

    script = "requests"

    def __init__(self, runs: CellRuns) -> None:
        self._runs = runs
        self._filter = {"text": "", "run": "", "model": "", "status": ""}
        self._page = 0
        self._sieve = Sieve()
        self._chosen: tuple[str, ...] = ()
        self._judged: dict[str, list[str]] = {}
        self._by = ""
        with contextlib.suppress(ConfigError):  # git knows an address that the manifest doesn't: the person says it
            self._by = name_person(find_project().manifest)
        super().__init__()
        Follower(self, runs)

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """All calls that are at hand, the newest first: of open runs and of those that are over."""
        return tuple(reversed(list(itertools.chain(*self._runs.lists.values()))))

    def find(self, text: str = "", *, run: str = "", model: str = "", status: str = "") -> tuple[CallRecord, ...]:
        """Calls whose prompt, answer, run or model holds all words of `text` (no case), narrowed by exact words."""
        return tuple(filter(_fitting({"text": text, "run": run, "model": model, "status": status}), self.calls))

    def compare(self, left: str, right: str) -> Table:
        """Two calls by their request ids, side by side: model, cost, latency, prompt and answer.

        Raises:
            ParameterError: `notebook.no-request`.
        """
        columns = [self._entry(self._call(one)) for one in (left, right)]
        rows = tuple((label, columns[0][key], columns[1][key]) for key, label in _COMPARED.items())
        return Table("two requests", ("", left, right), rows)

    def judge(
        self, request_id: str, good: bool | None = None, *, score: int | None = None, comment: str = "", by: str = ""
    ) -> tuple[FeedbackRecord, ...]:
        """Say what an answer is worth. It is written to the journal, and MLflow shows it at the call's trace.

        Args:
            request_id: the call.
            good: thumb up or down.
            score: 1 to 5.
            comment: why; redacted like any other text.
            by: who says so, an id or name of the manifest; git's user.name by default.

        Returns:
            What was recorded: `human_review` for a thumb, `human_score` for a score.

        Raises:
            ParameterError: `notebook.no-request`, `notebook.no-judgement`.
            ConfigError: `review.nobody`, `review.unknown-person`, or the journal can't be written.
        """
        call = self._call(request_id)
        if good is None and score is None:
            raise ParameterError(
                "notebook.no-judgement", "Nothing was said.", where=request_id, fix="give a thumb or a score"
            )
        if score is not None and not 1 <= score <= _BEST:
            raise ParameterError("notebook.no-judgement", f"`{score}` is no score.", fix=f"give 1 to {_BEST}")
        person = name_person(find_project().manifest, by)
        if not person:
            raise ParameterError("review.nobody", "A judgement needs a person.", fix="say who you are")
        said: list[tuple[str, bool | float]] = [] if good is None else [("human_review", good)]
        said += [] if score is None else [("human_score", float(score))]
        records = tuple(
            FeedbackRecord(new_id("fb"), call.request_id, call.trace_id, person, value, name, comment)
            for name, value in said
        )
        ledger = self._runs.ledger
        for record in records:
            ledger.log_feedback(record, user=call.user)
            self._judged.setdefault(request_id, []).append(_read_aloud(record))
        return records

    def act(self, message: dict[str, Any]) -> None:
        """Filter, turn a page, choose, or judge."""
        kind = message.get("do")
        if kind == "find":
            self._filter = {key: str(message.get(key) or "") for key in self._filter}
            self._sieve = Sieve(_fitting(self._filter))
            self._page = 0
        elif kind == "page":
            self._page = int(message.get("page") or 0)
        elif kind == "choose":
            at_hand = {call.request_id for call in self.calls}
            self._chosen = tuple(one for one in map(str, message.get("ids") or ()) if one in at_hand)
            self._tell_chosen()
        elif kind == "judge":
            score = message.get("score")
            self.judge(
                str(message.get("id")),
                message.get("good"),
                score=None if score is None else int(score),
                comment=str(message.get("comment") or ""),
                by=str(message.get("by") or ""),
            )
            self.said = "feedback recorded; MLflow shows it at the trace"
            if waiting := self._runs.problem:
                self.said = f"feedback recorded in the journal. {waiting}"
            self._tell_chosen()
            self.tell({"said": self.said})

    def state(self) -> dict[str, Any]:
        """What the browser draws: one page of figures, and no text of a call."""
        sieve = self._sieve
        sieve.look(self._runs.lists)
        pages = max(1, math.ceil(sieve.found / _PAGE))
        page = min(max(self._page, 0), pages - 1)
        return {
            "calls": [_figures(call) for call in sieve.page(page, _PAGE)],
            "found": sieve.found,
            "total": sieve.total,
            "page": page,
            "pages": pages,
            "filter": self._filter,
            "choices": {key: names[:_CHOICES] for key, names in sieve.choices.items()},
            "by": self._by,
        }

    def entries(self, *request_ids: str) -> list[dict[str, Any]]:
        """The chosen calls with their redacted texts, as the browser shows them side by side.

        Raises:
            ParameterError: `notebook.no-request`.
        """
        return [self._entry(self._call(one)) for one in request_ids]

    def to_table(self) -> Table:
        """The figures of the newest calls, without any text of theirs."""
        heads = ("request", "run", "time (UTC)", "model", "status", "tokens", "cost", "latency")
        keys = ("id", "run", "time", "model", "status", "tokens", "cost", "latency")
        calls = self.calls
        rows = tuple(tuple(_figures(call)[key] for key in keys) for call in calls[:_STATIC])
        left = len(calls) - len(rows)
        remarks = (f"and {left:,} earlier ones",) if left > 0 else ()
        return Table("requests of this kernel", heads, rows, remarks if rows else ("no call was captured so far",))

    def _tell_chosen(self) -> None:
        self.tell({"entries": self.entries(*self._chosen)})

    def _entry(self, call: CallRecord) -> dict[str, Any]:
        texts = {"prompt": _clean(said(call.prompt)), "answer": _clean(answered(call.response))}
        if call.prompt is None and call.response is None:
            texts["prompt"] = f"no longer kept in this kernel: `prodkit audit show {call.request_id}`"
        return {**_figures(call), **texts, "said": [_clean(one) for one in self._judged.get(call.request_id, ())]}

    def _call(self, request_id: str) -> CallRecord:
        found = next((call for call in self.calls if call.request_id == request_id), None)
        if found is None:
            raise ParameterError(
                "notebook.no-request", f"There is no request `{request_id}` at hand.", fix="see `.calls`"
            )
        return found


_COMPARED = {
    "run": "run",
    "time": "time (UTC)",
    "model": "model",
    "status": "status",
    "tokens": "tokens",
    "cost": "cost",
    "latency": "latency",
    "prompt": "prompt",
    "answer": "answer",
}


def _figures(call: CallRecord) -> dict[str, str]:
    usage = call.usage
    tokens = [("not known" if n is None else f"{n:,}") for n in (usage.input_tokens, usage.output_tokens)]
    return {
        "id": call.request_id,
        "run": call.name,
        "time": f"{call.started:%H:%M:%S}",
        "model": call.model + (" (simulated)" if call.simulated else ""),
        "status": call.status.value + (", degraded" if call.degraded else ""),
        "tokens": f"{tokens[0]} in, {tokens[1]} out",
        "cost": usd(call.cost.usd),
        "latency": seconds(call.seconds),
    }


def _clean(text: str) -> str:
    clean = redact(text)
    return clean if len(clean) <= _LENGTH else f"{clean[:_LENGTH]}\n... ({len(clean) - _LENGTH:,} characters more)"


def _read_aloud(record: FeedbackRecord) -> str:
    value = {True: "good", False: "bad"}.get(record.value, "") if isinstance(record.value, bool) else ""
    told = value or f"{record.value:g} of {_BEST}"
    return f"{told}, says {record.person}" + (f": {record.comment}" if record.comment else "")


def said(prompt: Any) -> str:
    """A prompt as a conversation reads: `role: text`, one message a paragraph."""
    messages = prompt.get("messages", prompt) if isinstance(prompt, dict) else prompt
    if isinstance(messages, list) and messages and all(isinstance(one, dict) and "role" in one for one in messages):
        return "\n\n".join(f"{one['role']}: {_text(one.get('content'))}" for one in messages)
    return _text(messages)


def answered(response: Any) -> str:
    """The text of an answer as OpenAI and Anthropic send it; JSON where it has another shape."""
    if isinstance(response, dict):
        choices = response.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            message = choices[0].get("message") or {}
            return _text(message.get("content") or message)
        if "content" in response:
            return _text(response["content"])
    return _text(response)


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(isinstance(part, dict) and "text" in part for part in content):
        return "\n".join(str(part["text"]) for part in content)
    return json.dumps(content, ensure_ascii=False, indent=1, default=str)


def _fitting(wanted: Mapping[str, str]) -> Callable[[CallRecord], bool] | None:
    """Whether a call is what a filter wants; None, which `filter` and `Sieve` take for all, where it wants nothing."""
    words = wanted["text"].casefold().split()
    exact = {field: wanted[key] for key, field in CHOICES.items() if wanted[key]}
    if not words and not exact:
        return None

    def fits(call: CallRecord) -> bool:
        if any(str(getattr(call, field)) != value for field, value in exact.items()):
            return False
        hay = _haystack(call) if words else ""
        return all(word in hay for word in words)

    return fits


def _haystack(call: CallRecord) -> str:
    return "\n".join((said(call.prompt), answered(call.response), call.name, call.model)).casefold()
