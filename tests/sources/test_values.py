"""Localised values are understood by evidence, never by guess."""

# ruff: noqa: DTZ001  what a spreadsheet says has no zone
from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, strategies as st

from prodkit.sources.values import parse_column


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("03.11.2026", datetime(2026, 11, 3)),
        ("3. 11. 26", datetime(2026, 11, 3)),
        ("2026-11-03", datetime(2026, 11, 3)),
        ("2026-11-03 14:05", datetime(2026, 11, 3, 14, 5)),
        ("2026-11-03T14:05:09", datetime(2026, 11, 3, 14, 5, 9)),
        ("25/11/2026", datetime(2026, 11, 25)),
        ("11/25/2026", datetime(2026, 11, 25)),
        ("11/11/2026", datetime(2026, 11, 11)),
        ("3. November 2026", datetime(2026, 11, 3)),
        ("3. März 2026", datetime(2026, 3, 3)),
        ("Nov 3, 2026", datetime(2026, 11, 3)),
        (46329, datetime(2026, 11, 3)),
        (46329.446527777774, datetime(2026, 11, 3, 10, 43)),
        (date(2026, 11, 3), datetime(2026, 11, 3)),
        (datetime(2026, 11, 3, 9), datetime(2026, 11, 3, 9)),
    ],
)
def test_dates_that_can_be_read_one_way_only_are_read(cell: object, expected: datetime) -> None:
    """A date that has one reading needs no evidence."""
    column = parse_column([cell], "datetime")
    assert column.values == [expected]
    assert column.failed == {}


@pytest.mark.parametrize(
    "cell", ["31.02.2026", "2026-13-05", "32/01/2026", "soon", "3. Nomember 2026", 7, True, "25:00"]
)
def test_impossible_dates_are_missing_and_said_so(cell: object) -> None:
    """A day that doesn't exist becomes missing with a reason, never a neighbouring day."""
    column = parse_column([cell], "datetime")
    assert column.values == [None]
    assert column.failed == {0: "isn't a date"}


def test_the_columns_evidence_decides_day_and_month() -> None:
    """One value that can only be day/month decides the column, and a note says so."""
    day_first = parse_column(["03/11/2026", "25/11/2026"], "datetime")
    month_first = parse_column(["03/11/2026", "11/25/2026"], "datetime")
    assert day_first.values[0] == datetime(2026, 11, 3)
    assert month_first.values[0] == datetime(2026, 3, 11)
    assert "day/month: 1 of 2" in day_first.notes[0]


def test_nothing_decides_day_and_month() -> None:
    """Without evidence, or with evidence for both, an ambiguous date is missing and reported."""
    for cells in (["03/11/2026", "04/11/2026"], ["03/11/2026", "25/11/2026", "11/25/2026"]):
        column = parse_column(cells, "datetime")
        assert column.values[0] is None
        assert "nothing in the file decides it" in column.failed[0]


def test_a_zone_makes_utc_and_an_offset_without_a_zone_is_reported() -> None:
    """Times become UTC where the source says its zone; a stray offset is never dropped silently."""
    assert parse_column(["2026-07-01 12:00"], "datetime", timezone="Europe/Berlin").values == [
        datetime(2026, 7, 1, 10, tzinfo=UTC)
    ]
    assert parse_column(["2026-07-01T12:00:00+02:00"], "datetime", timezone="UTC").values == [
        datetime(2026, 7, 1, 10, tzinfo=UTC)
    ]
    assert parse_column(["2026-07-01T12:00:00Z"], "datetime").failed == {
        0: "has a UTC offset, and the source has no zone"
    }


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.234,50"], [1234.5]),
        (["1,234.50"], [1234.5]),
        (["12,5"], [12.5]),
        (["-0.125"], [-0.125]),
        (["1.234.567"], [1234567.0]),
        (["1'234.50"], [1234.5]),
        (["1 234,50"], [1234.5]),
        (["1.234", "5,50"], [1234.0, 5.5]),
        (["1.234", "5.50"], [1.234, 5.5]),
        (["42", "+7", 3, 2.5], [42.0, 7.0, 3.0, 2.5]),
        (["1.234,50 €", "EUR 2,00"], [1234.5, 2.0]),
    ],
)
def test_numbers_are_read_by_the_columns_evidence(cells: list[object], expected: list[float]) -> None:
    """Decimal and grouping separators are told apart by what the column proves."""
    column = parse_column(cells, "number", units=("€", "EUR"))
    assert column.values == expected
    assert column.failed == {}


@pytest.mark.parametrize("cell", ["1.234", "7,500"])
def test_numbers_without_evidence_are_missing(cell: str) -> None:
    """`1.234` alone is a thousand or one; it becomes missing and the reason is given."""
    assert "nothing in the file decides it" in parse_column([cell], "number").failed[0]


@pytest.mark.parametrize("cell", ["12 USD", "a", "1,23,456.78", "1.2.3", "--4", True, float("nan"), "12,50-"])
def test_what_is_no_number_is_missing(cell: object) -> None:
    """A foreign unit or a broken grouping is not guessed at."""
    column = parse_column([cell], "number", units=("EUR",))
    assert column.values == [None]
    assert column.failed == {0: "isn't a number"}


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=2))
def test_every_amount_survives_both_ways_of_writing(amount: object) -> None:
    """Writing an amount the German or the English way with two decimals loses nothing."""
    english = f"{amount:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert parse_column([english, german], "number").values == [float(str(amount))] * 2


@given(st.text(max_size=30), st.sampled_from(["text", "number", "datetime"]))
def test_no_text_crashes_the_reading(text: str, kind: str) -> None:
    """Whatever people write, a cell is understood, missing or reported."""
    column = parse_column([text], kind)
    assert (column.values == [None]) or column.failed == {}


def test_text_shows_what_a_person_sees() -> None:
    """A ticket number that the spreadsheet holds as a float is text without `.0`."""
    assert parse_column([12345.0, " T-1 ", None, ""], "text").values == ["12345", "T-1", None, None]
