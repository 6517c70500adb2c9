"""What a SIGKILL leaves behind in MLflow: every run that was at work ends, and says why."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.manifest import Project

WAITING = """
import os, time
from pathlib import Path
from prodkit.capture import run

with run("classify"):
    if not Path("go").exists():
        Path(f"begun-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.05)
"""
DYING = """
import os
from prodkit.capture import run

with run("classify"):
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def ready(
    make_job: Callable[..., Path], mlflow_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, Project]]:
    """A job in a project whose MLflow database is there; records are shipped when they are flushed."""
    monkeypatch.setenv("PRODKIT_SHIPPER", "inline")

    def make(code: str, **options: Any) -> tuple[Path, Project]:
        job = make_job(code, **options)
        project = find_project(job.parents[1])
        project.state.mkdir(exist_ok=True)
        shutil.copy(mlflow_template, project.state / "mlflow.db")
        return job, project

    return make


def prodkit(job: Path, *words: str) -> subprocess.Popen[bytes]:
    """`prodkit run` of a job, in a process of its own."""
    command = [sys.executable, "-m", "prodkit", "run", str(job), *words]
    return subprocess.Popen(command, cwd=job.parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kernels(job: Path, count: int) -> list[int]:
    """The ids of so many kernels that are inside of their cell."""
    place, deadline = job.parents[1] / "notebooks", time.monotonic() + 90
    while len(found := list(place.glob("begun-*"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(path.name.removeprefix("begun-")) for path in found]


def runs_in(project: Project) -> dict[str, list[tuple[str, str]]]:
    """Kind of run -> (status, outcome) of each in MLflow, sorted."""
    import mlflow

    from prodkit.ledger import Ledger

    assert Ledger.open(project).flush().pending == 0
    client = mlflow.MlflowClient(project.tracking_uri)
    found: dict[str, list[tuple[str, str]]] = {}
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()]):
        told = run.info.status, run.data.tags.get("prodkit.outcome", "")
        found.setdefault(run.data.tags["prodkit.kind"], []).append(told)
    return {kind: sorted(told) for kind, told in found.items()}


def test_a_killed_run_ends_in_mlflow_with_the_next(ready: Callable[..., tuple[Path, Project]]) -> None:
    """After kill -9 of runner and kernel, the next run closes the job, its attempt, the notebook's session and its cell."""
    job, project = ready(WAITING)
    runner = prodkit(job)
    [kernel] = kernels(job, 1)
    for victim in (runner.pid, kernel):
        os.kill(victim, signal.SIGKILL)
    runner.wait()
    assert {told for kind in runs_in(project).values() for told in kind} == {("RUNNING", "")}
    (job.parents[1] / "notebooks" / "go").touch()
    assert prodkit(job).wait() == 0
    after = runs_in(project)
    lost = ("KILLED", "lost")
    assert after["job"] == after["attempt"] == [("FINISHED", "ok"), lost]
    assert after["cell"] == [("FINISHED", ""), lost]
    assert all(status != "RUNNING" for kind in after.values() for status, _ in kind)


@pytest.mark.slow
def test_a_killed_fan_out_ends_in_mlflow_with_the_next(ready: Callable[..., tuple[Path, Project]]) -> None:
    """After kill -9 of a fan-out with two items at work, the next one closes both, and runs what is missing."""
    job, project = ready(WAITING, parameters={"n": ("int", 0)})
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n3\n")
    words = ("--over", str(over), "--workers", "2", "--fresh-kernels")
    runner = prodkit(job, *words)
    pids = kernels(job, 2)
    for victim in (runner.pid, *pids):
        os.kill(victim, signal.SIGKILL)
    runner.wait()
    (job.parents[1] / "notebooks" / "go").touch()
    assert prodkit(job, *words).wait() == 0
    after = runs_in(project)
    assert after["item"] == [("FINISHED", "ok")] * 3 + [("KILLED", "lost")] * 2
    assert all(status != "RUNNING" for kind in after.values() for status, _ in kind)


def test_a_dead_kernel_takes_no_open_run_with_it(ready: Callable[..., tuple[Path, Project]]) -> None:
    """A cell whose kernel is killed, as the system does when memory is short, ends in MLflow with its attempt."""
    job, project = ready(DYING)
    assert prodkit(job, "--retries", "0").wait() == 138
    after = runs_in(project)
    assert after["attempt"] == [("FAILED", "kernel-died")]
    assert after["cell"] == [("KILLED", "lost")]
    assert all(status != "RUNNING" for kind in after.values() for status, _ in kind)
