"""What a header costs: a captured cell beside the same cell with MLflow's own run around it, in one shell.

Target: at most 10 ms beyond MLflow's own logging of a run with as many parameters, tags and metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from prodkit.notebook.magics import load, unload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.manifest import Project

MLFLOW = """
import mlflow
mlflow.set_tracking_uri({uri!r})
mlflow.set_experiment("peer")
"""
BY_HAND = """
with mlflow.start_run(run_name="peer"):
    mlflow.log_params({"source": "x = 1", "budget_usd": "0.5"})
    mlflow.set_tags({f"tag{i}": "x" for i in range(8)})
    mlflow.log_metrics({f"metric{i}": 0.0 for i in range(12)})
    mlflow.log_text("x = 1", "source/cell.py")
    x = 1
"""


@pytest.fixture
def run_cell(project: Project) -> Iterator[Callable[[str], Any]]:
    """Runs a cell in a shell with prodkit loaded; a failing cell fails the benchmark."""
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    load(shell)

    def run(source: str) -> Any:
        with capture_output():
            result = shell.run_cell(source)
        result.raise_error()
        return result

    run(MLFLOW.format(uri=project.tracking_uri))
    run("%%prodkit --name warm --budget 0.50\nx = 1")
    run(BY_HAND)
    yield run
    unload(shell)
    InteractiveShell.clear_instance()


@pytest.mark.benchmark(group="a cell")
def test_plain_cell(benchmark: Any, run_cell: Callable[[str], Any]) -> None:
    """A cell without anything around it."""
    assert benchmark(run_cell, "x = 1").success


@pytest.mark.benchmark(group="a cell")
def test_mlflow_by_hand(benchmark: Any, run_cell: Callable[[str], Any]) -> None:
    """The peer: MLflow's own run, logged by hand."""
    assert benchmark.pedantic(run_cell, (BY_HAND,), rounds=20, warmup_rounds=2).success


@pytest.mark.benchmark(group="a cell")
def test_captured_cell(benchmark: Any, run_cell: Callable[[str], Any]) -> None:
    """The same cell below a prodkit header, with its card."""
    cell = "%%prodkit --name bench --budget 0.50\nx = 1"
    assert benchmark.pedantic(run_cell, (cell,), rounds=20, warmup_rounds=2).success
