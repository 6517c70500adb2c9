"""Profiles and drift."""

from __future__ import annotations

import json
import math
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from prodkit.errors import DataError
from prodkit.profile import History, Profile, drift, profile
from prodkit.profile.drift import psi


def frame(seed=0, rows=2000, shift=0.0):
    dice = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": dice.normal(100 + shift, 10, rows),
            "priority": dice.choice(["low", "high", "urgent"], rows, p=[0.6, 0.3, 0.1]),
            "name": [f"canary-{number}" for number in range(rows)],
            "at": pd.Timestamp("2026-01-01") + pd.to_timedelta(dice.integers(0, 10**6, rows), unit="s"),
            "open": dice.random(rows) < 0.5,
        }
    )


def test_no_raw_values():
    """A profile holds the names of frequent categories and no value of a column with many, or of a personal one."""
    text = json.dumps(profile(frame(), personal=["priority"]).to_json())
    assert "canary" not in text
    assert "urgent" not in text
    assert "urgent" in json.dumps(profile(frame()).to_json())


def test_clean():
    """Names of categories go through the given cleaning."""
    text = json.dumps(profile(frame(), clean=lambda name: name.upper()).to_json())
    assert "URGENT" in text
    assert "urgent" not in text


def test_kinds():
    """Numbers, times, categories, texts and booleans are told apart, nulls are counted."""
    table = frame(rows=200)
    table.loc[:19, "amount"] = np.nan
    found = profile(table)
    assert {column.name: column.kind for column in found.columns} == {
        "amount": "number",
        "priority": "category",
        "name": "text",
        "at": "time",
        "open": "category",
    }
    assert found.column("amount").nulls == 20
    assert sum(found.column("amount").bins) == 180


def test_libraries():
    """pandas, polars and pyarrow give the same distribution."""
    table = frame()[["amount", "priority"]]
    bins = [
        [column.bins for column in profile(one).columns]
        for one in (table, pl.from_pandas(table), pl.from_pandas(table).lazy(), pa.Table.from_pandas(table))
    ]
    assert all(one == bins[0] for one in bins)


def test_round_trip():
    """A profile comes back from its JSON as it was."""
    found = profile(frame())
    assert Profile.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_psi():
    """The index is the sum of (q - p) ln(q / p)."""
    assert psi([50, 50], [25, 75]) == pytest.approx(-0.25 * math.log(0.5) + 0.25 * math.log(1.5))
    assert psi([10, 0], [10, 0]) == 0


def test_a_shift_is_found():
    """Moved numbers, other shares of categories, more nulls, other types and columns are named with the column."""
    then = profile(frame())
    later = frame(seed=1, shift=10)
    later["priority"] = "urgent"
    later.loc[later.index % 2 == 0, "at"] = pd.NaT
    later["open"] = later["open"].astype(int)
    later["more"] = 1
    found = drift(then, profile(later.drop(columns="name"), like=then))
    assert {shift.column: shift.what for shift in found.shifts} == {
        "amount": "the distribution has moved",
        "priority": "the distribution has moved",
        "at": "empty values were 0.0% and are 50.0%",
        "open": "the type was bool and is int64",
        "name": "the column is gone",
        "more": "the column is new",
    }
    assert found.level == "major"
    assert found.metrics("tickets")["drift.tickets.psi.amount"] > 0.25


@pytest.mark.parametrize("rows", [40, 200, 5000])
def test_no_shift(rows):
    """Samples of one population, also small ones, are called moved in at most 3 of 100 columns."""
    then = profile(frame(rows=rows))
    compared = wrong = 0
    for seed in range(1, 45):
        found = drift(then, profile(frame(seed=seed, rows=rows), like=then))
        compared += len(found.psi)
        wrong += len(found.shifts)
    assert compared > 200
    assert wrong <= 0.03 * compared


def test_new_category():
    """A category that wasn't there before counts among the others and is found."""
    then = profile(pd.DataFrame({"x": ["a", "b"] * 500}))
    now = profile(pd.DataFrame({"x": ["a", "b", "c"] * 300}), like=then)
    assert [shift.level for shift in drift(then, now).shifts] == ["major"]


@pytest.mark.parametrize(
    "column",
    [
        [],
        [None] * 50,
        [1, "a", None] * 20,
        [Decimal("1.5"), Decimal(2)] * 20,
        [date(2026, 1, 1)] * 40,
        [[1, 2]] * 40,
        [{"a": 1}] * 40,
        [b"x"] * 40,
        [float("inf"), float("nan"), 1.0] * 20,
    ],
)
def test_odd_columns(column):
    """Empty, mixed, nested and decimal columns have a profile, and one that equals itself."""
    table = pd.DataFrame(
        {"x": pd.Series(column, dtype=object if column and not isinstance(column[0], float) else None)}
    )
    then = profile(table)
    assert drift(then, profile(table, like=then)).shifts == ()


def test_duplicate_names_and_wide_tables():
    """Two columns of one name and 2,000 columns are no problem; no table is one error."""
    assert len(profile(pd.DataFrame([[1, 2]], columns=["a", "a"])).columns) == 2
    assert len(profile(pd.DataFrame(np.zeros((3, 2000)))).columns) == 2000
    with pytest.raises(DataError) as caught:
        profile([1, 2])
    assert caught.value.code == "profile.no-frame"


def test_history(tmp_path):
    """The latest profile of other data is found, the same data takes its place, and at most 50 are kept."""
    history = History(tmp_path / "profiles")
    assert history.last("tickets") is None
    one, two = profile(frame(rows=50)), profile(frame(seed=1, rows=60))
    history.keep("tickets", "pk1:1", one)
    history.keep("tickets", "pk1:2", two)
    history.keep("tickets", "pk1:2", two)
    assert history.last("tickets").fingerprint == "pk1:2"
    assert history.last("tickets", other_than="pk1:2").profile == one
    assert history.last("other/tickets") is None
    small = profile(pd.DataFrame({"x": [1]}))
    for number in range(60):
        history.keep("x", f"pk1:{number}", small)
    assert len(json.loads(next(tmp_path.glob("profiles/x-*.json")).read_text())) == 50


def test_broken_history(tmp_path):
    """A broken file is one error with its place and the fix."""
    history = History(tmp_path)
    history.keep("x", "pk1:1", profile(pd.DataFrame({"x": [1]})))
    next(tmp_path.glob("x-*.json")).write_text('[{"no": "profile"}]')
    with pytest.raises(DataError) as caught:
        history.last("x")
    assert caught.value.code == "profile.unreadable"
    assert caught.value.where
