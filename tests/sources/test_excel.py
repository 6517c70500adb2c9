"""Workbooks as people keep them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openpyxl
import pandas as pd
import pytest

from prodkit.errors import DataError
from prodkit.sources import ORIGIN, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.manifest import Project

HEAD = ["Nr.", "Datum", "Betrag", "Kanal"]
ROW = ["A1", "25/11/2026", "1.234,50", "E-Mail"]


def test_header_titles_footer_and_blank_rows(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """Titles above, blank rows inside and a total below a table are no data, and the footer's row is reported."""
    rows = [
        ["Orders"],
        [],
        [None, *HEAD],
        [None, *ROW],
        [],
        [None, "A2", "03/11/2026", "2,00", "Telefon"],
        [None, "Summe", 2],
    ]
    sheet("a.xlsx", rows)
    frame = read("orders", project=sources())
    report = frame.attrs["prodkit"]
    assert frame["id"].tolist() == ["A1", "A2"]
    assert frame["amount"].tolist() == [1234.5, 2.0]
    assert frame["day"].dt.day.tolist() == [25, 3]
    assert frame["channel"].tolist() == ["email", "phone"]
    assert frame[ORIGIN].tolist() == ["a.xlsx#Sheet1!4", "a.xlsx#Sheet1!6"]
    assert report.sheets[0].header_row == 3
    assert [(s.reason, s.rows) for s in report.skipped] == [("a footer", (7,))]


def test_merged_cells_belong_to_each_row(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """A date merged over three rows is the date of each; a title merged over columns isn't a column."""
    rows = [["Orders of November", None, None, None], HEAD, ROW, ["A2", None, "1,00", None], ["A3", None, "2,00", "x"]]
    sheet("a.xlsx", rows, merge=("A1:D1", "B3:B5"))
    frame = read("orders", project=sources())
    assert frame["day"].dt.day.tolist() == [25, 25, 25]
    assert pd.isna(frame["channel"][1])


def test_a_sheet_without_our_columns_is_skipped_and_said_so(
    tmp_path: Path, sheet: Callable[..., Path], sources: Callable[..., Project]
) -> None:
    """Notes, empty and hidden sheets beside the data are named with a reason."""
    path = sheet("a.xlsx", [HEAD, ROW])
    book = openpyxl.load_workbook(path)
    book.create_sheet("Notes").append(["to be done"])
    book.create_sheet("Pivot")
    book.create_sheet("old").append(HEAD)
    book["old"].append(ROW)
    book["old"].sheet_state = "hidden"
    book.create_sheet("Template").append(HEAD)
    book.save(path)
    frame = read("orders", project=sources())
    assert len(frame) == 1
    assert {s.sheet: s.reason for s in frame.attrs["prodkit"].skipped} == {
        "Notes": "no header row was found",
        "Pivot": "the sheet is empty",
        "old": "the sheet is hidden",
        "Template": "there are no rows below the header",
    }


def test_what_cannot_be_opened_is_reported_and_strict_refuses(
    tmp_path: Path, sheet: Callable[..., Path], sources: Callable[..., Project]
) -> None:
    """One broken file doesn't lose the others; `strict` makes one error of everything that is wrong."""
    sheet("a.xlsx", [HEAD, ["A1", "03/11/2026", "1,00", "x"]])
    (tmp_path / "data" / "b.xlsx").write_bytes(b"PK\x03\x04 broken off")
    (tmp_path / "data" / "c.xlsx").write_bytes(b"")
    (tmp_path / "data" / "~$a.xlsx").write_bytes(b"a lock file of the spreadsheet")
    report = read("orders", project=sources()).attrs["prodkit"]
    assert [s.file for s in report.unreadable] == ["b.xlsx", "c.xlsx"]
    assert not report.ok
    with pytest.raises(DataError, match=r"without loss: 3 problems") as caught:
        read("orders", project=sources(), strict=True)
    assert all(part in caught.value.fix for part in ("b.xlsx", "c.xlsx", "day/month"))


def test_nothing_readable_is_an_error(
    tmp_path: Path, sheet: Callable[..., Path], sources: Callable[..., Project]
) -> None:
    """A source of which nothing could be read never becomes an empty frame."""
    sheet("a.xlsx", [["something else"], ["x"]])
    with pytest.raises(DataError, match=r"sources\.unreadable"):
        read("orders", project=sources())


def test_a_missing_column_is_left_out_and_named(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """A column that no file has isn't invented; the report names it, and strict refuses."""
    sheet("a.xlsx", [["Nr.", "Datum", "Kanal"], ["A1", "2026-11-03", "fax"]])
    frame = read("orders", project=sources())
    assert "amount" not in frame.columns
    assert frame["channel"].tolist() == ["fax"]
    assert frame.attrs["prodkit"].sheets[0].missing == ("amount",)
    with pytest.raises(DataError, match=r"sources\.not-clean"):
        read("orders", project=sources(), strict=True)


def test_copies_are_taken_once(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """A row that stands in two files alike, however each writes it, is taken once; one that differs stays."""
    sheet("a.xlsx", [HEAD, ["A1", "2026-11-25", 1234.5, "email"], ["A2", "2026-11-25", 1, "email"]])
    sheet("b.xlsx", [HEAD, ROW, ["A2", "2026-11-25", "9,00", "email"]])
    options = {
        "columns": {"id": ["Nr."], "day": ["Datum"], "amount": ["Betrag"], "channel": ["Kanal"]},
        "types": {"day": "datetime", "amount": "number"},
        "values": {"channel": {"email": ["E-Mail"]}},
        "drop_copies": True,
    }
    frame = read("orders", project=sources(options=options))
    assert frame["id"].tolist() == ["A1", "A2", "A2"]
    assert frame.attrs["prodkit"].copies == 1


def test_a_source_without_options_keeps_its_own_names(
    sheet: Callable[..., Path], sources: Callable[..., Project]
) -> None:
    """Without a mapping the first widest row of text is the header and all columns are kept."""
    sheet("a.xlsx", [["Report"], ["Name", "Points"], ["Ann", 3], ["Bob", 4]])
    frame = read("orders", project=sources(options={}))
    assert list(frame.columns) == ["Name", "Points", ORIGIN]
    assert frame["Points"].tolist() == ["3", "4"]


def test_the_report_travels_with_the_frame(
    tmp_path: Path, sheet: Callable[..., Path], sources: Callable[..., Project], heard: list[Any]
) -> None:
    """The report survives copying and parquet, is shown once, and holds no value of the data."""
    sheet("a.xlsx", [HEAD, ["secret-id", "31.02.2026", "12 Taler", "x"]])
    frame = read("orders", project=sources())
    report = frame.attrs["prodkit"]
    assert heard == [report]
    frame.to_parquet(tmp_path / "x.parquet")
    assert json.loads(json.dumps(report))[0] == "orders"
    for text in (str(report), report._repr_html_(), repr(report)):
        assert "secret-id" not in text
        assert "Taler" not in text
        assert "31.02" not in text
    assert "1 x amount isn't a number (rows 2)" in str(report)


def test_a_clean_reading_says_one_sentence(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """Nothing to mend, nothing to unfold."""
    sheet("a.xlsx", [HEAD, ROW])
    report = read("orders", project=sources(), strict=True).attrs["prodkit"]
    assert report.ok
    assert str(report) == "orders: 1 rows from 1 files."
    assert "<details" not in report._repr_html_()
