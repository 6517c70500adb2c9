"""prodkit.yaml: one file that a reviewer reads top to bottom, and the project that it makes of a folder."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from prodkit.manifest.project import Project, find_project

if TYPE_CHECKING:
    from prodkit.manifest.load import parse
    from prodkit.manifest.model import Manifest

__all__ = ["Manifest", "Project", "find_project", "parse"]

_HOMES = {"Manifest": "model", "parse": "load"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
