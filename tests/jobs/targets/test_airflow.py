"""Airflow itself, 2 and 3, each in a virtual environment of its own, reads the DAG file and runs it.

The environments are made once, in the user's cache folder. The log of `airflow dags test` is kept where PRODKIT_SHOTS says.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prodkit.jobs.ends import Outcome
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.history import History
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.plan import Plan
from prodkit.jobs.schedules.targets import render_target
from tests.jobs.targets.conftest import HOSTILE, anywhere, words

if TYPE_CHECKING:
    from collections.abc import Callable

RELEASES = {"2": "apache-airflow>=2.11,<3", "3": "apache-airflow>=3,<4"}
READ = """
import json
import sys
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
bag = DagBag(sys.argv[1])
def told(dag):
    (task,) = dag.tasks
    return {
        "schedule": [str(dag.timetable.summary), str(dag.timetable._timezone)],
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "start": dag.start_date.isoformat(),
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "task": [task.task_id, task.owner, task.pool, task.retries, task.execution_timeout.total_seconds()],
    }
print("found " + json.dumps([{name: told(dag) for name, dag in bag.dags.items()}, bag.import_errors]))
"""


def dag_command(plan: Plan) -> str:
    """The command in the DAG file, as jinja renders it."""
    import jinja2

    (text,) = render_target("airflow", plan).values()
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.keyword) and node.arg == "bash_command"]
    return jinja2.Template(ast.literal_eval(calls[0].value)).render(run_id="tick 1")


@pytest.mark.parametrize("value", HOSTILE)
def test_a_parameter_stays_one_word(value: str, plan: Plan, tmp_path: Path) -> None:
    """The DAG file is Python, and its command survives jinja and the shell: the parameter arrives as it is."""
    said = words(dag_command(anywhere(replace(plan, params={"n": value}))), tmp_path)
    assert said == ["run", "/some where/jobs/sample", "-p", f"n={value}", "--retries", "0", "--key", "tick 1"]


def test_one_layer_tries_again(any_plan: Plan) -> None:
    """Airflow tries again as often as the job says, and prodkit doesn't; what can't be mended so is told apart by its code."""
    (text,) = render_target("airflow", any_plan).values()
    values = {node.arg: ast.unparse(node.value) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.keyword)}
    assert values["retries"] == str(any_plan.how.retries)
    assert "--retries 0 " in values["bash_command"]
    assert f"FINAL = (1, 2, {Outcome.BAD_INPUT.exit_code}, {Outcome.MISCONFIGURED.exit_code})" in text


@pytest.fixture(scope="module", params=sorted(RELEASES))
def airflow(request: pytest.FixtureRequest) -> Path:
    """The newest Airflow of a release that this Python can have: the folder of its programs."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prodkit-tests" / f"airflow-{request.param}"
    )
    programs = cache / "bin"
    if not (cache / "ready").exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if uv is None:
            pytest.skip("uv isn't installed, which makes Airflow's environment")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(cache)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(programs / "python"), RELEASES[request.param]]
        done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=400)
        if done.returncode != 0:
            pytest.skip(f"Airflow can't be installed here: {done.stderr.strip().splitlines()[-1]}")
        (cache / "ready").touch()
    return programs


@pytest.fixture
def told(airflow: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a program of Airflow's in a home of its own, where its database is ready; gives all that it says."""
    home = tmp_path / "airflow"
    (home / "dags").mkdir(parents=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
        "PATH": f"{airflow}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def run(program: str, *arguments: str, ends: tuple[int, ...] = (0,), **more: str) -> str:
        command = [str(airflow / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**environment, **more}, cwd=home, timeout=300
        )
        assert done.returncode in ends, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("airflow", "db", "migrate")
    return run


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("where", ["here", "anywhere"])
def test_airflow_reads_and_runs_the_dag(
    where: str,
    told: Callable[..., str],
    make_job: Callable[..., Path],
    mlflow_template: Path,
    tmp_path: Path,
) -> None:
    """DagBag finds one DAG without an error, as it is meant; `airflow dags test` runs the job once under Airflow's run id."""
    job = make_job("print(n)", parameters={"n": ("str", "")}, retries=2)
    root = job.parents[1]
    (root / ".prodkit").mkdir()
    shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
    plan = Plan.here(JobFolder.load(job), Cron("0 6 * * 1-5", "Europe/Berlin"), {"n": "it's {{ 5 }}%"})
    plan = plan if where == "here" else anywhere(plan)
    dags = write_dags(plan, tmp_path)

    found, errors = read_dags(told, dags, PRODKIT_AIRFLOW_POOL="models")
    assert errors == {}
    dag = found.pop(plan.unit)
    assert found == {}
    assert dag["schedule"] == ["0 6 * * 1-5", "Europe/Berlin"]
    assert dag["task"] == ["run", "ana", "models", 2, plan.limit]
    assert (dag["catchup"], dag["max_active_runs"], dag["tags"]) == (False, 1, ["prodkit"])
    assert dag["start"].endswith("+00:00")
    assert "Ana Ruiz" in dag["doc"]

    told("airflow", "dags", "reserialize")
    project = {} if where == "here" else {"PRODKIT_PROJECT": str(root)}
    log = told("airflow", "dags", "test", plan.unit, PRODKIT_SHIPPER="inline", **project)
    if os.environ.get("PRODKIT_SHOTS"):
        (Path(os.environ["PRODKIT_SHOTS"]) / f"airflow-dags-test-{where}.log").write_text(log)
    (entry,) = History(root / ".prodkit" / "jobs" / "history.db").entries("sample")
    assert (entry.outcome, entry.params) == (Outcome.OK, {"n": "it's {{ 5 }}%"})
    assert entry.key.startswith("manual__")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("code", "starts"), [(78, 1), (75, 3)])
def test_airflow_tries_again_what_may_pass(
    code: int, starts: int, told: Callable[..., str], make_job: Callable[..., Path], tmp_path: Path
) -> None:
    """A run that ends with 78 is started once, one with 75 as often as the job says; then the log names whom to call."""
    fake = tmp_path / "programs" / "prodkit"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho started >>{tmp_path}/starts\nexit {code}\n")
    fake.chmod(0o755)
    plan = anywhere(Plan.here(JobFolder.load(make_job("x = 1", retries=2)), Cron("0 6 * * 1-5")))
    write_dags(plan, tmp_path)
    told("airflow", "dags", "reserialize")
    path = f"{fake.parent}:{os.environ['PATH']}"
    log = told("airflow", "dags", "test", plan.unit, ends=(0, 1), PATH=path, PRODKIT_PROJECT="/nowhere")
    assert (tmp_path / "starts").read_text().count("started") == starts, log
    assert f"prodkit run ended with {code}" in log
    assert "Call Ana Ruiz (https://pager.northwind.test/ana)" in log


def write_dags(plan: Plan, tmp_path: Path) -> Path:
    """Put the DAG file into Airflow's folder."""
    dags = tmp_path / "airflow" / "dags"
    for name, text in render_target("airflow", plan).items():
        (dags / name).write_text(text)
    return dags


def read_dags(told: Callable[..., str], dags: Path, **more: str) -> list[dict]:  # type: ignore[type-arg]
    """What DagBag finds in a folder, and its errors."""
    said = told("python", "-c", READ, str(dags), **more)
    return json.loads(next(line for line in said.splitlines() if line.startswith("found "))[6:])
