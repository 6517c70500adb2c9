from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from prodkit.contracts import Contract, validate

CONTRACT = Contract.from_yaml(r"""
apiVersion: v3.1.0
kind: DataContract
id: all
version: 1.0.0
status: active
schema:
  - name: all
    properties:
      - {name: id, logicalType: integer, unique: true, logicalTypeOptions: {minimum: -5, exclusiveMaximum: 6}}
      - {name: x, logicalType: number, required: true, logicalTypeOptions: {exclusiveMinimum: -1, maximum: 2.5}}
      - {name: s, logicalType: string, logicalTypeOptions: {minLength: 1, maxLength: 3, pattern: '^[a-c\d]+$'}}
      - {name: e, logicalType: string, required: true, quality: [{metric: invalidValues, arguments: {validValues: [a, b]}, mustBe: 0}]}
      - {name: t, logicalType: timestamp, logicalTypeOptions: {minimum: '2026-01-01', exclusiveMaximum: '2027-01-01T00:00:00'}}
      - {name: b, logicalType: boolean}
      - {name: m, logicalType: number, logicalTypeOptions: {multipleOf: 0.5}}
    quality:
      - {metric: duplicateValues, arguments: {properties: [e, b]}, mustBe: 0, id: pair}
      - {type: custom, engine: pandera, id: order, implementation: {check: compare_columns, left: x, operator: '<=', right: m}}
""")

ROW = st.fixed_dictionaries(
    {
        "id": st.one_of(st.none(), st.integers(-7, 7)),
        "x": st.one_of(st.none(), st.sampled_from([-2.0, -1.0, -0.999, 0.0, -0.0, 2.5, 2.500001, float("inf")])),
        "s": st.one_of(st.none(), st.sampled_from(["", "a", "abc", "abcd", "a\n", "x", "٣", "ä1", "1"])),
        "e": st.one_of(st.none(), st.sampled_from(["a", "b", "A", "", " a"])),
        "t": st.one_of(st.none(), st.datetimes(datetime(2025, 12, 31), datetime(2027, 1, 2))),  # noqa: DTZ001
        "b": st.one_of(st.none(), st.booleans()),
        "m": st.one_of(st.none(), st.sampled_from([0.5, 1.0, 0.3, -0.5])),
    }
)
KINDS = {
    "id": pa.int64(),
    "x": pa.float64(),
    "s": pa.string(),
    "e": pa.string(),
    "t": pa.timestamp("us"),
    "b": pa.bool_(),
    "m": pa.float64(),
}


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_both_engines_find_the_same_rows(rows: list[dict[str, Any]]) -> None:
    """Whatever the data is, the vectorised checks and pandera find the same rows for the same rules."""
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in KINDS.items()})
    frame = table.to_pandas()
    reference = found(validate(frame, CONTRACT, "warn", engine="pandera"))
    assert found(validate(frame, CONTRACT, "warn")) == reference
    assert found(validate(pl.DataFrame(table).lazy(), CONTRACT, "warn")) == reference
    assert found(validate(table, CONTRACT, "warn")) == reference


def found(result: Any) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {finding.rule: (finding.count, finding.rows) for finding in result.findings}


def test_the_reference_is_really_run() -> None:
    """The engine pandera is pandera: a broken rule comes with its verdict, an intact one without."""
    frame = pd.DataFrame(
        {"id": [1, 9], "x": [0.0, 0.0], "s": ["a", "b"], "e": ["a", "b"], "t": pd.NaT, "b": True, "m": 1.0}
    )
    frame["t"] = frame["t"].astype("datetime64[us]")
    result = validate(frame, CONTRACT, "warn", engine="pandera")
    assert result.engine == "pandera"
    assert found(result) == {"id.exclusiveMaximum": (1, (1,))}


@pytest.mark.parametrize(
    ("column", "values", "option", "bound", "bad"),
    [
        ("integer", pa.array([2**63 - 1, 0], pa.int64()), "minimum", 1, 1),
        ("integer", pa.array([2**64 - 1, 0], pa.uint64()), "maximum", 9, 0),
        ("integer", pa.array([-128, 127], pa.int8()), "maximum", 100, 1),
        ("integer", pa.array([1, 2], pa.int8()), "minimum", 1.5, 0),
        ("number", pa.array([Decimal("0.10"), Decimal("0.11")], pa.decimal128(9, 2)), "maximum", 0.1, 1),
        ("number", pa.array([0.1, 0.2], pa.float32()), "maximum", 0.1, 1),
        ("date", pa.array([19000, 21000], pa.date32()), "maximum", "2025-01-01", 1),
        ("timestamp", pa.array([0, 10**18], pa.timestamp("ns")), "minimum", "0001-01-02", None),
        (
            "timestamp",
            pa.array([0, 2 * 10**18], pa.timestamp("ns", "Europe/Berlin")),
            "maximum",
            "2030-01-01T00:00:00+01:00",
            1,
        ),
        ("time", pa.array([0, 86_399], pa.time32("s")), "exclusiveMaximum", "23:59:59", 1),
    ],
)
def test_bounds_are_exact_at_the_edges(column: str, values: pa.Array, option: str, bound: Any, bad: int | None) -> None:
    """Bounds hold exactly for every width, unit and zone, also where they don't fit the column's type."""
    contract = Contract.from_yaml(f"""
apiVersion: v3.1.0
kind: DataContract
id: one
version: 1.0.0
status: active
schema:
  - name: one
    properties:
      - {{name: v, logicalType: {column}, logicalTypeOptions: {{{option}: {bound!r}}}}}
""")
    rows = [finding.rows for finding in validate(pa.table({"v": values}), contract).findings]
    assert rows == ([] if bad is None else [(bad,)])
