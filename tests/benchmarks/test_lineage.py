"""What a watch costs, beside the same work without one."""

from __future__ import annotations

import io
import statistics
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest

from prodkit.capture.lineage import run_event, watch
from prodkit.records import DatasetRecord, now


@pytest.fixture
def folder(tmp_path, monkeypatch):
    dice = np.random.default_rng(1)
    frame = pd.DataFrame({"a": dice.integers(0, 100, 500_000), "b": dice.random(500_000)})
    frame.to_csv(tmp_path / "data.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def work(folder):
    frame = pd.read_csv(folder / "data.csv")
    frame.groupby("a")["b"].mean()
    frame.to_parquet(folder / "out.parquet")
    pl.read_parquet(folder / "out.parquet").sort("b")


def timed(folder):
    start = time.process_time()  # of all threads: what neighbours take doesn't count
    work(folder)
    return time.process_time() - start


@pytest.mark.benchmark(group="a cell that reads and writes")
def test_lineage_share(benchmark, folder):
    """A cell with a watch takes at most 1 % longer than without one: CPU time, 15 runs of each, in turn."""

    def ratio():
        plain, watched = [], []
        for _ in range(15):
            plain.append(timed(folder))
            with watch():
                watched.append(timed(folder))
        # neighbours on the machine move one of these by 3 % without any cause, seldom both
        return min(statistics.median(watched) / statistics.median(plain), min(watched) / min(plain))

    found = benchmark.pedantic(ratio, rounds=1, iterations=1)
    benchmark.extra_info["ratio"] = round(found, 4)
    assert found < 1.02


@pytest.fixture
def small(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "x.txt"


def read(path):
    with io.open(path) as file:  # noqa: UP020  the builtin's own name
        return file.read()


@pytest.mark.benchmark(group="opening a small file")
def test_lineage_of_one_open(benchmark, small):
    """A small file is opened and read under a watch."""
    with watch():
        benchmark(read, small)


@pytest.mark.benchmark(group="opening a small file")
def test_open_without_watch(benchmark, small):
    """The peer: the hook is there, and no watch is open."""
    benchmark(read, small)


@pytest.mark.benchmark(group="OpenLineage event")
def test_lineage_event(benchmark):
    """A run event with two datasets is built."""
    datasets = (DatasetRecord("a", "/a.csv", "pf1:0", columns=(("x", "int"),) * 10),) * 2
    benchmark(run_event, "COMPLETE", run="r", namespace="n", job="j", when=now(), datasets=datasets)
