"""Two hundred megabytes of outputs: the saved notebook is whole and true, each cell keeps what it may, MLflow has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from prodkit.ledger import Ledger
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRINTS = "for _ in range(10_000):\n    print('x' * 1000)"  # ten megabytes
PRINTS_TOO_MUCH = "for _ in range(200_000):\n    print('y' * 1000)"
MEASURED = (
    "import resource, sys\nfrom prodkit.cli import main\ntry:\n    main()\nfinally:\n"
    "    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000, file=sys.stderr)"
)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [[PRINTS] * 20, [PRINTS_TOO_MUCH, "print('after')"]], ids=["20 cells", "one cell"])
def test_two_hundred_megabytes_of_outputs(
    make_job: Callable[..., Path], mlflow_template: Path, monkeypatch: pytest.MonkeyPatch, cells: list[Any]
) -> None:
    """The job ends well; what a cell prints beyond 20 MB is dropped with a word; memory stays below ten times the file."""
    monkeypatch.setenv("PRODKIT_SHIPPER", "inline")
    job = make_job(*cells)
    project = find_project(job.parents[1])
    project.state.mkdir()
    shutil.copy(mlflow_template, project.state / "mlflow.db")
    command = [sys.executable, "-c", MEASURED, "run", str(job)]
    environment = {**os.environ, "PRODKIT_PROJECT": str(project.root)}
    done = subprocess.run(command, env=environment, cwd=project.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    [output] = (project.state / "jobs" / "sample").glob("job-*/attempt-1.ipynb")
    saved = nbformat.read(output, 4)
    nbformat.validate(saved)
    assert {cell.metadata.papermill.status for cell in saved.cells} == {"completed"}
    size = output.stat().st_size
    if len(cells) == 20:
        assert size > 200_000_000
    else:
        assert 20_000_000 < size < 21_000_000
        assert "were dropped" in saved.cells[0].outputs[-1].text
        assert saved.cells[1].outputs[0].text == "after\n"
    peak = int(done.stderr.rpartition("peak ")[2]) * 1_000_000
    assert peak < 10 * 200_000_000
    assert Ledger.open(project).flush(120).pending == 0
    artifacts = list(project.artifact_root.rglob("attempt-1.ipynb"))
    assert artifacts
    assert all(path.stat().st_size > size * 0.9 for path in artifacts)
