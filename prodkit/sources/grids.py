"""A sheet as cells with their row numbers, and the search for its header row."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEADER_DEPTH = 30  # titles above a table are few; a table whose header is further down is told by the report
_FOOTER = re.compile(
    r"\W*(sub ?total|grand total|total|totals|sum|summe|gesamt|gesamtsumme|anzahl|count|stand|as of|export(ed|iert)?)"
    r"\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of one sheet. `rows[i]` is row `i + 1` of the spreadsheet; an empty cell is None."""

    file: str
    sheet: str
    rows: Sequence[Sequence[Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """Where the table begins and which column is which."""

    index: int  # position of the header in `rows`
    columns: Mapping[str, int]  # our name -> position of the cell
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def is_blank(cell: object) -> bool:
    """Whether nobody has written anything into this cell."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def plain(name: object) -> str:
    """A name for comparing: no case, accents, spaces or punctuation. `E-Mail` and `email` are the same."""
    folded = unicodedata.normalize("NFKD", str(name)).casefold()
    return "".join(letter for letter in folded if letter.isalnum() or letter in "€$%#")


def find_header(grid: Grid, synonyms: Mapping[str, Sequence[str]]) -> Header | None:
    """The row among the first 30 that names the most of our columns, at least half of them and two.

    Args:
        grid: the sheet.
        synonyms: our name -> other names, best first. Empty: the first widest row of text with a row below it.

    Returns:
        None when there is no such row.
    """
    if not synonyms:
        return _widest_row(grid)
    depth = min(HEADER_DEPTH, len(grid.rows))
    found = [(index, _match(grid.rows[index], synonyms)) for index in range(depth)]
    index, columns = max(found, key=lambda entry: (len(entry[1]), -entry[0]), default=(0, {}))
    if len(columns) < max(min(2, len(synonyms)), len(synonyms) / 2):
        return None
    taken = set(columns.values())
    names = [(position, cell) for position, cell in enumerate(grid.rows[index]) if not is_blank(cell)]
    return Header(
        index,
        columns,
        ignored=tuple(str(cell).strip() for position, cell in names if position not in taken),
        missing=tuple(name for name in synonyms if name not in columns),
    )


def data_rows(grid: Grid, header: Header, key: str) -> tuple[list[int], list[int]]:
    """Positions of the rows below the header that hold data, and of those that look like a footer.

    Blank rows are in neither. A footer fills at most half of the columns and says so ("Total", "Stand: ..."), or lacks
    the key.
    """
    kept: list[int] = []
    footers: list[int] = []
    for index in range(header.index + 1, len(grid.rows)):
        row = grid.rows[index]
        if all(is_blank(cell) for cell in row):
            continue
        (footers if _is_footer(row, header, key) else kept).append(index)
    return kept, footers


def _is_footer(row: Sequence[Any], header: Header, key: str) -> bool:
    filled = sum(not is_blank(cell_at(row, position)) for position in header.columns.values())
    if filled * 2 > len(header.columns):
        return False
    if any(isinstance(cell, str) and _FOOTER.match(cell) for cell in row):
        return True
    return key in header.columns and is_blank(cell_at(row, header.columns[key]))


def cell_at(row: Sequence[Any], position: int) -> Any:
    """The cell, None where the row is shorter."""
    return row[position] if position < len(row) else None


def _match(row: Sequence[Any], synonyms: Mapping[str, Sequence[str]]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for position, cell in enumerate(row):
        if isinstance(cell, str) and not is_blank(cell):
            positions.setdefault(plain(cell), position)
    found: dict[str, int] = {}
    for name, others in synonyms.items():
        at = next((positions[plain(other)] for other in (name, *others) if plain(other) in positions), None)
        if at is not None and at not in found.values():
            found[name] = at
    return found


def _widest_row(grid: Grid) -> Header | None:
    named = [(index, _names(row)) for index, row in enumerate(grid.rows[:HEADER_DEPTH])]
    index, columns = max(named, key=lambda entry: (len(entry[1]), -entry[0]), default=(0, {}))
    return Header(index, columns) if columns else None


def _names(row: Sequence[Any]) -> dict[str, int]:
    """The row as names of columns; nothing when a cell isn't text or a name appears twice."""
    cells = [(position, cell) for position, cell in enumerate(row) if not is_blank(cell)]
    if not all(isinstance(cell, str) for _, cell in cells):
        return {}
    names = {cell.strip(): position for position, cell in cells}
    return names if len(names) == len(cells) else {}
