"""`prodkit run` as the user types it, while MLflow is away, broken, slow or says no: the exit code is the job's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.jobs.history import History
from prodkit.jobs.outbox import Outbox
from prodkit.manifest import find_project
from prodkit.testing import simulated_provider
from tests.jobs.publishing.test_mlflow_faults import DEAD, answering
from tests.ledger.test_servers import serve, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLS = """
import os, signal, time
from pathlib import Path
from openai import OpenAI
from prodkit.capture import run
from prodkit.errors import ConfigError, DataError
from prodkit.testing import openai_options

client = OpenAI(**openai_options())
with run("classify"):
    for number in range(2):
        question = [{"role": "user", "content": f"Ticket {number}: my invoice is wrong."}]
        client.chat.completions.create(model="gpt-4o-mini", messages=question)
"""
WAITS = """
Path("begun").touch()
while not Path("go").exists():
    time.sleep(0.1)
"""
ENDS = {
    1: "raise ValueError('wrong')",
    65: "raise DataError('a.b', 'bad rows')",
    75: "raise ConnectionError('away')",
    78: "raise ConfigError('a.b', 'not set up')",
    138: "os.kill(os.getpid(), signal.SIGKILL)",
    143: "os.kill(os.getppid(), signal.SIGTERM); time.sleep(100)",
}


@pytest.fixture
def prodkit() -> Callable[..., subprocess.Popen[str]]:
    """The command in a process of its own, with a provider that answers, and no helper process that lingers."""
    given = simulated_provider(latency=0.0).environment() | {"PRODKIT_SHIPPER_IDLE": "1"}

    def start(*words: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
        known = {key: value for key, value in os.environ.items() if key != "PRODKIT_SHIPPER"}
        command = [sys.executable, "-m", "prodkit", *map(str, words)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=cwd, env={**known, **given, **environment}, **pipes)

    return start


def result_of(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the result as JSON, and what was written to stderr."""
    out, err = process.communicate()
    return process.returncode, json.loads(out) if out.strip() else {}, err


def test_a_job_without_mlflow_succeeds(make_job: Callable[..., Path], prodkit: Callable[..., Any]) -> None:
    """With nothing at MLflow's address a job ends with 0, one line says what waits, and its cost is known and kept."""
    job = make_job(CALLS)
    code, result, err = result_of(prodkit("run", job, "--json", cwd=job.parent, MLFLOW_TRACKING_URI=DEAD))
    assert (code, result["exit_code"], result["calls"], "Traceback" in err) == (0, 0, 2, False), err
    assert float(result["cost_usd"]) > 0
    assert len(result["problem"].splitlines()) == 1
    project = find_project(job.parents[1])
    [entry] = History.of(project).entries("sample")
    assert entry.cost == result["cost_usd"]
    assert Outbox(project.state / "jobs" / "outbox").runs() == (result["run"],)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("status", "body", "waits"),
    [
        (500, '{"error_code": "INTERNAL_ERROR", "message": "x"}', 0.0),
        (200, "<html>We are back soon</html>", 0.0),
        (429, '{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "x"}', 0.0),
        (401, "You are not authenticated.", 0.0),
        (200, "{}", 10.0),
    ],
    ids=["500", "html", "429", "401", "slow"],
)
def test_a_job_succeeds_whatever_mlflow_answers(
    status: int, body: str, waits: float, make_job: Callable[..., Path], prodkit: Callable[..., Any]
) -> None:
    """A server that fails, shows a page, asks for patience, says no or takes 10 seconds changes no exit code."""
    job = make_job(CALLS)
    with answering(status, body, waits=waits) as uri:
        code, result, err = result_of(prodkit("run", job, "--json", cwd=job.parent, MLFLOW_TRACKING_URI=uri))
    assert (code, result["exit_code"], result["calls"], "Traceback" in err) == (0, 0, 2, False), err
    assert len(result["problem"].splitlines()) == 1
    assert float(result["cost_usd"]) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("code", ENDS)
def test_each_end_has_its_code_without_mlflow(
    code: int, make_job: Callable[..., Path], prodkit: Callable[..., Any]
) -> None:
    """Each end of a job has its exit code, with nothing at MLflow's address too, and what it has cost is known."""
    job = make_job(CALLS, ENDS[code])
    ended, result, err = result_of(prodkit("run", job, "--json", cwd=job.parent, MLFLOW_TRACKING_URI=DEAD))
    assert (ended, result["exit_code"], "Traceback" in err) == (code, code, False), err
    assert float(result["cost_usd"]) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_server_that_dies_while_a_job_runs(
    make_job: Callable[..., Path], prodkit: Callable[..., Any], mlflow_template: Path, tmp_path: Path
) -> None:
    """The job ends with 0 and with the cost that it has with a server; all of it is published once it is back."""
    from mlflow import MlflowClient

    job = make_job(CALLS, WAITS)
    project, work = find_project(job.parents[1]), job.parents[1] / "notebooks"
    shutil.copy(mlflow_template, tmp_path / "server.db")
    with serve(f"sqlite:///{tmp_path / 'server.db'}", tmp_path) as server:
        place = {"cwd": job.parent, "MLFLOW_TRACKING_URI": server.uri}
        process = prodkit("run", job, "--json", **place)
        until((work / "begun").exists, 300, "the cell didn't begin")
        server.stop()
        (work / "go").touch()
        code, down, err = result_of(process)
        assert (code, "Traceback" in err) == (0, False), err
        assert len(down["problem"].splitlines()) == 1
        server.start()
        code, up, err = result_of(prodkit("run", job, "--json", **place))
        assert (code, up["cost_usd"]) == (0, down["cost_usd"]), err
        synced = prodkit("audit", "sync", **place)
        out, err = synced.communicate()
        assert synced.returncode == 0, out + err
        client = MlflowClient(server.uri)
        [experiment] = [one for one in client.search_experiments() if one.name == project.experiment]
        runs = client.search_runs([experiment.experiment_id], "tags.`prodkit.kind` = 'job'")
        assert {run.data.tags["prodkit.job_run"] for run in runs} == {down["run"], up["run"]}
        for run in runs:
            files = {item.path for item in client.list_artifacts(run.info.run_id)}
            assert {"review.html", "report.html", "run.json", "notebook"} <= files
            assert str(run.data.metrics["cost_usd"]) == str(float(down["cost_usd"]))
            assert (run.info.status, run.data.metrics["llm_calls"]) == ("FINISHED", 2)
    assert Outbox(project.state / "jobs" / "outbox").runs() == ()
