"""Jobs: a notebook is read, checked, exported into a folder, and run by a runner whose record can't lie."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.jobs.exporting import ExportReport, export
    from prodkit.jobs.runner import JobResult, run_job

__all__ = ["ExportReport", "JobResult", "export", "run_job"]

_FILES = {"export": "exporting", "ExportReport": "exporting", "run_job": "runner", "JobResult": "runner"}


def __getattr__(name: str) -> object:
    # the engine is an entry point of papermill's and mustn't pull in export, nor export the runner
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
