"""From grids to one frame: our names, our values, our types, and where each row comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prodkit.sources.grids import Grid, Header, cell_at, data_rows, find_header, is_blank, plain
from prodkit.sources.report import ORIGIN, Misread, SheetRead, Skipped, place
from prodkit.sources.values import FIXES, parse_column

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from prodkit.sources.options import TableOptions

_FIRST_ROWS = 5


@dataclass
class Harvest:
    """What has been taken so far, a column at a time, and what is to be said about it."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    origins: list[str] = field(default_factory=list)
    sheets: list[SheetRead] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    misread: list[Misread] = field(default_factory=list)

    def take(self, values: dict[str, list[Any]], origins: list[str]) -> None:
        """Add rows; a column that they lack is missing in them, one that is new was missing before."""
        before = len(self.origins)
        for name in values:
            self.columns.setdefault(name, [None] * before)
        for name, column in self.columns.items():
            column.extend(values.get(name, [None] * len(origins)))
        self.origins.extend(origins)


def gather(grids: Iterable[Grid], options: TableOptions, into: Harvest) -> None:
    """Take the data rows of each grid. A grid without a header row or without rows is skipped and said so."""
    for grid in grids:
        header = find_header(grid, options.columns)
        if header is None:
            fix = "add the names that it uses to options.columns, if it holds data"
            into.skipped.append(Skipped(grid.file, grid.sheet, (), "no header row was found", fix))
            continue
        kept, footers = data_rows(grid, header, options.key)
        if footers:
            into.skipped.append(Skipped(grid.file, grid.sheet, _numbers(footers), "a footer"))
        if not kept:
            into.skipped.append(Skipped(grid.file, grid.sheet, (), "there are no rows below the header"))
            continue
        _take(grid, header, kept, options, into)


def frame(harvest: Harvest, options: TableOptions) -> pd.DataFrame:
    """The rows as a frame, with `_origin` as its last column.

    Text columns have pandas' `str` type, numbers float64, moments datetime64 (without a zone, or UTC). A column that no
    sheet has is not in the frame.
    """
    import pandas as pd

    order = [name for name in options.columns if name in harvest.columns] or list(harvest.columns)
    columns = {name: pd.Series(harvest.columns[name], dtype=_dtype(name, options)) for name in order}
    return pd.DataFrame({**columns, ORIGIN: pd.Series(harvest.origins, dtype="str")})


def without_copies(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows without those that equal an earlier one in all columns but `_origin`, and how many those were."""
    copies = rows.duplicated(subset=[name for name in rows.columns if name != ORIGIN], keep="first")
    return rows[~copies].reset_index(drop=True), int(copies.sum())


def _take(grid: Grid, header: Header, kept: list[int], options: TableOptions, into: Harvest) -> None:
    values: dict[str, list[Any]] = {}
    notes = list(grid.notes)
    for name, position in header.columns.items():
        cells = [cell_at(grid.rows[index], position) for index in kept]
        kind = options.types.get(name, "text")
        parsed = parse_column(cells, kind, units=options.units.get(name, ()), timezone=options.timezone)
        words = options.values.get(name, {})  # noqa: PD011  not a frame
        values[name] = _our_words(parsed.values, words)
        notes += parsed.notes
        into.misread += _misread(grid, name, parsed.failed, kept)
    into.take(values, [place(grid.file, grid.sheet, index + 1) for index in kept])
    read = SheetRead(grid.file, grid.sheet, header.index + 1, len(kept), header.ignored, header.missing, tuple(notes))
    into.sheets.append(read)


def _our_words(values: list[Any], words: dict[str, tuple[str, ...]]) -> list[Any]:
    """Replace the words that people use by ours; a word that nobody has mapped stays for the contract to find."""
    if not words:
        return values
    known = {plain(word): ours for ours, others in words.items() for word in (ours, *others)}
    return [value if is_blank(value) else known.get(plain(value), value) for value in values]


def _misread(grid: Grid, column: str, failed: dict[int, str], kept: list[int]) -> list[Misread]:
    by_reason: dict[str, list[int]] = {}
    for position, reason in failed.items():
        by_reason.setdefault(reason, []).append(kept[position])
    return [
        Misread(grid.file, grid.sheet, column, len(at), _numbers(at)[:_FIRST_ROWS], reason, FIXES.get(reason, ""))
        for reason, at in by_reason.items()
    ]


def _numbers(indexes: list[int]) -> tuple[int, ...]:
    """As the spreadsheet numbers rows."""
    return tuple(index + 1 for index in indexes)


def _dtype(name: str, options: TableOptions) -> str:
    kinds = {"number": "float64", "datetime": "datetime64[us, UTC]" if options.timezone else "datetime64[us]"}
    return kinds.get(options.types.get(name, "text"), "str")
