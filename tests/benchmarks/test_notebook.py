"""What a header costs: a captured cell beside the same cell with MLflow's own run around it, in one shell.

Target: at most 10 ms beyond MLflow's own logging of a run with as many parameters, tags and metrics.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from prodkit.notebook.magics import load, unload
from prodkit.notebook.meter import CostMeter
from prodkit.notebook.panel import RunPanel
from prodkit.notebook.requests import RequestBrowser
from prodkit.records import CallRecord, Cost, Status, Usage, now

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


@pytest.fixture
def busy(run_cell: Callable[[str], Any]) -> Any:
    """A kernel in which a run with 30,000 calls is open."""
    runs = InteractiveShell.instance()._prodkit_magics.runs
    run = runs.open({"name": "many"})
    at = now()
    call = CallRecord(
        request_id="req",
        name="many",
        started=at,
        ended=at,
        status=Status.OK,
        model="gpt-4o-mini",
        usage=Usage(100, 10),
        cost=Cost(Decimal("0.001"), "priced"),
    )
    for number in range(30_000):
        run.tally.add(dataclasses.replace(call, request_id=f"req-{number}"))
    return runs


@pytest.mark.benchmark(group="drawing 30,000 calls")
@pytest.mark.parametrize("face", [RunPanel, CostMeter, RequestBrowser])
def test_drawing_a_panel(benchmark: Any, busy: Any, face: Any) -> None:
    """What an update computes, at most four times a second and at most a twentieth of the time."""
    shown = face(busy)

    def draw() -> Any:
        busy._seen = (0.0, ())
        return shown.state()

    assert benchmark.pedantic(draw, rounds=10, warmup_rounds=1)


@pytest.mark.benchmark(group="drawing 30,000 calls")
def test_drawing_all_as_a_table(benchmark: Any, busy: Any) -> None:
    """The peer: all calls as a pandas table in HTML, which is what a notebook shows without a page."""
    import pandas as pd

    run = busy.open_runs[-1]

    def draw() -> str:
        rows = [(call.request_id, call.model, call.seconds, call.cost.usd) for call in run.calls]
        return pd.DataFrame(rows).to_html()

    assert benchmark.pedantic(draw, rounds=2)
