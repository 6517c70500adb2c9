"""Workbooks: every visible sheet as a grid, with merged cells filled; what can't be opened is said, never raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.errors import missing_extra
from prodkit.sources.grids import Grid
from prodkit.sources.report import Skipped

if TYPE_CHECKING:
    from pathlib import Path


def open_workbook(path: Path, label: str) -> tuple[list[Grid], list[Skipped]]:
    """The sheets of a workbook (xlsx, xls, xlsb, ods) and those that were left out. `label` is how reports call it.

    Raises:
        ConfigError: `package.missing` without the extra `excel`.
    """
    try:
        import python_calamine as calamine
    except ImportError:
        raise missing_extra("excel", "reading workbooks") from None
    try:
        with calamine.CalamineWorkbook.from_path(str(path)) as book:
            return _sheets(book, label, calamine.SheetVisibleEnum.Visible)
    except calamine.PasswordError:
        reason, fix = "the workbook is locked with a password", "ask its owner for a copy without one"
    except (calamine.CalamineError, OSError) as error:
        reason, fix = f"the file can't be opened ({type(error).__name__})", "ask its owner to save it again"
    return [], [Skipped(label, "", (), reason, fix, unreadable=True)]


def _sheets(book: Any, file: str, visible: object) -> tuple[list[Grid], list[Skipped]]:
    grids: list[Grid] = []
    skipped: list[Skipped] = []
    for sheet in book.sheets_metadata:
        if sheet.visible != visible:
            skipped.append(Skipped(file, sheet.name, (), "the sheet is hidden", "show it if its rows count"))
        elif grid := _grid(book.get_sheet_by_name(sheet.name), file):
            grids.append(grid)
        else:
            skipped.append(Skipped(file, sheet.name, (), "the sheet is empty"))
    return grids, skipped


def _grid(sheet: Any, file: str) -> Grid | None:
    if sheet.start is None:
        return None
    rows = sheet.to_python(skip_empty_area=False)
    _unmerge(rows, sheet.merged_cell_ranges or ())
    return Grid(file, sheet.name, rows)


def _unmerge(rows: list[list[Any]], ranges: Any) -> None:
    """Give each cell that was merged downwards its value. A title merged over columns stays one cell."""
    for (top, left), (bottom, right) in ranges:
        if left != right:
            continue
        for row in rows[top + 1 : bottom + 1]:
            if left < len(row):
                row[left] = rows[top][left]
