"""The log: a line an event, written whole, the same fields in every line; nothing else reaches stderr meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Literal, Self

import click

from prodkit.cli.logs.capture import CapturedStderr
from prodkit.errors import ProdkitError
from prodkit.records import now

if TYPE_CHECKING:
    from types import TracebackType

SCHEMA = 1
FIELDS = (
    *("schema", "ts", "level", "event", "job", "run", "attempt", "item", "outcome", "exit_code", "cost_usd"),
    *("seconds", "url", "problem", "message"),
)
Level = Literal["debug", "info", "warning", "error"]
LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar="PRODKIT_LOG_FORMAT",
    help="One line an event to stderr, for machines.  [default: a display for people; or $PRODKIT_LOG_FORMAT]",
)
LOG_OUTPUT = click.option(
    "--log-output",
    is_flag=True,
    envvar="PRODKIT_LOG_OUTPUT",
    help="Also what the notebook writes, as it comes: to stdout, as events with --log-format json.",
)


class Log:
    """Writes events to stderr while it is open, and ends the process for an error as its exit code says.

    Args:
        form: `json` or `text`.
    """

    def __init__(self, form: Literal["json", "text"]) -> None:
        self.form = form
        self._lock = threading.Lock()
        self._descriptor = os.dup(sys.stderr.fileno())
        self._captured: CapturedStderr | None = None
        self._told: BaseException | None = None

    def __enter__(self) -> Self:
        if self.form == "json":
            self._captured = CapturedStderr(self._foreign)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, ProdkitError):
                self.refused(error)
                sys.exit(error.exit_code)
            if isinstance(error, Exception) and not isinstance(error, click.exceptions.ClickException):
                self.write("crash", level="error", exit_code=1, message="".join(traceback.format_exception(error)))
                sys.exit(1)
        finally:
            if self._captured is not None:
                self._captured.close()
            os.close(self._descriptor)

    def refused(self, error: ProdkitError, **values: Any) -> None:
        """Nothing was run, or nothing more; an error is told once, however far it gets."""
        if error is self._told:
            return
        self._told = error
        known = {"error": error.code, "message": error.what, "where": error.where, "fix": error.fix}
        self.write("run.refused", level="error", exit_code=error.exit_code, **{**values, **known})

    def write(self, event: str, *, level: Level = "info", **values: Any) -> None:
        """One event. Fields that aren't given are null; further ones come behind those that every line has."""
        known = {"schema": SCHEMA, "ts": now().isoformat(timespec="milliseconds"), "level": level, "event": event}
        fields = {name: known.get(name, values.pop(name, None)) for name in FIELDS} | values
        fields = {name: _clean(value) if isinstance(value, str) else value for name, value in fields.items()}
        line = json.dumps(fields, default=str) if self.form == "json" else _as_text(fields)
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._lock, contextlib.suppress(OSError):  # whoever read it has gone; the job goes on
            while data:
                data = data[os.write(self._descriptor, data) :]

    def _foreign(self, line: str) -> None:
        """What a library, a warning or a child process has written to stderr."""
        self.write("stderr", level="warning", message=line)


def _as_text(fields: dict[str, Any]) -> str:
    """`2026-11-02T06:00:00.123+00:00 INFO run.end job=triage outcome=ok`; what is null is left out."""
    rest = {name: value for name, value in fields.items() if name not in FIELDS[:4] and value not in {None, ""}}
    pairs = " ".join(f"{name}={_quoted(value)}" for name, value in rest.items())
    return f"{fields['ts']} {fields['level'].upper()} {fields['event']} {pairs}".rstrip()


def _quoted(value: object) -> str:
    text = str(value)
    plain = bool(text) and text.isprintable() and not set(text) & set(' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _clean(text: str) -> str:
    from prodkit.redaction import secrets_only

    return str(secrets_only().clean(text).value)
