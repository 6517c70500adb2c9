"""An export that is being prepared: what it would write is shown first, and what is asked for lands in the manifest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from prodkit.errors import ProdkitError
from prodkit.jobs import export
from prodkit.jobs.preview import ExportPlan, Plan


@pytest.fixture
def plan(owned, make_notebook) -> ExportPlan:
    return ExportPlan(make_notebook("print(batch)"))


def test_the_preview_is_what_export_writes(plan):
    """Every file's text is the one that an export then writes, and the preview itself leaves no trace."""
    shown = plan.preview()
    assert not plan.job.exists()
    assert {file.state for file in shown.files} == {"new"}
    assert [one.name for one in shown.parameters] == ["batch"]
    report = plan.export()
    assert set(report.written) == {file.name for file in shown.files}
    for file in shown.files:
        if file.name.startswith("wheels/"):
            assert f"{(plan.job / file.name).stat().st_size:,} bytes" in file.text
            continue
        assert (plan.job / file.name).read_text() == file.text or file.name in {
            "requirements.lock",
            "Dockerfile",
            "job.yaml",
        }
    assert {file.name for file in plan.preview().files if file.state != "same"} <= {
        "requirements.lock",
        "Dockerfile",
        "job.yaml",
    }


def test_it_is_the_same_act_as_the_command(plan, tmp_path):
    """The folder is byte for byte what `prodkit.export` makes of the same notebook."""
    plan.export()
    here = {path.relative_to(plan.job): path.read_bytes() for path in plan.job.rglob("*") if path.is_file()}
    export(plan.notebook, plan.job, project=plan.project)
    assert {path.relative_to(plan.job): path.read_bytes() for path in plan.job.rglob("*") if path.is_file()} == here


def test_schedule_retries_and_owner_land_in_the_manifest(plan, owned):
    """What is asked for is in the job and in prodkit.yaml, whose other lines stay."""
    before = owned.manifest_path.read_text()
    plan.plan = replace(
        plan.plan, schedule="0 6 * * 1-5", timezone="Europe/Berlin", retries="4", timeout="30m", owner="ben"
    )
    shown = plan.preview()
    assert shown.refusal is None
    assert len(shown.fires) == 3
    index = yaml.safe_load(next(file.text for file in shown.files if file.name == "job.yaml"))
    assert index["execution"]["schedule"] == "0 6 * * 1-5"
    assert index["execution"]["timeout"] == 1800.0
    assert owned.manifest_path.read_text() == before
    plan.export()
    after = owned.manifest_path.read_text()
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    job = yaml.safe_load(after)["job"]
    assert job == {"schedule": "0 6 * * 1-5", "timezone": "Europe/Berlin", "timeout": "30m", "retries": 4}
    assert yaml.safe_load(after)["owners"]["raci"]["uptime"] == {"R": ["ben"], "A": "ben", "C": [], "I": []}
    assert "ben@northwind.test" in (plan.job / "ownership.yaml").read_text()
    assert ExportPlan(plan.notebook).plan == plan.plan


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schedule": "every day"}, "schedule.cron"),
        ({"timezone": "Mars", "schedule": "@daily"}, "schedule.zone"),
        ({"retries": "many"}, "export.plan"),
        ({"retries": "99"}, "manifest.invalid"),
        ({"timeout": "soon"}, "manifest.invalid"),
        ({"owner": "nobody"}, "owners.unknown-id"),
    ],
)
def test_a_wrong_wish_is_refused_and_nothing_is_written(plan, owned, change, code):
    """The refusal is shown with its code; neither folder nor manifest is touched."""
    before = owned.manifest_path.read_text()
    plan.plan = replace(plan.plan, **change)
    refusal = plan.preview().refusal
    assert refusal is not None
    assert refusal.code == code
    with pytest.raises(ProdkitError):
        plan.export()
    assert not plan.job.exists()
    assert owned.manifest_path.read_text() == before


def test_a_notebook_that_cannot_be_a_job_says_why(make_notebook):
    """Findings are shown beside the refusal, so that they can be mended before."""
    plan = ExportPlan(make_notebook("x = undefined_name\n", "open('/abs/path.csv')"))
    shown = plan.preview()
    assert shown.problems
    assert shown.files == () or shown.refusal is None


def test_a_manifest_that_changed_meanwhile_stays(plan, owned):
    """Somebody's newer manifest isn't overwritten, and the job isn't exported."""
    plan.plan = replace(plan.plan, retries="4")
    owned.manifest_path.write_text(owned.manifest_path.read_text() + "# theirs\n")
    with pytest.raises(ProdkitError, match=r"manifest\.changed"):
        plan.export()
    assert "# theirs" in owned.manifest_path.read_text()
    assert not plan.job.exists()


def test_a_refused_export_leaves_the_manifest(plan, owned):
    """An export that would be refused doesn't write its wishes into the manifest first."""
    plan.job.mkdir(parents=True)
    (plan.job / "mine.txt").write_text("mine")
    before = owned.manifest_path.read_text()
    plan.plan = replace(plan.plan, retries="4")
    with pytest.raises(ProdkitError, match=r"export\.occupied"):
        plan.export()
    assert owned.manifest_path.read_text() == before


def test_without_a_manifest_the_plan_has_its_defaults(tmp_path):
    """A project that nobody answers for shows the defaults, and refuses."""
    notebook = tmp_path / "n.ipynb"
    notebook.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    plan = ExportPlan(notebook)
    assert plan.plan == Plan(timeout="3600", retries="2", retry_wait="5")
    assert plan.preview().refusal is not None
