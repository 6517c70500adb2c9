"""The console that commands write to: lines that move on a terminal only, plain lines everywhere else."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A console for stdout or stderr.

    A kernel asks every child for colours (`FORCE_COLOR`) and gives `!command` a pseudo-terminal; a spinner would then
    leave thousands of lines in the notebook. `JPY_PARENT_PID` is how a kernel's children are known.
    """
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty() and "JPY_PARENT_PID" not in os.environ
    # whoever reads lines from a pipe wants a whole one, however long it is
    return Console(file=stream, force_terminal=terminal, soft_wrap=not terminal)
