"""How long an export takes, beside nbconvert's plain conversion of the same notebook to a script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

if TYPE_CHECKING:
    from pathlib import Path

CELLS = 200
SOURCE = """\
%matplotlib inline
import pandas as pd
import mlflow

frame_{n} = pd.DataFrame({{"a": [1, 2, 3]}})


def scaled_{n}(factor):
    found = [value * factor for value in frame_{n}["a"]]
    return found, batch


print(scaled_{n}({n}))
"""
MANIFEST = """\
service: {name: large}
owners:
  people: {ana: {name: Ana Ruiz, email: ana@northwind.test}}
  raci: {default: {R: [ana], A: ana}}
  escalation: [ana]
  review_by: 2027-03-01
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A notebook of two hundred cells in a project of its own."""
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [new_code_cell('batch: str = "2026-11"', metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(SOURCE.format(n=n)) for n in range(CELLS - 1)]
    (tmp_path / "prodkit.yaml").write_text(MANIFEST)
    nbformat.write(new_notebook(cells=cells), tmp_path / "large.ipynb")
    return tmp_path / "large.ipynb"


def test_export_of_200_cells(large: Path, benchmark: Any):
    """A notebook of 200 cells is read, linted, locked and written in under a second of this process's time."""
    from datetime import date

    from prodkit.jobs import export

    targets = (large.parent / f"job-{n}" for n in range(1000))
    seconds: list[float] = []

    def once() -> None:
        began = time.process_time()
        export(large, next(targets), hashes=False, today=date(2026, 11, 23))
        seconds.append(time.process_time() - began)

    benchmark.pedantic(once, rounds=5, warmup_rounds=1)
    benchmark.extra_info["cpu_seconds"] = sorted(seconds)[len(seconds) // 2]
    if benchmark.enabled:
        assert sorted(seconds)[len(seconds) // 2] < 1.0


def test_nbconvert_of_200_cells(large: Path, benchmark: Any):
    """The peer: nbconvert writes the same notebook as a script, without a check, a lock or an interface."""
    from nbconvert import PythonExporter

    def once() -> None:
        PythonExporter().from_filename(str(large))

    benchmark.pedantic(once, rounds=5, warmup_rounds=1)
