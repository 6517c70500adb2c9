"""Airflow itself, in a virtual environment of its own, reads the DAG file and runs it.

The environment is made once, in the user's cache folder. The log of `airflow dags test` is kept where PRODKIT_SHOTS says.
"""

from __future__ import annotations

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

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

READ = """
import json
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
found = {
    name: [str(dag.timetable.summary), str(dag.timetable._timezone), [task.task_id for task in dag.tasks]]
    for name, dag in bag.dags.items()
}
print("found " + json.dumps([found, bag.import_errors]))
"""


@pytest.fixture(scope="module")
def airflow() -> Path:
    """The newest Airflow 3 that this Python can have: the folder of its programs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prodkit-tests" / "airflow-3"
    programs = cache / "bin"
    if not (cache / "ready").exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if uv is None:
            pytest.skip("uv isn't installed, which makes Airflow's environment")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(cache)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(programs / "python"), "apache-airflow>=3,<4"]
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

    def run(program: str, *arguments: str, **more: str) -> str:
        command = [str(airflow / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**environment, **more}, cwd=home, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("airflow", "db", "migrate")
    return run


@pytest.mark.parametrize("where", ["here", "anywhere"])
def test_airflow_reads_and_runs_the_dag(
    where: str,
    told: Callable[..., str],
    make_job: Callable[..., Path],
    mlflow_template: Path,
    tmp_path: Path,
) -> None:
    """DagBag finds one DAG without an error, and `airflow dags test` runs the job once, under Airflow's own run id."""
    import json

    job = make_job("print(n)", parameters={"n": ("str", "")})
    root = job.parents[1]
    (root / ".prodkit").mkdir()
    shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
    plan = Plan.here(JobFolder.load(job), Cron("0 6 * * 1-5", "Europe/Berlin"), {"n": "it's {{ 5 }}%"})
    plan = plan if where == "here" else replace(plan, path=None)
    dags = tmp_path / "airflow" / "dags"
    for name, text in render_target("airflow", plan).items():
        (dags / name).write_text(text)

    said = told("python", "-c", READ, str(dags))
    found, errors = json.loads(next(line for line in said.splitlines() if line.startswith("found "))[6:])
    assert (found, errors) == ({plan.unit: ["0 6 * * 1-5", "Europe/Berlin", ["run"]]}, {})

    told("airflow", "dags", "reserialize")
    project = {} if where == "here" else {"PRODKIT_PROJECT": str(root)}
    log = told("airflow", "dags", "test", plan.unit, PRODKIT_SHIPPER="inline", **project)
    if os.environ.get("PRODKIT_SHOTS"):
        (Path(os.environ["PRODKIT_SHOTS"]) / f"airflow-dags-test-{where}.log").write_text(log)
    (entry,) = History(root / ".prodkit" / "jobs" / "history.db").entries("sample")
    assert (entry.outcome, entry.params) == (Outcome.OK, {"n": "it's {{ 5 }}%"})
    assert entry.key.startswith("manual__")
