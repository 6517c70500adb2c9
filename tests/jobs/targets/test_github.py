"""GitHub's workflow fits its schema, a security linter finds nothing, and what it runs is the job alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from prodkit.jobs.folder import JobFolder
from prodkit.jobs.schedules.plan import Plan
from prodkit.jobs.schedules.targets import render_target
from tests.jobs.targets.conftest import HOSTILE, anywhere, check, words, written

if TYPE_CHECKING:
    from pathlib import Path


def workflow(plan: Plan) -> dict[Any, Any]:
    """The workflow as YAML reads it."""
    (text,) = render_target("github", plan).values()
    return yaml.safe_load(text)


def steps(plan: Plan) -> dict[str, dict[str, Any]]:
    """Its steps by their name, or by the action."""
    listed = workflow(plan)["jobs"]["run"]["steps"]
    return {step.get("name") or step["uses"].partition("@")[0]: step for step in listed}


def test_github_accepts_the_workflow(any_plan: Plan, tmp_path: Path) -> None:
    """The workflow fits GitHub's schema, and fires in the job's own time zone."""
    (path,) = written(any_plan, "github", tmp_path)
    check(["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)])
    assert workflow(any_plan)[True]["schedule"] == [{"cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"}]


def test_zizmor_finds_nothing(any_plan: Plan, tmp_path: Path) -> None:
    """The linter of workflows, asked as an auditor asks, has no finding; it has one as soon as a pin is a tag."""
    (path,) = written(any_plan, "github", tmp_path)
    lint = ["zizmor", "--offline", "--quiet", "--no-exit-codes", "--persona", "auditor", "--format", "json"]
    assert json.loads(check([*lint, str(path)])) == []
    path.write_text(re.sub(r"checkout@[0-9a-f]{40}", "checkout@v7", path.read_text()))
    assert [one["ident"] for one in json.loads(check([*lint, str(path)]))] == ["unpinned-uses"]


def test_actions_are_pinned_by_commit(any_plan: Plan) -> None:
    """Each action is named by the commit of a release, with its version beside it, and gets no credentials to keep."""
    (text,) = render_target("github", any_plan).values()
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == 5
    assert all(re.fullmatch(r"actions/[a-z/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used), used
    assert steps(any_plan)["actions/checkout"]["with"] == {"persist-credentials": False}
    whole = workflow(any_plan)
    assert whole["permissions"] == {}
    assert whole["jobs"]["run"]["permissions"] == {"contents": "read"}


def test_secrets_are_told_by_names(any_plan: Plan) -> None:
    """The run gets the keys of the job's models and MLflow's credentials, each from a secret of the same name."""
    env = steps(any_plan)["Run"]["env"]
    assert env.pop("MLFLOW_TRACKING_URI") == "${{ vars.MLFLOW_TRACKING_URI || 'https://mlflow.northwind.test' }}"
    assert {"ACME_TOKEN", "OPENAI_API_KEY", "MLFLOW_TRACKING_TOKEN"} <= set(env)
    assert all(value == f"${{{{ secrets.{name} }}}}" for name, value in env.items())
    assert not any("secrets." in str(step) for name, step in steps(any_plan).items() if name != "Run")


def test_state_and_results_are_kept(any_plan: Plan) -> None:
    """The state is brought back before the run and kept after it, under one group that lets no second run in."""
    listed = list(steps(any_plan))
    assert listed.index("Bring back the state of the last run") < listed.index("Run")
    back, kept = (
        steps(any_plan)["Bring back the state of the last run"],
        steps(any_plan)["Keep the state for the next run"],
    )
    assert back["with"]["key"] == kept["with"]["key"]
    assert kept["with"]["key"].startswith(back["with"]["restore-keys"])
    assert {kept["if"], steps(any_plan)["Keep the executed notebook and the run's record"]["if"]} == {
        "${{ !cancelled() }}"
    }
    assert workflow(any_plan)["concurrency"] == {"group": any_plan.unit, "cancel-in-progress": False}
    assert workflow(any_plan)["jobs"]["run"]["timeout-minutes"] * 60 > any_plan.limit


def test_only_what_this_run_has_written_is_gathered(plan: Plan, tmp_path: Path) -> None:
    """The results are the executed notebooks and the record of this run, not those that came with the state."""
    import os
    import subprocess

    old, new = tmp_path / ".prodkit/jobs/sample/old", tmp_path / ".prodkit/jobs/sample/new"
    results = tmp_path / "results"
    for folder, age in ((old, 100), (new, 0)):
        folder.mkdir(parents=True)
        for name in ("attempt-1.ipynb", "run.json", "lock"):
            (folder / name).write_text("x")
            os.utime(folder / name, (2_000_000_000 - age, 2_000_000_000 - age))
    (tmp_path / "begun").touch()
    os.utime(tmp_path / "begun", (2_000_000_000 - 50, 2_000_000_000 - 50))
    script = steps(plan)["Gather what this run has written"]["run"]
    subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env={**os.environ, "RUNNER_TEMP": str(tmp_path)}, check=True
    )
    assert {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()} == {
        "sample/new/attempt-1.ipynb",
        "sample/new/run.json",
    }


@pytest.mark.parametrize("value", HOSTILE)
def test_a_parameter_stays_one_word(value: str, plan: Plan, tmp_path: Path) -> None:
    """Neither GitHub's expressions nor the shell find anything in a parameter: it arrives as it is."""
    run = steps(anywhere(replace(plan, params={"n": value})))["Run"]["run"]
    assert re.findall(r"\$\{\{.*?\}\}", run) == ["${{ '${{' }}"] * value.count("${{")
    said = words(run.replace("${{ '${{' }}", "${{"), tmp_path)
    assert said == ["run", "jobs/sample", "-p", f"n={value}", "--key", "github-7"]


def test_a_project_below_its_repository_is_found(plan: Plan) -> None:
    """The workflow runs in the repository's root: paths of a project in a folder of it begin with that folder."""
    root = plan.root
    assert root is not None
    (root.parent / ".git").mkdir()
    here = Plan.here(JobFolder.load(root / plan.place), plan.cron)
    text = render_target("github", replace(here, needs=replace(here.needs, data=(("/job/data", "data"),))))
    (workflow,) = text.values()
    assert 'JOB: "project/jobs/sample"' in workflow
    assert "prodkit run project/jobs/sample " in workflow
    assert "# Data that must be in the checkout, or be fetched in a step before the run: project/data." in workflow
