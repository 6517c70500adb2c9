"""What a watch costs, beside the same work without one. Run in one process: the hook can't be taken away again."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from prodkit.capture.lineage import run_event, watch
from prodkit.records import DatasetRecord, now

WORK = """
import io, sys, time
import pandas as pd, polars as pl
folder, watched = sys.argv[1], sys.argv[2] == "watched"

def work():
    frame = pd.read_csv(folder + "/data.csv")
    frame.groupby("a")["b"].mean()
    frame.to_parquet(folder + "/out.parquet")
    pl.read_parquet(folder + "/out.parquet").sort("b")

work()
if watched:
    from prodkit.capture.lineage import watch
    from prodkit.manifest import find_project
    seen = watch(find_project()).__enter__()
best = 1e9
for _ in range(12):
    start = time.perf_counter()
    work()
    best = min(best, time.perf_counter() - start)
print(best)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    dice = np.random.default_rng(1)
    frame = pd.DataFrame({"a": dice.integers(0, 100, 100_000), "b": dice.random(100_000)})
    frame.to_csv(tmp_path / "data.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seconds(folder, how):
    done = subprocess.run([sys.executable, "-c", WORK, str(folder), how], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.benchmark(group="a cell that reads and writes")
def test_lineage_share(benchmark, folder):
    """A cell with a watch takes at most 1 % longer than without one (best of 12, in turn)."""

    def ratio():
        pairs = [(seconds(folder, "watched"), seconds(folder, "plain")) for _ in range(3)]
        return min(one for one, _ in pairs) / min(other for _, other in pairs)

    found = benchmark.pedantic(ratio, rounds=1, iterations=1)
    benchmark.extra_info["ratio"] = round(found, 4)
    assert found < 1.03  # 1 % and what this machine's noise allows


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
