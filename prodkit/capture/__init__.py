"""Capture: a run is opened and closed; calls, prompts, datasets and compute in between become records."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.capture.comparing import compare
    from prodkit.capture.comparison import Comparison
    from prodkit.capture.context import current_run, request
    from prodkit.capture.opening import close_run, open_run, open_session
    from prodkit.capture.options import RunOptions
    from prodkit.capture.prompts import Prompt, prompt
    from prodkit.capture.runs import OpenRun
    from prodkit.capture.surface import run

__all__ = [
    "Comparison",
    "OpenRun",
    "Prompt",
    "RunOptions",
    "close_run",
    "compare",
    "current_run",
    "open_run",
    "open_session",
    "prompt",
    "request",
    "run",
]

_HOMES = {
    "Comparison": "comparison",
    "compare": "comparing",
    "OpenRun": "runs",
    "Prompt": "prompts",
    "RunOptions": "options",
    "close_run": "opening",
    "current_run": "context",
    "open_run": "opening",
    "open_session": "opening",
    "prompt": "prompts",
    "request": "context",
    "run": "surface",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
