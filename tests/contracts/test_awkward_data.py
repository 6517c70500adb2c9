from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from prodkit.contracts import Contract, infer, validate
from prodkit.errors import DataError


def contract(*columns: str, table: str = "") -> Contract:
    lines = "".join(f"      - {{{column}}}\n" for column in columns)
    head = "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n"
    return Contract.from_yaml(f"{head}    properties:\n{lines}{table}")


def rules(result: Any) -> dict[str, tuple[int, ...]]:
    return {finding.rule: finding.rows for finding in result.findings}


def test_mixed_types_are_told_by_row() -> None:
    """In a column of mixed objects the cells of another type are found at their rows, and the others are checked."""
    mixed = pd.DataFrame({"n": pd.Series([1, "2", None, 3.0, True, 99], dtype=object)})
    result = validate(mixed, contract("name: n, logicalType: integer, logicalTypeOptions: {maximum: 50}"), "quarantine")
    assert rules(result) == {"n.type": (1, 3, 4), "n.maximum": (5,)}
    assert list(result.valid["n"]) == [1, None]


def test_wrong_cells_arent_called_missing() -> None:
    """A cell of a wrong type breaks the type, not the demand that it be filled."""
    result = validate(
        pd.DataFrame({"s": pd.Series(["a", 5, None], dtype=object)}),
        contract("name: s, logicalType: string, required: true"),
    )
    assert rules(result) == {"s.type": (1,), "s.required": (2,)}


def test_doubled_columns_are_one_clear_error() -> None:
    """Two columns of one name are refused with the name, by checking and by drafting."""
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    for act in (lambda: validate(frame, contract("name: a")), lambda: infer(frame)):
        with pytest.raises(DataError, match="`a`") as caught:
            act()
        assert caught.value.code == "contract.duplicate-columns"


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame({"a": [], "b": []}), pl.DataFrame({"a": [], "b": []}, schema={"a": pl.Int64, "b": pl.String})],
)
def test_no_rows_are_kept_and_said(frame: Any) -> None:
    """A frame without rows breaks no rule about rows; that nothing was checked is said."""
    result = validate(
        frame, contract("name: a, logicalType: integer, required: true", "name: b, logicalType: string, unique: true")
    )
    assert result.ok
    assert rules(result) == {"empty": ()}
    assert "No rows" in result.to_markdown()
    assert "No rows" in result.to_html()


def test_no_rows_of_a_wrong_type_are_seen() -> None:
    """Where the frame states types, a wrong one is found without rows too; pandas states none."""
    agreed = contract("name: a, logicalType: integer")
    assert not validate(pl.DataFrame({"a": []}, schema={"a": pl.String}), agreed).ok
    assert validate(pd.DataFrame({"a": []}, dtype=object), agreed).ok


def test_row_counts_are_held() -> None:
    """A contract that wants rows isn't kept by a frame without any."""
    agreed = contract("name: a", table="    quality: [{metric: rowCount, mustBeGreaterThan: 0, id: some}]\n")
    result = validate(pd.DataFrame({"a": []}), agreed)
    assert result.whole == ("some",)
    assert not result.ok


def test_two_thousand_columns() -> None:
    """Two thousand columns are checked in one go, and the one bad cell is found."""
    names = [f"c{number}" for number in range(2000)]
    frame = pd.DataFrame(np.zeros((5, 2000)), columns=names)
    frame.loc[3, "c1234"] = -1
    agreed = contract(
        *(f"name: {name}, logicalType: number, required: true, logicalTypeOptions: {{minimum: 0}}" for name in names)
    )
    assert rules(validate(frame, agreed)) == {"c1234.minimum": (3,)}


def test_decimals_are_compared_exactly() -> None:
    """A tenth is a tenth: decimals are compared as decimals."""
    frame = pd.DataFrame({"d": [Decimal("0.1"), Decimal("0.10000000000000000001"), None]})
    assert rules(validate(frame, contract("name: d, logicalType: number, logicalTypeOptions: {maximum: 0.1}"))) == {
        "d.maximum": (1,)
    }


def test_huge_integers_are_compared_exactly() -> None:
    """Integers beyond 64 bits are compared, not wrapped."""
    frame = pd.DataFrame({"n": pd.Series([10**30, 1], dtype=object)})
    assert rules(validate(frame, contract("name: n, logicalType: integer, logicalTypeOptions: {maximum: 10}"))) == {
        "n.maximum": (0,)
    }


def test_time_zones_are_understood() -> None:
    """Moments are compared as moments in any zone; whether a zone is wanted is a rule of its own."""
    berlin = pd.date_range("2026-01-01T00:30", periods=2, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"t": berlin})
    assert rules(
        validate(
            frame, contract("name: t, logicalType: timestamp, logicalTypeOptions: {minimum: '2026-01-01T00:00:00Z'}")
        )
    ) == {"t.minimum": (0,)}
    assert validate(frame, contract("name: t, logicalType: timestamp, logicalTypeOptions: {timezone: true}")).ok
    assert rules(
        validate(frame, contract("name: t, logicalType: timestamp, logicalTypeOptions: {timezone: false}"))
    ) == {"t.timezone": (0, 1)}
    mixed = pd.DataFrame({"t": pd.Series([datetime(2026, 1, 1, tzinfo=UTC), datetime(2020, 1, 1)], dtype=object)})  # noqa: DTZ001
    assert rules(
        validate(mixed, contract("name: t, logicalType: timestamp, logicalTypeOptions: {minimum: '2025-01-01'}"))
    ) == {"t.minimum": (1,)}


def test_categoricals_are_what_they_hold() -> None:
    """A categorical column is checked by its values, unused categories don't count."""
    frame = pd.DataFrame({"c": pd.Categorical(["a", "b", None], categories=["a", "b", "zz"])})
    agreed = contract(
        "name: c, logicalType: string, quality: [{metric: invalidValues, arguments: {validValues: [a]}, mustBe: 0}]"
    )
    assert rules(validate(frame, agreed)) == {"c.enum": (1,)}
    assert rules(validate(pl.from_pandas(frame), agreed)) == {"c.enum": (1,)}


def test_nested_types_are_checked_inside() -> None:
    """Rules of fields in objects and of items in arrays are told by the row that they lie in."""
    rows = [{"city": "Ulm", "zip": 1}, {"city": None, "zip": 2}, None, {"city": "Rom", "zip": -3}]
    frame = pd.DataFrame({"a": rows, "tags": [["x"], [], None, ["x", "toolong"]]})
    agreed = contract(
        "name: a, logicalType: object, properties: [{name: city, logicalType: string, required: true}, {name: zip, logicalType: integer, logicalTypeOptions: {minimum: 0}}]",
        "name: tags, logicalType: array, logicalTypeOptions: {minItems: 1}, items: {logicalType: string, logicalTypeOptions: {maxLength: 3}}",
    )
    expected = {"a.city.required": (1,), "a.zip.minimum": (3,), "tags.minItems": (1,), "tags[].maxLength": (3,)}
    assert rules(validate(frame, agreed)) == expected
    assert rules(validate(pa.Table.from_pandas(frame), agreed)) == expected
    assert rules(validate(pl.DataFrame(pa.Table.from_pandas(frame)), agreed)) == expected


def test_nested_types_are_drafted() -> None:
    """A frame with nested columns can be drafted, and keeps its draft."""
    frame = pd.DataFrame({"a": [{"x": 1}] * 30, "b": [[1, 2]] * 30})
    drafted = infer(frame)
    assert [column.logical_type for column in drafted.columns] == ["object", "array"]
    assert validate(frame, drafted).ok


@pytest.mark.parametrize(
    ("values", "logical"),
    [
        (pd.array([1, None, 3], dtype="Int64"), "integer"),
        (pd.array([1, None, 3], dtype="Int8"), "integer"),
        (pd.array([1.5, None], dtype="Float32"), "number"),
        (pd.array([True, None], dtype="boolean"), "boolean"),
        (pd.array(["a", None], dtype="string"), "string"),
        (pd.array(["a", None], dtype=pd.ArrowDtype(pa.string())), "string"),
        (pd.array([1, 2], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), "number"),
        (pd.arrays.SparseArray([0, 0, 1]), "integer"),
        (np.array([1.5, 2.5], dtype="float16"), "number"),
        (np.array(["2026-01-01", "NaT"], dtype="datetime64[s]"), "timestamp"),
        ([date(2026, 1, 1), None], "date"),
        ([b"x"], ""),
        ([None, None], "string"),
        ([np.nan, np.nan], "string"),
    ],
    ids=str,
)
def test_every_representation_of_a_type_counts(values: Any, logical: str) -> None:
    """A logical type is met by every way in which pandas holds it, extension types too."""
    frame = pd.DataFrame({"v": values})
    assert validate(frame, contract(f"name: v, logicalType: {logical}" if logical else "name: v")).ok
    assert validate(frame, infer(frame)).ok


@pytest.mark.parametrize(
    ("values", "logical", "name"),
    [
        (["1", "2"], "integer", "str"),
        ([1, 0], "boolean", "int64"),
        ([True, False], "integer", "bool"),
        ([1.0, 2.0], "integer", "float64"),
        (["2026-01-01"], "timestamp", "str"),
        (pd.period_range("2026", periods=2, freq="Y"), "timestamp", "period"),
        (pd.interval_range(0, 2), "number", "interval"),
        (pd.to_timedelta([1, 2], unit="s"), "number", "timedelta"),
        ([1 + 2j], "number", "complex"),
    ],
    ids=str,
)
def test_another_type_is_a_finding_not_a_crash(values: Any, logical: str, name: str) -> None:
    """A column of another type is one finding with both types, and nothing is converted."""
    result = validate(pd.DataFrame({"v": values}), contract(f"name: v, logicalType: {logical}, unique: true"), "warn")
    [finding] = [finding for finding in result.findings if finding.rule == "v.type"]
    assert logical in finding.what or finding.rows
    assert name in finding.what or finding.rows


def test_tolerances_are_about_the_column() -> None:
    """A rule that allows a share of bad rows is kept within it, and beyond it blames the column and no row."""
    agreed = contract(
        "name: a, logicalType: integer, quality: [{metric: nullValues, mustBeLessOrEqualTo: 10, unit: percent, id: gaps}]"
    )
    within, beyond = pd.DataFrame({"a": [1.0] * 9 + [None]}), pd.DataFrame({"a": [1.0] * 8 + [None] * 2})
    assert validate(within, agreed).ok
    result = validate(beyond, agreed, "quarantine")
    assert result.whole == ("a.gaps",)
    with pytest.raises(DataError):
        _ = result.valid


def test_warnings_dont_refuse() -> None:
    """A rule of severity warning is reported and lets the rows go on."""
    agreed = contract(
        "name: a, quality: [{metric: invalidValues, severity: warning, arguments: {validValues: [1]}, mustBe: 0}]"
    )
    result = validate(pd.DataFrame({"a": [1, 2]}), agreed)
    assert result.ok
    assert [finding.severity for finding in result.findings] == ["warning"]
    assert len(result.valid) == 2


def test_rules_for_other_engines_are_said() -> None:
    """Rules that need another engine, or a person, are listed as not checked, never passed over."""
    agreed = contract(
        "name: a, quality: [{type: text, description: 'Reviewed by Ana', id: t}, {type: custom, engine: soda, implementation: x, id: s}]"
    )
    result = validate(pd.DataFrame({"a": [1]}), agreed)
    assert result.unchecked == ("a.t: is written for people", "a.s: needs the engine `soda`")
    assert "not checked: a.t: is written for people" in result.to_markdown()


OUTSIDE = pd.DataFrame({"a": [1]})
QUERIES = {
    ("SELECT COUNT(*) FROM ${object} WHERE ${property} IS NULL", "mustBe: 1"): "",
    ("SELECT AVG(${column}) FROM ${table}", "mustBeBetween: [1, 2]"): "",
    ("SELECT COUNT(*) FROM {table} WHERE {column} > 1", "mustBeLessThan: 1"): "the query must give fewer than 1",
    ("SELECT COUNT(*) FROM t", "mustBe: 3"): "",
    ("SELECT MAX(a) FROM missing", "mustBe: 1"): "CatalogException",
    ("SELECT MAX(b) FROM ${table}", "mustBe: 1"): "no number",
    ("SELECT a FROM ${table}", "mustBe: 1"): "one figure",
    ("DROP VIEW ${table}", "mustBe: 1"): "isn't one SELECT",
    ("SELECT COUNT(*) FROM read_text('/etc/hosts')", "mustBeGreaterThan: 0"): "Exception",
    ("SELECT COUNT(*) FROM OUTSIDE", "mustBeGreaterThan: 0"): "CatalogException",
}


@pytest.mark.parametrize("query", QUERIES, ids=[text for text, _ in QUERIES])
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_queries_are_run(query: tuple[str, str], make: Any) -> None:
    """A rule of the type sql is checked over the frame alone; one that can't be run is a finding, without values."""
    text, comparison = query
    quoted = text.replace("'", "''")
    agreed = contract(
        f"name: a, physicalName: A, quality: [{{type: sql, query: '{quoted}', {comparison}, id: q}}]", "name: b"
    )
    result = validate(make({"A": [1, 2, None], "b": ["x", "y", None]}), agreed)
    found = [finding.what for finding in result.findings if finding.rule == "a.q"]
    if QUERIES[query]:
        assert QUERIES[query] in found[0]
        assert not result.ok
    else:
        assert found == []
        assert result.ok


def test_queries_without_duckdb_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DuckDB isn't installed, rules of the type sql are listed as not checked, with the line that installs it."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    agreed = contract("name: a, quality: [{type: sql, query: 'SELECT 1', mustBe: 2, id: q}]")
    assert validate(pd.DataFrame({"a": [1]}), agreed).unchecked == ("a.q: a query needs DuckDB: pip install duckdb",)


def test_checks_that_fail_are_findings() -> None:
    """A pandera check that ends with an exception is a finding that names its kind and no value."""
    agreed = contract(
        "name: a, quality: [{type: custom, engine: pandera, implementation: {check: str_matches, pattern: x}}]"
    )
    [finding] = validate(pd.DataFrame({"a": [1234567]}), agreed).findings
    assert "AttributeError" in finding.what
    assert "1234567" not in str(finding)


def test_names_with_dots_and_numbers_are_names() -> None:
    """A column whose name has a dot, or is a number, is found by its name."""
    frame = pd.DataFrame({"a.b": [1, -1], 7: [1, 2]})
    agreed = contract(
        "name: a.b, logicalType: integer, logicalTypeOptions: {minimum: 0}",
        "name: '7', logicalType: integer, unique: true",
    )
    assert rules(validate(frame, agreed)) == {"a.b.minimum": (1,)}
    assert validate(frame, infer(frame)).ok


def test_physical_names_are_found() -> None:
    """A column is found by its physical name when the frame has it under that."""
    agreed = contract(
        "name: amount, physicalName: AMT, logicalType: integer, required: true, logicalTypeOptions: {minimum: 0}"
    )
    assert rules(validate(pd.DataFrame({"AMT": [1, -1]}), agreed)) == {"amount.minimum": (1,)}


def test_closed_contracts_refuse_more_columns() -> None:
    """A contract that is closed is broken by a column that it doesn't know."""
    agreed = contract("name: a", table="    customProperties: [{property: additionalColumns, value: refuse}]\n")
    result = validate(pd.DataFrame({"a": [1], "b": [2]}), agreed)
    assert result.whole == ("b.unknown",)


def test_composite_keys_are_unique_together() -> None:
    """Two columns that are the key together may repeat alone, not together."""
    agreed = contract(
        "name: a, primaryKey: true, primaryKeyPosition: 1", "name: b, primaryKey: true, primaryKeyPosition: 2"
    )
    frame = pd.DataFrame({"a": [1, 1, 2, 1], "b": ["x", "y", "x", "x"]})
    assert rules(validate(frame, agreed)) == {"primaryKey": (3,)}


def test_the_report_escapes_what_it_shows() -> None:
    """Column names and public values can't become markup in the report."""
    evil = "<script>alert(1)</script>|`"
    agreed = contract(
        f"name: '{evil}', classification: public, quality: [{{metric: invalidValues, arguments: {{validValues: [a]}}, mustBe: 0}}]"
    )
    result = validate(pd.DataFrame({evil: [evil]}), agreed)
    assert "<script>" not in result.to_html()
    assert "<script>" not in result.to_markdown()


def test_an_empty_column_meets_bounds_of_every_type():
    """A column of NaN alone, which pandas calls float, breaks no bound of a date or a number."""
    for kind, bound in (("timestamp", "2020-01-01T00:00:00"), ("date", "2020-01-01"), ("integer", 1)):
        contract = Contract.from_yaml(
            "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n"
            f"    properties: [{{name: a, logicalType: {kind}, logicalTypeOptions: {{minimum: {bound!r}}}}}]\n"
        )
        assert validate(pd.DataFrame({"a": [float("nan")] * 3}), contract).ok


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]+$",
        r"^\\d+$",
        r"^\\w+$",
        "^(a|b)c?$",
        "(?i)^AB",
        ".",
        "ä",
        "^a{1,2}$",
        "^[^a-c]+$",
    ],
)
def test_patterns_mean_the_same_everywhere(pattern: str) -> None:
    """A pattern finds the same rows in pandas, polars and Arrow, other alphabets and the line's end included."""
    agreed = contract(f'name: a, logicalType: string, logicalTypeOptions: {{pattern: "{pattern}"}}')
    texts = ["abc", "٣", "3", "ä", "a\n", "", None, "AB", "[a", "aaa", "a", "bc", "x y", "é1"]
    found = [rules(validate(make({"a": texts}), agreed)) for make in (pd.DataFrame, pl.DataFrame, pa.table)]
    assert found[0] == found[1] == found[2]
