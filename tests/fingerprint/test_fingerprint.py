from __future__ import annotations

import io
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from prodkit.errors import DataError
from prodkit.fingerprints import fingerprint, fingerprint_file, fingerprint_unordered, short

if TYPE_CHECKING:
    from pathlib import Path


def base_table(rows: int = 2000) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "text": pa.array([None if n % 11 == 0 else f"näme {n}" for n in range(rows)], pa.string()),
            "amount": pa.array([None if n % 7 == 0 else n / 3 for n in range(rows)], pa.float64()),
            "flag": pa.array([n % 3 == 0 for n in range(rows)], pa.bool_()),
            "when": pa.array(
                [datetime.fromisoformat("2026-01-01") + timedelta(minutes=n) for n in range(rows)], pa.timestamp("us")
            ),
            "zone": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, pa.timestamp("us", "UTC")),
            "day": pa.array([date(2026, 1, 1) + timedelta(days=n % 99) for n in range(rows)], pa.date32()),
            "money": pa.array([Decimal(n) / 100 for n in range(rows)], pa.decimal128(12, 2)),
            "kind": pa.array([("a", "b", "c")[n % 3] for n in range(rows)], pa.string()),
            "tags": pa.array([["x"] * (n % 3) for n in range(rows)], pa.list_(pa.string())),
            "place": pa.array([{"city": f"c{n % 5}", "zip": n % 9} for n in range(rows)]),
        }
    )


BASE = base_table()
FLAT = BASE.drop_columns(["tags", "place", "money"])


def as_parquet(table: pa.Table, **options: Any) -> pa.Table:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return pq.read_table(buffer)


SAME = {
    "re-chunked": lambda: pa.concat_tables([BASE.slice(0, 3), BASE.slice(3, 900), BASE.slice(903)]),
    "sliced out of more": lambda: pa.concat_tables([BASE.slice(5, 9), BASE]).slice(9),
    "a record batch": lambda: BASE.combine_chunks().to_batches()[0],
    "dictionary encoded": lambda: BASE.set_column(8, "kind", BASE["kind"].dictionary_encode()),
    "wide strings": lambda: BASE.set_column(1, "text", BASE["text"].cast(pa.large_string())),
    "string views": lambda: BASE.set_column(1, "text", BASE["text"].cast(pa.string_view())),
    "wide lists": lambda: BASE.set_column(9, "tags", BASE["tags"].cast(pa.large_list(pa.string()))),
    "wider decimals": lambda: BASE.set_column(7, "money", BASE["money"].cast(pa.decimal256(40, 2))),
    "finer times": lambda: BASE.set_column(4, "when", BASE["when"].cast(pa.timestamp("ns"))),
    "parquet zstd": lambda: as_parquet(BASE, compression="zstd", row_group_size=100),
    "parquet snappy": lambda: as_parquet(BASE, compression="snappy", use_dictionary=False),
    "polars": lambda: pl.DataFrame(BASE),
    "polars lazy": lambda: pl.DataFrame(BASE).lazy(),
    "pandas on Arrow": lambda: BASE.to_pandas(types_mapper=pd.ArrowDtype),
    "nulls over garbage": lambda: BASE.set_column(2, "amount", with_garbage(BASE["amount"])),
}


def with_garbage(column: pa.ChunkedArray) -> pa.Array:
    """The same cells, with other bytes under the nulls."""
    values = np.where(np.asarray(column.is_null()), 123.456, np.asarray(column.fill_null(0.0)))
    return pa.Array.from_buffers(
        pa.float64(), len(column), [column.combine_chunks().buffers()[0], pa.py_buffer(values)], column.null_count
    )


@pytest.mark.parametrize("name", SAME)
def test_storage_doesnt_count(name: str) -> None:
    """The id is the same however the same content is stored, chunked or held."""
    assert fingerprint(SAME[name]()) == fingerprint(BASE)


def test_pandas_polars_and_csv_agree(tmp_path: Path) -> None:
    """The same table has one id in pandas, polars and Arrow, and after a round through a CSV file."""
    table = FLAT.select(["id", "text", "amount", "flag", "kind"])
    frame = table.to_pandas()
    frame.to_csv(tmp_path / "t.csv", index=False)
    ids = {
        fingerprint(frame),
        fingerprint(pl.from_pandas(frame)),
        fingerprint(table),
        fingerprint(frame.astype({"kind": "category"})),
        fingerprint(frame.astype({"text": object, "kind": object})),
        fingerprint(pd.read_csv(tmp_path / "t.csv")),
        fingerprint(pl.read_csv(tmp_path / "t.csv")),
    }
    assert len(ids) == 1


def replaced(name: str, values: Any, kind: pa.DataType | None = None) -> pa.Table:
    place = BASE.schema.get_field_index(name)
    return BASE.set_column(place, name, pa.array(values, kind or BASE.schema.field(name).type))


def edited(name: str, row: int, value: Any) -> pa.Table:
    values = BASE[name].to_pylist()
    values[row] = value
    return replaced(name, values)


DIFFERENT = {
    "last cell": lambda: edited("id", 1999, -1),
    "a letter": lambda: edited("text", 1500, "näme 1500 "),
    "a float's last bit": lambda: edited("amount", 1, float(np.nextafter(1 / 3, 1))),
    "a truth value": lambda: edited("flag", 700, None),
    "a microsecond": lambda: edited("when", 3, datetime.fromisoformat("2026-01-01T00:03:00.000001")),
    "a day": lambda: edited("day", 3, date(1999, 1, 1)),
    "a cent": lambda: edited("money", 3, Decimal("0.04")),
    "an item of a list": lambda: edited("tags", 2, ["x", "y"]),
    "a longer list": lambda: edited("tags", 2, ["x", "x", "x"]),
    "an empty list for none": lambda: edited("tags", 3, None),
    "a field of an object": lambda: edited("place", 2, {"city": "c2", "zip": 3}),
    "null for a value": lambda: edited("amount", 1, None),
    "NaN for null": lambda: edited("amount", 0, float("nan")),
    "zero for null": lambda: edited("amount", 0, 0.0),
    "'' for null": lambda: edited("text", 0, ""),
    "a value that moved a row": lambda: replaced("text", [*BASE["text"].to_pylist()[1:], None]),
    "text that moved over a border": lambda: replaced("text", ["ab", "c"] * 1000),
    "a name": lambda: BASE.rename_columns(["ID", *BASE.column_names[1:]]),
    "int32": lambda: replaced("id", range(2000), pa.int32()),
    "uint64": lambda: replaced("id", range(2000), pa.uint64()),
    "float32": lambda: BASE.set_column(2, "amount", BASE["amount"].cast(pa.float32())),
    "numbers as text": lambda: replaced("id", [str(n) for n in range(2000)], pa.string()),
    "truth values as numbers": lambda: BASE.set_column(3, "flag", BASE["flag"].cast(pa.int64())),
    "dates as times": lambda: BASE.set_column(6, "day", BASE["day"].cast(pa.timestamp("s"))),
    "another zone": lambda: BASE.set_column(5, "zone", BASE["zone"].cast(pa.timestamp("us", "Europe/Berlin"))),
    "no zone": lambda: BASE.set_column(5, "zone", BASE["zone"].cast(pa.timestamp("us"))),
    "bytes for text": lambda: BASE.set_column(8, "kind", BASE["kind"].cast(pa.binary())),
    "the scale of a decimal": lambda: BASE.set_column(7, "money", BASE["money"].cast(pa.decimal128(14, 3))),
    "rows in another order": lambda: BASE.take(list(reversed(range(2000)))),
    "columns in another order": lambda: BASE.select(list(reversed(BASE.column_names))),
    "one row less": lambda: BASE.slice(0, 1999),
    "one column less": lambda: BASE.drop_columns(["day"]),
    "two columns with swapped content": lambda: replaced("text", BASE["kind"].to_pylist()),
    "a field's name": lambda: replaced(
        "place", [{"city": "x", "plz": 1}] * 2000, pa.struct([("city", pa.string()), ("plz", pa.int64())])
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_content_counts(name: str) -> None:
    """Any change of a cell, type, name or order gives another id."""
    assert fingerprint(DIFFERENT[name]()) != fingerprint(BASE)


def test_texts_that_share_their_bytes_differ() -> None:
    """Where one text ends and the next begins counts: 'ab','c' isn't 'a','bc'."""
    assert fingerprint(pa.table({"t": ["ab", "c"]})) != fingerprint(pa.table({"t": ["a", "bc"]}))


def test_mixed_objects_keep_their_types() -> None:
    """In a column of mixed objects 1, 1.0, True and '1' are four different cells."""
    ids = {
        fingerprint(pd.DataFrame({"a": pd.Series([cell, "x"], dtype=object)}))
        for cell in (1, 1.0, True, "1", b"1", Decimal(1))
    }
    assert len(ids) == 6
    spelt = pd.DataFrame({"a": ["int:1", "str:'x'"]})
    assert fingerprint(spelt) not in ids


def test_zero_has_no_sign_and_nan_no_payload() -> None:
    """-0.0 is 0.0, and every NaN is the same NaN."""
    payload = np.array([0x7FF8000000000001, 0x7FF8000000000000], dtype="u8").view("f8")
    zeros = np.array([0.0, -0.0])
    assert fingerprint(pa.table({"a": payload[:1]})) == fingerprint(pa.table({"a": payload[1:]}))
    assert fingerprint(pa.table({"a": zeros[:1]})) == fingerprint(pa.table({"a": zeros[1:]}))


def test_unordered_ids_ignore_the_rows_order_only() -> None:
    """The order-free id is the same for shuffled rows, and another for a changed, doubled or regrouped row."""
    shuffled = BASE.take(np.random.default_rng(1).permutation(BASE.num_rows))
    assert fingerprint_unordered(shuffled) == fingerprint_unordered(BASE)
    assert fingerprint_unordered(pl.DataFrame(shuffled)) == fingerprint_unordered(BASE)
    assert fingerprint_unordered(edited("amount", 5, 1.0)) != fingerprint_unordered(BASE)
    assert fingerprint_unordered(pa.concat_tables([BASE, BASE.slice(0, 1)])) != fingerprint_unordered(BASE)
    one, other = pa.table({"a": [1, 2], "b": [1, 2]}), pa.table({"a": [1, 2], "b": [2, 1]})
    assert fingerprint_unordered(one) != fingerprint_unordered(other)


def test_a_named_index_counts_and_a_counter_doesnt() -> None:
    """A filtered frame has the id of the same rows counted anew; a named index is content."""
    frame = FLAT.to_pandas()
    assert fingerprint(frame[frame["id"] >= 5]) == fingerprint(frame[frame["id"] >= 5].reset_index(drop=True))
    assert fingerprint(frame.set_index("id")) == fingerprint(frame)
    assert fingerprint(frame.drop(columns="id")) != fingerprint(frame)


@pytest.mark.parametrize(
    "column",
    [
        pd.period_range("2026-01", periods=3, freq="M"),
        pd.interval_range(0, 3),
        pd.arrays.SparseArray([0, 1, 1]),
        pd.array([1, None, 3], dtype="Int64"),
        pd.array([True, None, False], dtype="boolean"),
        [timedelta(1), timedelta(2), None],
        [time(1), time(2), None],
        [{"a": 1}, {"a": 2}, None],
        [[1], [2, 3], None],
        [{1, 2}, {3}, None],
        [10**30, 1, 2],
        [1 + 2j, 3 + 0j, 0j],
        [b"x", b"y", None],
        [np.array([1, 2]), np.array([3]), None],
    ],
    ids=str,
)
def test_every_type_has_an_id(column: Any) -> None:
    """Extension, nested and odd types have an id that is stable and sees a change."""
    frame = pd.DataFrame({"a": column})
    assert fingerprint(frame) == fingerprint(frame.copy(deep=True))
    assert fingerprint(frame) != fingerprint(frame.iloc[[1, 0, 2]])


def test_objects_without_content_are_refused() -> None:
    """An object that has no content to compare is one clear error that names the column and the type, not a value."""
    with pytest.raises(DataError) as caught:
        fingerprint(pd.DataFrame({"a": [1], "b": [object()]}))
    assert caught.value.code == "fingerprint.no-type"
    assert "`b`" in caught.value.what


def test_what_is_no_frame_is_refused() -> None:
    """A list has no fingerprint, and the error says what has."""
    with pytest.raises(DataError, match="pandas or polars"):
        fingerprint([1, 2])


def test_odd_shapes_have_ids() -> None:
    """Frames without rows or columns, with doubled or odd names, have ids that differ."""
    frames = [
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame({"a": pd.Series([], dtype="int64")}),
        pd.DataFrame({"b": pd.Series([], dtype="int64")}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[2, 1]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=[0, 1]),
    ]
    assert len({fingerprint(frame) for frame in frames}) == len(frames)


def test_short_ids_fit_mlflow() -> None:
    """A short id has at most 36 characters and begins like the whole one."""
    whole = fingerprint(BASE)
    assert len(short(whole)) <= 36
    assert whole.startswith(short(whole))


def test_files_have_ids_of_their_bytes(tmp_path: Path) -> None:
    """A file's id is that of its bytes, and a missing file is one clear error."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert fingerprint_file(tmp_path / "a") == fingerprint_file(tmp_path / "b")
    assert fingerprint_file(tmp_path / "a").startswith("pf1:2d711642b726b044")
    with pytest.raises(DataError) as caught:
        fingerprint_file(tmp_path / "c")
    assert caught.value.code == "fingerprint.unreadable"


def test_ids_hold_over_releases() -> None:
    """The id of a known table is written down here: a change of method needs a new version, not a silent new id."""
    table = pa.table({"id": [1, 2, None], "text": ["a", None, "ä"], "x": [0.5, None, -0.0]})
    assert fingerprint(table) == "pk1:7002e3c8c2699cb733dd6ca4ede34ce943c744a4784f3c392024999170d3a9e2"


CELLS = {
    "i": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    "f": st.one_of(st.none(), st.floats(allow_nan=False)),
    "s": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
    "b": st.one_of(st.none(), st.booleans()),
}


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=30), cut=st.integers(0, 30))
def test_any_table_has_one_id_everywhere(rows: list[dict[str, Any]], cut: int) -> None:
    """Whatever the cells are, Arrow in any chunks, polars and Parquet give the same id."""
    kinds = {"i": pa.int64(), "f": pa.float64(), "s": pa.string(), "b": pa.bool_()}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    cut = min(cut, len(rows))
    chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    assert len({fingerprint(each) for each in (table, chunked, pl.DataFrame(table), as_parquet(table))}) == 1
