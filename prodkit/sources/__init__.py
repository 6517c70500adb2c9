"""Data sources that the manifest maps: what was read, where each row comes from, and what could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.sources.report import ORIGIN, Misread, ReadReport, SheetRead, Skipped, listeners

if TYPE_CHECKING:
    from prodkit.sources.reading import read

__all__ = ["ORIGIN", "Misread", "ReadReport", "SheetRead", "Skipped", "listeners", "read"]


def __getattr__(name: str) -> object:
    if name != "read":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prodkit.sources.reading import read  # its models take longer than all else of `%load_ext`

    return read
