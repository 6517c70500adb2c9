"""Keeps what takes long to import and is never used out of the processes that belong to prodkit alone."""

from __future__ import annotations

import sys
from typing import Any

_NEVER_USED = ("rfc3987_syntax",)
"""jsonschema imports it where it is installed, and it then builds a parser of international addresses for half a
second; the schemas of notebooks and jobs have no field of that format."""


def skip_slow_imports() -> None:
    """Let optional imports of them fail. Only for processes in which no user's code runs: never in a kernel."""
    modules: dict[str, Any] = sys.modules
    for name in _NEVER_USED:
        modules.setdefault(name, None)
