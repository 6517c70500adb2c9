"""CSV files as grids of text; the separator and the encoding by the file's own evidence."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING

from prodkit.sources.grids import Grid
from prodkit.sources.report import Skipped

if TYPE_CHECKING:
    from pathlib import Path

_SEPARATORS = (",", ";", "\t", "|")


def open_delimited(path: Path, label: str, separator: str = "") -> tuple[list[Grid], list[Skipped]]:
    """The file as one grid; `separator` empty: the one that splits the most lines into the same number of cells."""
    try:
        text, notes = _decoded(path.read_bytes())
        found = separator or _evident_separator(text)
        rows = list(csv.reader(io.StringIO(text), delimiter=found, strict=True))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        reason = f"the file can't be read as csv ({type(error).__name__})"
        return [], [Skipped(label, "", (), reason, "save it as UTF-8 csv", unreadable=True)]
    if not any(any(row) for row in rows):
        return [], [Skipped(label, "", (), "the file is empty")]
    return [Grid(label, "", rows, notes)], []


def _decoded(content: bytes) -> tuple[str, tuple[str, ...]]:
    try:
        return content.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return content.decode("cp1252"), ("the text isn't UTF-8 and was read as Windows-1252",)


def _evident_separator(text: str) -> str:
    lines = text.splitlines()[:50]

    def agreement(separator: str) -> int:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator) if len(row) > 1)
        width, count = widths.most_common(1)[0] if widths else (0, 0)
        return count * width

    return max(_SEPARATORS, key=agreement)
