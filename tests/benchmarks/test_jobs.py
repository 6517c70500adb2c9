"""The engine against papermill's own, in the same run: trivial cells, where overhead counts, and large outputs."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import nbformat
import papermill
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

TRIVIAL = ["x = 1"] * 50
LARGE = ["print('x' * 1_000_000)"] * 50


def seconds(cells: list[str], folder: Path, engine: str | None) -> float:
    """Wall time of a notebook from papermill's call to its return, kernel included."""
    spec = {"name": "python3", "display_name": "python3", "language": "python"}
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": spec}
    )
    began = time.perf_counter()
    papermill.execute_notebook(nb, folder / f"{engine}.ipynb", engine_name=engine, progress_bar=False)
    return time.perf_counter() - began


def compare(benchmark: BenchmarkFixture, cells: list[str], folder: Path, rounds: int, target: float) -> None:
    """Run both by turns, so that a busy machine is busy for both, and compare the medians."""
    if benchmark.disabled:
        pytest.skip("timed claims are only checked with --benchmark-enable")
    pairs = [(seconds(cells, folder, None), seconds(cells, folder, "prodkit")) for _ in range(rounds)]
    benchmark.pedantic(seconds, args=(cells, folder, "prodkit"), rounds=1)
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    benchmark.extra_info |= {
        "papermill_s": round(theirs, 2),
        "prodkit_s": round(ours, 2),
        "ratio": round(ours / theirs, 3),
    }
    print(f"\npapermill {theirs:.2f} s, prodkit {ours:.2f} s: {ours / theirs:.2f}x (target {target}x)")
    assert ours <= target * theirs


@pytest.mark.timeout(600)
def test_fifty_trivial_cells(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """50 trivial cells take at most 0.7 times papermill's wall time."""
    compare(benchmark, TRIVIAL, tmp_path, rounds=5, target=0.7)


@pytest.mark.timeout(600)
def test_fifty_megabytes_of_outputs(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """50 MB of outputs over 50 cells take at most 0.25 times papermill's wall time."""
    compare(benchmark, LARGE, tmp_path, rounds=3, target=0.25)
