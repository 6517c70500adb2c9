"""What 0.1.0 wrote is read, and what a later version wrote is refused with one clear error.

The archive holds a project that the code of 0.1.0 wrote in `/srv/northwind`: a job folder with a run, a captured
session of invented people of which a part was shipped, keys, history and a booked sum.
"""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from prodkit.budget import Scopes
from prodkit.cli import cli
from prodkit.errors import ConfigError
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.history import History
from prodkit.ledger import Ledger, chain, journal
from prodkit.ledger.audit import Audit
from prodkit.ledger.places import Places
from prodkit.ledger.ship_db import VERSION
from prodkit.ledger.shipments import Shipments
from prodkit.manifest import find_project
from prodkit.records import Status
from prodkit.stores.opening import budgets_of

GOLDEN = Path(__file__).parents[1] / "golden" / "project-0.1.0.tar.gz"


@pytest.fixture
def northwind(tmp_path, monkeypatch):
    """The project of 0.1.0, at another place than where it was written."""
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "northwind"
    monkeypatch.chdir(root)
    return find_project(root)


def test_a_project_of_0_1_0_is_read_verified_and_shipped(northwind, traces_of):
    """Its journal verifies, its calls open, what waits is shipped once, and its artifacts are its own."""
    audit = Audit(northwind)
    assert audit.verify().flaws == ()
    calls = [call for _, call, erased in audit.calls() if not erased]
    assert {call.user for call in calls} == {"ana", "ben"}
    assert audit.pending() > 0
    assert audit.sync().pending == 0
    assert audit.rejections() == []
    client = MlflowClient(northwind.tracking_uri)
    assert sorted(one.info.trace_id for one in traces_of(client)) == sorted(call.trace_id for call in calls)
    runs = client.search_runs(["1"])
    keys = [run.data.tags["prodkit.key"] for run in runs]
    assert len(keys) == len(set(keys)) == 11
    assert all(run.info.artifact_uri.startswith(northwind.state.as_uri()) for run in runs)
    late = next(run for run in runs if run.info.run_name == "late")
    assert late.data.tags["mlflow.parentRunId"] in {run.info.run_id for run in runs}
    assert {one.path for one in client.list_artifacts(late.info.run_id)} == {"prodkit"}
    assert not Path("/srv/northwind").exists()
    explained = audit.explain(calls[0].request_id)
    assert [run["kind"] for run in explained.runs] == ["cell", "session"]
    assert all(run["run_id"] for run in explained.runs)
    assert audit.erase("ana").requests == len([call for call in calls if call.user == "ana"])
    assert audit.verify().ok


def test_recording_goes_on_in_a_project_of_0_1_0(northwind, make_spec, make_trace):
    """New records follow the old ones in the same stream, and go to the same MLflow."""
    ledger = Ledger.open(northwind, shipper="inline")
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    ledger.end_run(run, status=Status.OK)
    assert ledger.flush().pending == 0
    assert ledger.journal.head[0] == "0001"
    assert Audit(northwind).verify().flaws == ()
    assert ledger._shipments.destinations() == ["project:.prodkit/mlflow.db|triage"]


def test_jobs_and_history_of_0_1_0_are_shown(northwind):
    """The job folder is read, and its run is listed."""
    folder = JobFolder.load(northwind.root / "jobs" / "sums")
    assert (folder.name, folder.index.format) == ("sums", 1)
    said = CliRunner().invoke(cli, ["runs", "sums", "--json"])
    assert (said.exit_code, '"job-01a23245aaaed5efb75b1163cdd5"' in said.output) == (0, True), said.output


def test_the_budget_of_0_1_0_is_still_spent(northwind):
    """What 0.1.0 has booked counts against the day and the month, and the next call is booked on top of it."""
    budgets, then = budgets_of(northwind), datetime(2026, 12, 1, 15, tzinfo=UTC)

    def spent(when):
        return {one.scope: (one.spent, one.reserved) for one in budgets.balances(Scopes(), when=when)}

    assert spent(then) == {"day": (Decimal("0.42"), 0), "month": (Decimal("0.42"), 0)}
    before = spent(None)
    budgets.settle(budgets.reserve(Scopes(), Decimal("0.50")), Decimal("0.08"))
    assert {scope: total - before[scope][0] for scope, (total, _) in spent(None).items()} == dict.fromkeys(
        ("day", "month"), Decimal("0.08")
    )
    day = sum(one.spent for one in budgets.balances(Scopes(), when=then) if one.scope == "day")
    assert day in {Decimal("0.42"), Decimal("0.50")}  # the latter on that very day


def test_what_0_1_0_wrote_down_of_files_is_found_where_the_project_is(northwind):
    """The history names the notebook of an old run below the project's folder of today, whatever lies at the old one."""
    job, run = "sums", "job-01a23245aaaed5efb75b1163cdd5"
    (entry,) = History.of(northwind).entries(job)
    assert entry.output == str(northwind.state / "jobs" / job / run / "attempt-1.ipynb")
    assert Path(entry.output).is_file()


def test_a_layout_of_a_later_version_is_one_clear_error(project, ledger, make_spec):
    """A database that a later version wrote is named with its number and left alone."""
    ledger.end_run(ledger.start_run(make_spec()), status=Status.OK)
    ledger.flush()
    with sqlite3.connect(project.state / "ship.db") as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(ConfigError) as refused:
        Shipments(Places(project.state)).heads()
    assert (refused.value.code, f"layout {VERSION + 1}" in str(refused.value)) == ("ledger.newer", True)


def test_a_journal_of_a_later_version_is_one_clear_error(project, open_ledger, make_spec, monkeypatch):
    """Neither reading nor appending guesses at records of a later version."""
    ledger = open_ledger(project)
    with monkeypatch.context() as later:
        later.setattr(journal, "Entry", partial(chain.Entry, version=chain.VERSION + 1))
        ledger.start_run(make_spec())
        ledger.close()
    for act in (lambda: Audit(project).verify(), lambda: open_ledger(project).start_run(make_spec())):
        with pytest.raises(ConfigError) as refused:
            act()
        assert refused.value.code == "ledger.newer"
        assert f"version {chain.VERSION + 1}" in str(refused.value)


def test_a_read_only_database_of_an_earlier_layout_is_migrated_in_memory(northwind, monkeypatch):
    """Where nothing may be written, an old database is read all the same, and stays as it is."""
    places = Places(northwind.state)
    before = places.ship_db.read_bytes()
    monkeypatch.setattr("prodkit.ledger.ship_db.os.access", lambda *_: False)
    assert Shipments(places).destinations() == ["project:.prodkit/mlflow.db|triage"]
    assert places.ship_db.read_bytes() == before
    shutil.rmtree(northwind.state)
