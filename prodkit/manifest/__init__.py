"""prodkit.yaml: one file that a reviewer reads top to bottom, and the project that it makes of a folder."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from prodkit.manifest.project import Project, find_project

if TYPE_CHECKING:
    from prodkit.manifest.loading import load, parse
    from prodkit.manifest.model import Manifest

__all__ = ["Manifest", "Project", "find_project", "load", "parse"]

_HOMES = {"Manifest": "model", "load": "loading", "parse": "loading"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
