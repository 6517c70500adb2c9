"""The content id against MLflow's dataset digest, in the same run."""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from prodkit.fingerprints import fingerprint, short

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="fingerprint")
ROWS = 1_000_000


@pytest.fixture(scope="module")
def million() -> pd.DataFrame:
    random = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "id": [f"T-{number}" for number in range(ROWS)],
            "created": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 10**7, ROWS), unit="s"),
            "email": [f"user{number}@example.org" for number in random.integers(0, 50_000, ROWS)],
            "channel": random.choice(["email", "chat", "phone", "web"], ROWS),
            "text": [f"question number {number}" for number in random.integers(0, 5_000, ROWS)],
            "amount": random.random(ROWS) * 500,
            "score": random.random(ROWS),
            "items": random.integers(1, 101, ROWS),
            "customer": random.permutation(ROWS),
            "open": random.random(ROWS) < 0.5,
        }
    )


def fastest(run: Callable[[], object], times: int) -> float:
    """The best of several runs, in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_as_fast_as_hashing_the_bytes(benchmark: BenchmarkFixture, million: pd.DataFrame, kind: str) -> None:
    """The id goes at 1 GB/s where SHA-256 does, and takes at most twice as long as one plain SHA-256 of as many bytes."""
    table = pa.Table.from_pandas(million, preserve_index=False)
    frame = {"pandas": million, "polars": pl.DataFrame(table), "arrow": table}[kind]
    raw = os.urandom(table.nbytes)
    benchmark.pedantic(lambda: fingerprint(frame), rounds=5, warmup_rounds=1)
    ours, plain = fastest(lambda: fingerprint(frame), 7), fastest(lambda: hashlib.sha256(raw).digest(), 7)
    rates = {"gigabytes_a_second": table.nbytes / ours / 1e9, "plain_gigabytes_a_second": table.nbytes / plain / 1e9}
    benchmark.extra_info |= {name: round(rate, 2) for name, rate in rates.items()}
    print(kind, benchmark.extra_info)
    assert ours <= 2 * plain
    assert rates["gigabytes_a_second"] >= min(1.0, rates["plain_gigabytes_a_second"])


def test_twenty_times_faster_than_mlflow(benchmark: BenchmarkFixture, million: pd.DataFrame) -> None:
    """The id of the whole frame takes at most a twentieth of MLflow's digest of its first rows."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_MODEL_CATALOG_URI": ""}
    import mlflow.data

    def theirs() -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # integer columns may have gaps later, says MLflow
            return str(mlflow.data.from_pandas(million).digest)

    benchmark.pedantic(lambda: fingerprint(million), rounds=5, warmup_rounds=1)
    ours, other = fastest(lambda: fingerprint(million), 5), fastest(theirs, 1)
    benchmark.extra_info |= {
        "seconds": round(ours, 4),
        "mlflow_seconds": round(other, 3),
        "times": round(other / ours, 1),
    }
    assert other >= 20 * ours


def test_our_digest_saves_mlflows(benchmark: BenchmarkFixture, million: pd.DataFrame) -> None:
    """With our id given, MLflow computes none: making the dataset takes less than ours does."""
    import mlflow.data

    identity = fingerprint(million)

    def give() -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(mlflow.data.from_pandas(million, digest=short(identity)).digest)

    assert benchmark.pedantic(give, rounds=3, warmup_rounds=1) == short(identity)
    assert fastest(give, 3) < fastest(lambda: fingerprint(million), 3)


def test_memory_stays_below_the_frames(million: pd.DataFrame) -> None:
    """The id's own memory, Python's and Arrow's, stays below the frame's once more."""
    size, pool = int(million.memory_usage(deep=True).sum()), pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    fingerprint(million)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python + max(pool.max_memory() - before, 0) < size
