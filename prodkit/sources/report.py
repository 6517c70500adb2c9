"""What a reading found, said so that the owner of a bad row can mend it.

These are named tuples and not dataclasses because they travel in `DataFrame.attrs`, which pandas writes into parquet as
JSON: tuples survive that, dataclasses make pandas drop all attributes with a warning.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = "_origin"
"""Column that says where a row comes from: `file.xlsx#Sheet!14`, with the row as the spreadsheet numbers it."""

ATTRIBUTE = "prodkit"
"""Key of `DataFrame.attrs` under which the report lies."""


class SheetRead(NamedTuple):
    """A sheet (or a file without sheets) of which rows were taken."""

    file: str
    sheet: str  # "" for files without sheets
    header_row: int  # as the spreadsheet numbers it, from 1
    rows: int
    ignored: tuple[str, ...] = ()  # names of columns that the mapping doesn't ask for
    missing: tuple[str, ...] = ()  # columns that the mapping asks for and the sheet lacks
    notes: tuple[str, ...] = ()  # how ambiguous values were decided


class Skipped(NamedTuple):
    """A file, a sheet or rows that were not taken."""

    file: str
    sheet: str
    rows: tuple[int, ...]  # empty: all of it
    reason: str
    fix: str = ""
    unreadable: bool = False  # True: data may be lost; False: there was nothing to take


class Misread(NamedTuple):
    """Values of a column that could not be understood and are missing in the frame. Never holds the values."""

    file: str
    sheet: str
    column: str
    values: int  # how many
    rows: tuple[int, ...]  # the first of them
    reason: str
    fix: str = ""


class ReadReport(NamedTuple):
    """What `read` took, skipped and could not understand. It lies in `df.attrs["prodkit"]`."""

    source: str
    kind: str
    location: str
    parameters: tuple[tuple[str, str], ...] = ()
    sheets: tuple[SheetRead, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    misread: tuple[Misread, ...] = ()
    rows: int = 0
    copies: int = 0  # rows that were exact copies of a row of another sheet, taken once

    @property
    def files(self) -> int:
        """Files of which rows were taken."""
        return len({sheet.file for sheet in self.sheets})

    @property
    def unreadable(self) -> tuple[Skipped, ...]:
        """The files that may hold data and could not be opened."""
        return tuple(skipped for skipped in self.skipped if skipped.unreadable)

    @property
    def ok(self) -> bool:
        """Whether every file could be opened and every value understood."""
        return not self.unreadable and not self.misread and not any(sheet.missing for sheet in self.sheets)

    def problems(self) -> tuple[str, ...]:
        """One line for each thing that somebody has to mend: what, where and how."""
        lines = [f"{place(s.file, s.sheet)}: {s.reason}" + (f"; {s.fix}" if s.fix else "") for s in self.unreadable]
        lines += [f"{place(s.file, s.sheet)}: no column for {', '.join(s.missing)}" for s in self.sheets if s.missing]
        lines += [_misread_line(misread) for misread in self.misread]
        return tuple(lines)

    def summary(self) -> str:
        """One sentence."""
        text = f"{self.source}: {self.rows:,} rows from {self.files} files"
        counts = (
            (self.copies, "copies taken once"),
            (len(self.unreadable), "files unreadable"),
            (sum(m.values for m in self.misread), "values not understood"),
        )
        return text + "".join(f", {count:,} {what}" for count, what in counts if count) + "."

    def __str__(self) -> str:
        """The summary and the problems, one a line."""
        return "\n".join([self.summary(), *(f"  - {line}" for line in self.problems())])

    def __repr__(self) -> str:
        """The same, because a report is looked at as the value of a cell."""
        return str(self)

    def _repr_html_(self) -> str:
        """For notebooks: the summary, with the problems to unfold."""
        problems = self.problems()
        if not problems:
            return f"<p>{escape(self.summary())}</p>"
        items = "".join(f"<li>{escape(line)}</li>" for line in problems)
        return (
            f"<details><summary>{escape(self.summary())} {len(problems)} things to mend</summary>"
            f"<ul>{items}</ul></details>"
        )


listeners: list[Callable[[ReadReport], None]] = []
"""Called after each reading; a face puts its display here. Without one, problems go to the log `prodkit.sources`."""


def place(file: str, sheet: str, row: int | None = None) -> str:
    """`file.xlsx#Sheet!14`."""
    return file + (f"#{sheet}" if sheet else "") + (f"!{row}" if row is not None else "")


def _misread_line(misread: Misread) -> str:
    rows = ", ".join(str(row) for row in misread.rows) + (", ..." if misread.values > len(misread.rows) else "")
    line = f"{place(misread.file, misread.sheet)}: {misread.values} x {misread.column} {misread.reason} (rows {rows})"
    return line + (f"; {misread.fix}" if misread.fix else "")
