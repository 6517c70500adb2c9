"""Data sources that the manifest maps: what was read, where each row comes from, and what could not be read."""

from prodkit.sources.reading import read
from prodkit.sources.report import ORIGIN, Misread, ReadReport, SheetRead, Skipped, listeners

__all__ = ["ORIGIN", "Misread", "ReadReport", "SheetRead", "Skipped", "listeners", "read"]
