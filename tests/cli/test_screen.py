"""Where lines may move: on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from prodkit.cli import screen

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    """A stream that says it is a terminal, as the pseudo-terminal of `!command` in a notebook does."""

    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    with screen.console().status("working"):
        pass
    return stream.getvalue()


def test_a_spinner_turns_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch):
    """A terminal gets the moving line; a pipe gets none, although colours are asked for."""
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "working" in written(Terminal(), monkeypatch)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert written(io.StringIO(), monkeypatch) == ""


def test_a_notebook_gets_plain_lines(monkeypatch: pytest.MonkeyPatch):
    """The children of a kernel write plain lines, although `!command` gives them a pseudo-terminal."""
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert written(Terminal(), monkeypatch) == ""
