from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pandas.testing import assert_frame_equal

from prodkit.contracts import Contract, infer, validate
from prodkit.contracts.mutation import KINDS, mutate
from prodkit.errors import DataError

COUNTRIES = ["DE", "FR", "NL", "ES", "IT", "PL", "AT", "BE", "SE", "PT", "CZ", "IE", "FI", "GR"]


def make_orders(rows: int, seed: int, start: int = 40_000) -> pd.DataFrame:
    """Ten columns as production has them: a growing key, gaps, skew, a rare category, an order between two times."""
    random = np.random.default_rng(seed)
    ordered = pd.Timestamp("2026-01-05") + pd.to_timedelta(
        np.sort(random.integers(0, 200 * 86_400, rows)) + start, unit="s"
    )
    shipped = pd.Series(ordered + pd.to_timedelta(random.exponential(2 * 86_400, rows).astype(int) + 600, unit="s"))
    shipped[random.random(rows) < 0.2] = pd.NaT
    amount = pd.Series(np.round(np.exp(random.normal(3.5, 0.9, rows)), 2))
    amount[random.random(rows) < 0.1] = np.nan
    weights = np.array([30, 20, 12, 9, 7, 5, 4, 3, 3, 2, 2, 1, 1, 1]) / 100
    return pd.DataFrame(
        {
            "order_id": [f"ORD-{start + number}" for number in range(rows)],
            "customer_id": random.integers(1, 30_000, rows),
            "ordered_at": ordered,
            "shipped_at": shipped,
            "email": [f"c{number}@shop{number % 7}.example.com" for number in random.integers(1, 30_000, rows)],
            "country": random.choice(COUNTRIES, rows, p=weights),
            "status": random.choice(["open", "paid", "shipped", "returned"], rows, p=[0.15, 0.3, 0.5, 0.05]),
            "amount": amount,
            "items": random.poisson(2.0, rows) + 1,
            "note": [" ".join(["please"] * int(count)) for count in random.geometric(0.15, rows)],
        }
    )


@pytest.mark.parametrize("rows", [100, 1_000, 20_000])
def test_drafts_catch_corruption(rows: int) -> None:
    """A contract drafted from a hundred rows or from many catches at least 13 of the 15 kinds of corruption."""
    contract = infer(make_orders(rows, seed=1), "orders")
    killings = mutate(make_orders(500, seed=2, start=90_000), contract)
    caught = [killing.kind for killing in killings if killing.tried and killing.killed == killing.tried]
    partly = [killing.kind for killing in killings if killing.killed]
    assert len(KINDS) == 15
    assert all(killing.tried for killing in killings)
    assert len(partly) >= 13
    assert len(caught) >= 9


@pytest.mark.parametrize(("rows", "draws"), [(100, 12), (1_000, 8), (20_000, 3)])
def test_drafts_leave_later_clean_rows_alone(rows: int, draws: int) -> None:
    """On later clean rows a draft raises at most 0.1 % false alarms, over several draws of both."""
    wrong = checked = 0
    for seed in range(draws):
        contract = infer(make_orders(rows, seed), "orders")
        result = validate(make_orders(4_000, seed + 100, start=60_000 + rows), contract, "warn")
        assert result.whole == ()
        wrong, checked = wrong + result.failed, checked + result.checked
    assert wrong / checked <= 0.001


def test_drafting_changes_nothing() -> None:
    """Drafting leaves the data as it is."""
    orders = make_orders(300, seed=3)
    before = orders.copy(deep=True)
    infer(orders)
    assert_frame_equal(orders, before)


def test_a_draft_is_a_contract_file() -> None:
    """A draft survives its own YAML, with the evidence for each rule."""
    contract = infer(make_orders(300, seed=3), "orders", owner="shop")
    again = Contract.from_yaml(contract.to_yaml())
    assert again.rules == contract.rules
    assert again.owner == "shop"
    evidence = {column.name: dict(column.evidence) for column in again.columns}
    assert "chance" in evidence["order_id"]["unique"]
    assert "no empty cell in 300 rows" in evidence["status"]["required"]


def test_personal_data_is_marked_and_not_listed() -> None:
    """Columns that hold personal data are classified, and their values don't get into the draft."""
    people = pd.DataFrame({"email": ["a@b.example", "c@d.example"] * 200, "first_name": ["Ada", "Bob"] * 200})
    contract = infer(people, "people")
    assert all(column.pii and not column.public for column in contract.columns)
    assert "a@b.example" not in contract.to_yaml()
    assert "Ada" not in contract.to_yaml()


def test_growing_ids_have_no_upper_bound() -> None:
    """Ids that grow are neither bounded nor listed, so tomorrow's rows pass."""
    frame = pd.DataFrame({"id": range(1, 301), "counter": range(5_000, 5_300), "label": ["a", "b", "c"] * 100})
    contract = infer(frame, "t")
    kinds = {rule.id for rule in contract.rules}
    assert "id.maximum" not in kinds
    assert "counter.maximum" not in kinds
    later = pd.DataFrame({"id": [10**9], "counter": [10**9], "label": ["b"]})
    assert validate(later, contract).ok


@pytest.mark.parametrize(
    ("name", "values", "rule", "argument"),
    [
        ("contact", ["ada@example.org", "bob@example.com"], "format", "email"),
        ("token", ["3b241101-e2bb-4255-8caf-4136c566a962", "9b2c1101-e2bb-4255-8caf-4136c566a963"], "format", "uuid"),
        ("day", ["2026-01-31", "2025-12-01"], "format", "date"),
        ("seen", ["2026-01-31T10:00:00Z", "2025-12-01T00:00:01Z"], "format", "date-time"),
        ("home", ["https://a.example/x", "https://b.example/y?z=1"], "format", "uri"),
        ("currency", ["EUR", "USD"], "format", "iso-4217"),
        ("country", ["DE", "FR"], "format", "iso-3166-alpha-2"),
        ("price", ["12.50 EUR", "1,299.00 EUR"], "format", "money"),
        ("plate", ["B-MW 1", "HH-A 99"], None, None),
        ("zip", ["01067", "80331"], "pattern", "^[0-9]{5}$"),
    ],
)
def test_formats_are_recognised(name: str, values: list[str], rule: str | None, argument: str | None) -> None:
    """Text that is written in a known way gets the rule for it."""
    frame = pd.DataFrame({name: [values[place % 2] for place in range(60)]})
    if rule == "pattern":
        frame = pd.DataFrame({name: [f"{place * 977 % 100_000:05d}" for place in range(400)]})
    found = {one.kind: one.argument for one in infer(frame).rules}
    if rule is None:
        assert "format" not in found
    else:
        assert found[rule] == argument


def test_whole_numbers_with_gaps_stay_whole() -> None:
    """Whole numbers that pandas made floats, because they have gaps, are drafted as whole numbers."""
    frame = pd.DataFrame({"count": [1.0, None, 3.0, 7.0] * 50})
    contract = infer(frame)
    assert contract.columns[0].logical_type == "integer"
    assert not validate(pd.DataFrame({"count": [1.5, None]}), contract).ok


def test_names_say_which_time_comes_first() -> None:
    """A column named like an end that never lies before its start gets a rule, and a broken row is found."""
    orders = make_orders(500, seed=4)
    contract = infer(orders)
    swapped = orders.rename(columns={"ordered_at": "shipped_at", "shipped_at": "ordered_at"}).dropna()
    rule = "ordered_at_before_shipped_at"
    assert rule in {one.id for one in contract.table_rules}
    assert rule in {finding.rule for finding in validate(swapped, contract).findings}


def test_polars_and_pandas_draft_the_same() -> None:
    """The same data gives the same draft from pandas and from polars, apart from what the types are called."""
    orders = make_orders(300, seed=5)
    one, other = infer(orders), infer(pl.from_pandas(orders))
    assert [rule.id for rule in one.rules] == [rule.id for rule in other.rules]


def test_a_frame_without_columns_is_refused() -> None:
    """There is nothing to learn from a frame without columns, and that is said."""
    with pytest.raises(DataError) as caught:
        infer(pd.DataFrame())
    assert caught.value.code == "contract.no-columns"


def test_a_frame_without_rows_teaches_names_only() -> None:
    """From a frame without rows a draft knows the columns, and promises nothing about them."""
    contract = infer(pd.DataFrame({"a": pd.Series([], dtype="int64"), "b": pd.Series([], dtype=object)}))
    assert [column.name for column in contract.columns] == ["a", "b"]
    assert not any(column.required for column in contract.columns)


COLUMNS = {
    "whole": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    "small": st.integers(-3, 3),
    "real": st.one_of(st.none(), st.floats()),
    "text": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
    "code": st.from_regex(r"[A-Z]{2}-[0-9]{1,3}", fullmatch=True),
    "truth": st.one_of(st.none(), st.booleans()),
    "moment": st.one_of(st.none(), st.datetimes()),
    "day": st.one_of(st.none(), st.dates()),
    "money": st.one_of(st.none(), st.decimals(-(10**6), 10**6, places=2)),
    "nested": st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=3)),
    "mixed": st.one_of(st.none(), st.integers(), st.text("ab", max_size=2), st.booleans(), st.floats()),
}


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(COLUMNS), min_size=1, max_size=25))
def test_data_keeps_its_own_draft(rows: list[dict[str, object]]) -> None:
    """Whatever the data is, it can be drafted, and keeps its draft but for cells of another type than the others."""
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in COLUMNS})
    result = validate(frame, infer(frame), "warn")
    broken = [finding.rule for finding in result.findings if finding.severity == "error"]
    assert [rule for rule in broken if rule != "mixed.type"] == []


def test_dirty_data_drafts_warnings() -> None:
    """From data of which a few rows are wrong a draft learns what the others keep, as warnings that name those rows."""
    orders = make_orders(1_000, seed=9)
    orders.loc[[3, 50], "status"] = ["PAID", "lost"]
    orders.loc[[4, 51], "email"] = ["nobody", "x@"]
    orders.loc[[5, 52], "order_id"] = ["17", "ORD-40001"]
    orders.loc[[6, 53], "amount"] = -5.0
    result = validate(orders, infer(orders, "orders"))
    assert result.ok
    found = {finding.rule: finding.rows for finding in result.findings}
    assert found == {
        "order_id.mostly_unique": (52,),
        "order_id.mostly_pattern": (5,),
        "email.mostly_email": (4, 51),
        "status.mostly_enum": (3, 50),
        "amount.mostly_not_negative": (6, 53),
    }


@pytest.mark.slow
def test_a_million_rows_teach_as_well() -> None:
    """Learned from a million rows, a draft still catches at least 13 kinds and leaves later rows alone."""
    contract = infer(make_orders(1_000_000, seed=6), "orders")
    killings = mutate(make_orders(500, seed=7, start=90_000), contract)
    assert sum(bool(killing.killed) for killing in killings) >= 13
    later = validate(make_orders(100_000, seed=8, start=2_000_000), contract, "warn")
    assert later.failed / later.checked <= 0.001
