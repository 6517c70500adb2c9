"""What a notebook writes while it runs, as whole lines for a log: cleaned, without colours and moving bars."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from prodkit.jobs.events import OutputEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbformat import NotebookNode

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_LONGEST = 64_000  # characters of a line that hasn't ended, after which it is written as it is


class OutputLines:
    """Give `note` to the engine as `on_output`.

    Args:
        tell: called with each piece.
        clean: takes out of a text what must not leave the machine.
    """

    def __init__(self, tell: Callable[[OutputEvent], None], clean: Callable[[str], str]) -> None:
        self._tell, self._clean = tell, clean
        self._open: dict[Literal["stdout", "stderr"], str] = {"stdout": "", "stderr": ""}

    def note(self, output: NotebookNode | None) -> None:
        """One output of a cell; `None` for a message that is none."""
        if output is None:
            return
        if output.output_type == "stream":
            self._add("stderr" if output.name == "stderr" else "stdout", "".join(output.text))
        elif output.output_type == "error":
            self._add_block("stderr", "\n".join(output.get("traceback") or [f"{output.ename}: {output.evalue}"]))
        elif "text/plain" in output.get("data", {}):
            self._add_block("stdout", "".join(output.data["text/plain"]))

    def close(self) -> None:
        """Write what has no line break behind it."""
        for stream, text in self._open.items():
            self._open[stream] = ""
            self._write(stream, text)

    def _add_block(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        """Lines of their own, whatever was written before."""
        self._add(stream, ("\n" if self._open[stream] else "") + text + "\n")

    def _add(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        whole, newline, rest = (self._open[stream] + text).rpartition("\n")
        if len(rest) > _LONGEST:
            whole, newline, rest = whole + newline + rest, "", ""
        self._open[stream] = rest
        self._write(stream, whole)

    def _write(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        lines = [_last_state(line) for line in _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")]
        if any(line.strip() for line in lines):
            self._tell(OutputEvent(stream, self._clean("\n".join(lines))))


def _last_state(line: str) -> str:
    """A progress bar writes its line again and again; what it came to is the last of them."""
    return line.rstrip("\r").rpartition("\r")[2]
