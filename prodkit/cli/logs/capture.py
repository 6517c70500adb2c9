"""Everything that anybody writes to stderr, also libraries in C and child processes, line by line."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STDERR = 2
_END = b"\0end of stderr\0"  # children may hold the pipe open beyond us, so its end isn't seen by itself


class CapturedStderr:
    """Takes over the file descriptor of stderr until it is closed.

    Args:
        tell: called with each line, in a thread of its own.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        sys.stderr.flush()
        self._original = os.dup(_STDERR)
        self._reading, writing = os.pipe()
        os.dup2(writing, _STDERR)
        os.close(writing)
        self._thread = threading.Thread(target=self._read, name="prodkit-stderr", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the descriptor back; what was written before is told when this returns."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os.write(_STDERR, b"\n" + _END + b"\n")
        os.dup2(self._original, _STDERR)
        os.close(self._original)
        self._thread.join(5.0)

    def _read(self) -> None:
        with os.fdopen(self._reading, "rb") as lines:
            for line in lines:
                if line.rstrip(b"\n") == _END:
                    return
                if text := line.decode("utf-8", "replace").rstrip():
                    self._tell(text)
