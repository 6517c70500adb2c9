"""Workbooks and projects for the tests of sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
import yaml

from prodkit.manifest import Project, find_project
from prodkit.sources import listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPTIONS: dict[str, Any] = {
    "key": "id",
    "columns": {"id": ["Nr."], "day": ["Date", "Datum"], "amount": ["Betrag", "Amount"], "channel": ["Kanal"]},
    "types": {"day": "datetime", "amount": "number"},
    "units": {"amount": ["€", "EUR"]},
    "values": {"channel": {"email": ["E-Mail"], "phone": ["Telefon"]}},
}


@pytest.fixture
def sheet(tmp_path: Path) -> Callable[..., Path]:
    """Writes a workbook of one sheet: `sheet("a.xlsx", [["Nr.", ...], ...], name="Tabelle1", merge=("A2:A3",))`."""

    def write(file: str, rows: list[list[Any]], name: str = "Sheet1", merge: tuple[str, ...] = ()) -> Path:
        book = openpyxl.Workbook()
        book.active.title = name
        for row in rows:
            book.active.append(row)
        for cells in merge:
            book.active.merge_cells(cells)
        path = tmp_path / "data" / file
        path.parent.mkdir(exist_ok=True, parents=True)
        book.save(path)
        return path

    return write


@pytest.fixture
def sources(tmp_path: Path) -> Callable[..., Project]:
    """Makes a project with one source `orders`; keywords override its entry in the manifest."""

    def make(**entry: Any) -> Project:
        source = {"kind": "excel", "location": "data/*.xlsx", "options": OPTIONS, **entry}
        text = yaml.safe_dump({"service": {"name": "demo"}, "data_sources": {"orders": source}})
        (tmp_path / "prodkit.yaml").write_text(text)
        return find_project(tmp_path)

    return make


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """The reports that a face would show."""
    reports: list[Any] = []
    listeners.append(reports.append)
    yield reports
    listeners.remove(reports.append)
