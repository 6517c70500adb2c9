"""Checking against pandera alone, in the same run: the ratio is what is claimed, not the seconds."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pytest
from pyarrow import default_memory_pool

from prodkit.contracts import Contract, validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="contracts")

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: bench
version: 1.0.0
status: active
schema:
  - name: bench
    properties:
      - {name: id, logicalType: string, primaryKey: true, logicalTypeOptions: {pattern: '^T-[0-9]{6,8}$'}}
      - {name: created, logicalType: timestamp, required: true, logicalTypeOptions: {minimum: '2020-01-01', maximum: '2040-01-01'}}
      - {name: email, logicalType: string, required: true, logicalTypeOptions: {pattern: '^[^@ ]+@[^@ ]+[.][a-z]+$'}}
      - {name: channel, logicalType: string, required: true, quality: [{metric: invalidValues, arguments: {validValues: [email, chat, phone, web]}, mustBe: 0}]}
      - {name: text, logicalType: string, required: true, logicalTypeOptions: {minLength: 1, maxLength: 4000}}
      - {name: amount, logicalType: number, logicalTypeOptions: {minimum: 0, maximum: 10000}}
      - {name: score, logicalType: number, required: true, logicalTypeOptions: {minimum: 0, maximum: 1}}
      - {name: items, logicalType: integer, required: true, logicalTypeOptions: {minimum: 1, maximum: 100}}
      - {name: customer, logicalType: integer, required: true, unique: true}
      - {name: open, logicalType: boolean, required: true}
"""


def bench_frame(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(7)
    amount = random.random(rows) * 500
    amount[random.random(rows) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "id": [f"T-{number}" for number in range(1_000_000, 1_000_000 + rows)],
            "created": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 10**7, rows), unit="s"),
            "email": [f"user{number}@example.org" for number in random.integers(0, 50_000, rows)],
            "channel": random.choice(["email", "chat", "phone", "web"], rows),
            "text": [f"question number {number}" for number in random.integers(0, 5_000, rows)],
            "amount": amount,
            "score": random.random(rows),
            "items": random.integers(1, 101, rows),
            "customer": random.permutation(rows),
            "open": random.random(rows) < 0.5,
        }
    )


def pandera_schema() -> Any:
    """The same rules as pandera's users write them."""
    return pa.DataFrameSchema(
        {
            "id": pa.Column(str, pa.Check.str_matches(r"^T-[0-9]{6,8}$"), unique=True),
            "created": pa.Column(
                "datetime64[us]", pa.Check.in_range(pd.Timestamp("2020-01-01"), pd.Timestamp("2040-01-01"))
            ),
            "email": pa.Column(str, pa.Check.str_matches(r"^[^@ ]+@[^@ ]+[.][a-z]+$")),
            "channel": pa.Column(str, pa.Check.isin(["email", "chat", "phone", "web"])),
            "text": pa.Column(str, pa.Check.str_length(1, 4000)),
            "amount": pa.Column(float, pa.Check.in_range(0, 10_000), nullable=True),
            "score": pa.Column(float, pa.Check.in_range(0, 1)),
            "items": pa.Column(int, pa.Check.in_range(1, 100)),
            "customer": pa.Column(int, unique=True),
            "open": pa.Column(bool),
        }
    )


def best(run: Callable[[], object], times: int) -> float:
    """The best of several runs, in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def test_a_million_rows_take_half_of_panderas_time(benchmark: BenchmarkFixture) -> None:
    """One million rows by ten columns are checked in at most half of pandera's time on pandas."""
    frame, contract, schema = bench_frame(1_000_000), Contract.from_yaml(CONTRACT), pandera_schema()
    assert validate(frame, contract).ok
    benchmark.pedantic(lambda: validate(frame, contract), rounds=5, warmup_rounds=1)
    ours = best(lambda: validate(frame, contract), 5)
    theirs = best(lambda: schema.validate(frame, lazy=True), 3)
    benchmark.extra_info |= {
        "seconds": round(ours, 4),
        "pandera_seconds": round(theirs, 4),
        "ratio": round(ours / theirs, 3),
    }
    assert ours <= 0.5 * theirs


def test_a_million_failing_cells(benchmark: BenchmarkFixture) -> None:
    """When every row fails, findings take at most half of pandera's time too."""
    frame, contract, schema = bench_frame(1_000_000), Contract.from_yaml(CONTRACT), pandera_schema()
    frame["items"] += 1000

    def theirs() -> None:
        with pytest.raises(pa.errors.SchemaErrors):
            schema.validate(frame, lazy=True)

    benchmark.pedantic(lambda: validate(frame, contract), rounds=3, warmup_rounds=1)
    ours, other = best(lambda: validate(frame, contract), 3), best(theirs, 1)
    benchmark.extra_info |= {
        "seconds": round(ours, 4),
        "pandera_seconds": round(other, 4),
        "ratio": round(ours / other, 3),
    }
    assert ours <= 0.5 * other


def polars_schema() -> Any:
    """The same rules in pandera's polars dialect."""
    check = pap.Check
    return pap.DataFrameSchema(
        {
            "id": pap.Column(pl.String, check.str_matches(r"^T-[0-9]{6,8}$"), unique=True),
            "created": pap.Column(
                pl.Datetime("us"), check.in_range(pd.Timestamp("2020-01-01"), pd.Timestamp("2040-01-01"))
            ),
            "email": pap.Column(pl.String, check.str_matches(r"^[^@ ]+@[^@ ]+[.][a-z]+$")),
            "channel": pap.Column(pl.String, check.isin(["email", "chat", "phone", "web"])),
            "text": pap.Column(pl.String, check.str_length(1, 4000)),
            "amount": pap.Column(pl.Float64, check.in_range(0, 10_000), nullable=True),
            "score": pap.Column(pl.Float64, check.in_range(0, 1)),
            "items": pap.Column(pl.Int64, check.in_range(1, 100)),
            "customer": pap.Column(pl.Int64, unique=True),
            "open": pap.Column(pl.Boolean),
        }
    )


def test_polars_takes_half_of_pandera_on_pandas(benchmark: BenchmarkFixture) -> None:
    """The same rows in polars take at most half of pandera on pandas; pandera's own time on polars is recorded beside."""
    frame, contract, schema = bench_frame(1_000_000), Contract.from_yaml(CONTRACT), pandera_schema()
    other, native = pl.from_pandas(frame), polars_schema()
    benchmark.pedantic(lambda: validate(other, contract), rounds=3, warmup_rounds=1)
    ours, theirs = best(lambda: validate(other, contract), 3), best(lambda: schema.validate(frame, lazy=True), 3)
    on_polars = best(lambda: native.validate(other, lazy=True), 3)
    figures = {"seconds": ours, "ratio": ours / theirs, "ratio_to_pandera_on_polars": ours / on_polars}
    benchmark.extra_info |= {name: round(figure, 3) for name, figure in figures.items()}
    assert ours <= 0.5 * theirs


def test_a_hundred_rows_cost_two_milliseconds_more_at_most(benchmark: BenchmarkFixture) -> None:
    """On a hundred rows a check takes at most two milliseconds more than pandera's."""
    frame, contract, schema = bench_frame(100), Contract.from_yaml(CONTRACT), pandera_schema()
    benchmark(lambda: validate(frame, contract))
    ours, theirs = best(lambda: validate(frame, contract), 50), best(lambda: schema.validate(frame, lazy=True), 50)
    benchmark.extra_info |= {"ms": round(1000 * ours, 2), "pandera_ms": round(1000 * theirs, 2)}
    assert ours <= theirs + 0.002


def test_two_thousand_columns_cost_two_milliseconds_more_at_most(benchmark: BenchmarkFixture) -> None:
    """On two thousand columns a check takes at most two milliseconds more than pandera's."""
    names = [f"c{number}" for number in range(2000)]
    frame = pd.DataFrame(np.random.default_rng(0).random((100, 2000)), columns=names)
    lines = "\n".join(
        f"      - {{name: {name}, logicalType: number, required: true, logicalTypeOptions: {{minimum: 0, maximum: 1}}}}"
        for name in names
    )
    head = CONTRACT[: CONTRACT.index("      - {name: id")]
    contract = Contract.from_yaml(head + lines)
    schema = pa.DataFrameSchema({name: pa.Column(float, pa.Check.in_range(0, 1)) for name in names})
    benchmark.pedantic(lambda: validate(frame, contract), rounds=3, warmup_rounds=1)
    ours, theirs = best(lambda: validate(frame, contract), 3), best(lambda: schema.validate(frame, lazy=True), 3)
    benchmark.extra_info |= {"ms": round(1000 * ours), "pandera_ms": round(1000 * theirs)}
    assert ours <= theirs + 0.002


def test_memory_stays_below_twice_the_frame() -> None:
    """A check's own memory, Python's and Arrow's, stays below the frame's once more."""
    frame, contract = bench_frame(1_000_000), Contract.from_yaml(CONTRACT)
    validate(frame.iloc[:1000], contract)
    pool = default_memory_pool()
    before, size = pool.bytes_allocated(), int(frame.memory_usage(deep=True).sum())
    tracemalloc.start()
    validate(frame, contract)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python + max(pool.max_memory() - before, 0) < 2 * size
