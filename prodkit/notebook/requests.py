"""The request browser: captured prompts and answers, filtered, and two of them side by side.

Texts are redacted before they leave Python. What is stored in the notebook's file holds no texts at all, only figures.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prodkit.errors import ParameterError
from prodkit.notebook.displays import seconds, usd
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Shown, make_widget
from prodkit.redaction import redact

if TYPE_CHECKING:
    from prodkit.notebook.cells import CellRuns
    from prodkit.records import CallRecord

_SENT = 300  # calls that the browser gets, the newest
_LENGTH = 4_000  # characters of a text that it gets
_STATIC = 30  # rows of the stored table


class RequestBrowser:
    """The calls of this kernel's runs, the newest first; `find` and `compare` work without a browser."""

    def __init__(self, runs: CellRuns) -> None:
        self._runs = runs
        self._shown: list[Shown] = []
        self._widget: Any = make_widget("requests", self.state(), lambda _message: None)

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """All calls that are at hand, the newest first: of open runs and of the last 2,000 of those that are over."""
        running = [call for run in self._runs.open_runs for call in run.calls]
        return tuple(reversed([*self._runs.calls, *running]))

    def find(self, text: str = "", *, run: str = "", model: str = "", status: str = "") -> tuple[CallRecord, ...]:
        """Calls whose prompt, answer, run or model holds `text` (no case), narrowed by exact words."""
        wanted = {"name": run, "model": model, "status": status}
        return tuple(
            call
            for call in self.calls
            if text.casefold() in _haystack(call)
            and all(not v or str(getattr(call, k)) == v for k, v in wanted.items())
        )

    def compare(self, left: str, right: str) -> Table:
        """Two calls by their request ids, side by side: model, cost, latency, prompt and answer.

        Raises:
            ParameterError: `notebook.no-request`.
        """
        pair = [self._call(left), self._call(right)]
        columns = [_entry(call) for call in pair]
        rows = tuple((label, columns[0][key], columns[1][key]) for key, label in _COMPARED.items())
        return Table("two requests", ("", left, right), rows)

    def state(self) -> dict[str, Any]:
        """What the browser draws."""
        calls = self.calls
        return {"calls": [_entry(call) for call in calls[:_SENT]], "more": max(0, len(calls) - _SENT)}

    def to_table(self) -> Table:
        """The figures of the newest calls, without any text of theirs."""
        heads = ("request", "run", "time (UTC)", "model", "status", "tokens", "cost", "latency")
        keys = ("id", "run", "time", "model", "status", "tokens", "cost", "latency")
        calls = self.calls
        rows = tuple(tuple(_figures(call)[key] for key in keys) for call in calls[:_STATIC])
        left = len(calls) - len(rows)
        remarks = (f"and {left:,} earlier ones",) if left > 0 else ()
        return Table("requests of this kernel", heads, rows, remarks if rows else ("no call was captured so far",))

    def _ipython_display_(self) -> None:
        self._shown.append(Shown(self._widget, self.to_table))

    def __repr__(self) -> str:
        """The plain form."""
        return self.to_table().to_text()

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


def _entry(call: CallRecord) -> dict[str, str]:
    return {**_figures(call), "prompt": _shown(said(call.prompt)), "answer": _shown(answered(call.response))}


def _shown(text: str) -> str:
    clean = redact(text)
    return clean if len(clean) <= _LENGTH else f"{clean[:_LENGTH]}\n... ({len(clean) - _LENGTH:,} characters more)"


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


def _haystack(call: CallRecord) -> str:
    return "\n".join((said(call.prompt), answered(call.response), call.name, call.model)).casefold()
