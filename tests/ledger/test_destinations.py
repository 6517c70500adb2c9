"""Each address holds up its own records only, and what waits for one can be sent to another."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from prodkit.cli import cli
from prodkit.ledger.audit import Audit
from prodkit.ledger.destinations import adopt, current_destination, portable
from prodkit.ledger.retargets import Retarget, resolve
from prodkit.records import Status

DEAD = "http://127.0.0.1:9"
WITH_PASSWORD = "http://someone:hunter2@127.0.0.1:9"


@pytest.fixture
def point(monkeypatch):
    """Points MLflow to an address; without one to the project's own."""

    def to(uri=None):
        if uri is None:
            monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        else:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    return to


@pytest.fixture
def other(tmp_path, mlflow_template):
    """Another MLflow database, outside of the project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(mlflow_template, folder / "other.db")
    return f"sqlite:///{folder / 'other.db'}"


def record(ledger, make_spec, make_trace, traces=3):
    run = ledger.start_run(make_spec())
    for _ in range(traces):
        ledger.log_trace(make_trace(run.key))
    ledger.end_run(run, status=Status.OK, metrics={"calls": traces})
    return run


def keys_in(uri):
    """The keys of all runs there, each as often as it stands there."""
    client = MlflowClient(uri)
    return sorted(run.data.tags["prodkit.key"] for run in client.search_runs(["1"]))


def test_a_dead_address_holds_up_its_own_records_only(project, ledger, client, make_spec, make_trace, traces_of, point):
    """Records for a dead address wait and are counted; those before and behind them in the same stream are shipped."""
    first = record(ledger, make_spec, make_trace)
    point(WITH_PASSWORD)
    lost = record(ledger, make_spec, make_trace)
    point()
    second = record(ledger, make_spec, make_trace)
    report = ledger.flush()

    assert {run.info.status for run in client.search_runs(["1"])} == {"FINISHED"}
    assert keys_in(project.tracking_uri) == sorted([first.key, second.key])
    assert len(traces_of(client)) == 6
    assert report.pending == 6  # its start, three calls, its end, its checkpoint
    assert report.reason == f"{DEAD}: the connection was refused"
    assert ledger._shipments.home(lost.key).startswith(DEAD)
    assert "hunter2" not in (project.state / "ship.db").read_bytes().decode("latin-1")
    again = ledger.flush()
    assert (again.shipped, again.pending) == (0, 6)


def test_what_waits_is_delivered_when_the_address_answers_again(
    project, ledger, client, make_spec, make_trace, traces_of, point, other, tmp_path
):
    """A database that is away for a while gets each record once and in order, with what was recorded meanwhile."""
    folder, away = tmp_path / "elsewhere", tmp_path / "away"
    folder.rename(away)
    folder.touch()  # MLflow would make a folder that isn't there, and an empty database in it
    point(other)
    before = record(ledger, make_spec, make_trace)
    point()
    own = record(ledger, make_spec, make_trace)
    assert ledger.flush().pending == 6
    point(other)
    after = record(ledger, make_spec, make_trace)
    assert ledger.flush().pending == 12
    folder.unlink()
    away.rename(folder)
    report = ledger.flush()
    point()

    assert (report.pending, report.reason) == (0, "")
    assert keys_in(other) == sorted([before.key, after.key])
    assert keys_in(project.tracking_uri) == [own.key]
    assert len(traces_of(MlflowClient(other))) == 6
    assert ledger._shipments.cursors() == ledger._shipments.heads()


def test_retarget_moves_what_waits_and_what_comes_and_the_journal_stays_whole(
    project, ledger, client, make_spec, make_trace, traces_of, point
):
    """`sync` names the failing address and the way out; `retarget` delivers everything once; `verify` is content."""
    point(DEAD)
    session = ledger.start_run(make_spec("notebook", "session"))
    cell = ledger.start_run(make_spec(parent_key=session.key))
    ledger.log_trace(make_trace(cell.key))
    ledger.end_run(cell, status=Status.OK)
    point()
    second = ledger.start_run(make_spec(parent_key=session.key))  # its parent waits for the dead address
    ledger.log_trace(make_trace(second.key))
    ledger.end_run(second, status=Status.OK)
    ledger.flush()
    root = ["--project", str(project.root)]
    said = CliRunner().invoke(cli, ["audit", "sync", *root])
    assert said.exit_code == 75
    assert f"{DEAD}: the connection was refused" in said.output
    proposed = f"prodkit audit retarget {DEAD} {project.tracking_uri}"
    assert proposed in said.output

    moved = CliRunner().invoke(cli, [*proposed.split()[1:], *root])
    assert (moved.exit_code, "0 wait" in moved.output) == (0, True), moved.output
    assert keys_in(project.tracking_uri) == sorted([session.key, cell.key, second.key])
    assert len(traces_of(client)) == 2
    found = client.search_runs(["1"], f"tags.`prodkit.key` = '{session.key}'")[0].info.run_id
    for run in client.search_runs(["1"], "tags.`prodkit.kind` = 'cell'"):
        assert run.data.tags["mlflow.parentRunId"] == found
    assert CliRunner().invoke(cli, ["audit", "verify", *root]).exit_code == 0

    point(DEAD)  # forgotten in somebody's environment
    late = record(ledger, make_spec, make_trace, traces=1)
    assert ledger.flush().pending == 0
    point()
    assert late.key in keys_in(project.tracking_uri)


def test_a_run_that_the_old_address_has_goes_on_at_the_new_one(
    project, ledger, client, make_spec, make_trace, traces_of, point, other, tmp_path
):
    """The rest of a run is shown at the new address, in a run that names the earlier one; what was taken stays."""
    point(other)
    session = ledger.start_run(make_spec("notebook", "session"))
    run = ledger.start_run(make_spec(parent_key=session.key, params={"model": "m"}))
    ledger.log_trace(make_trace(run.key))
    assert ledger.flush().pending == 0
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    (tmp_path / "elsewhere").touch()
    ledger.log_trace(make_trace(run.key))
    ledger.end_run(run, status=Status.OK)
    point()
    assert ledger.flush().pending == 3
    audit = Audit(project)
    audit.retarget(other, "project")
    assert audit.sync().pending == 0
    assert audit.rejections() == []

    made = client.search_runs(["1"], f"tags.`prodkit.key` = '{run.key}'")[0]
    assert made.info.status == "FINISHED"
    assert made.data.params == {"model": "m"}
    assert made.data.tags["prodkit.continues"] == f"{run.run_id} at {other}"
    assert len(traces_of(client, made.info.run_id)) == 1
    parent = client.get_run(made.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["prodkit.key"] == session.key
    earlier = MlflowClient(f"sqlite:///{tmp_path / 'gone' / 'other.db'}")
    assert len(traces_of(earlier, run.run_id)) == 1


def test_what_belongs_to_a_run_follows_it(project, ledger, client, make_spec, make_trace, traces_of, point, other):
    """A run that was begun before MLflow was pointed elsewhere gets its calls and its end where it is."""
    run = ledger.start_run(make_spec())
    point(other)
    ledger.log_trace(make_trace(run.key))
    ledger.end_run(run, status=Status.OK)
    assert ledger.flush().pending == 0
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert len(traces_of(client, run.run_id)) == 1
    assert ledger._shipments.rejections() == []


@pytest.mark.parametrize("uri", ["htp://typo.example", "sqlite:////dev/null/mlflow.db", "http://127.0.0.1:port"])
def test_an_address_that_cannot_be_used_refuses_no_record(
    project, ledger, client, make_spec, make_trace, traces_of, point, uri
):
    """A typo in the address is the address's fault: its records wait, none is given up, and others go on."""
    point(uri)
    record(ledger, make_spec, make_trace, traces=1)
    point()
    record(ledger, make_spec, make_trace, traces=1)
    report = ledger.flush()
    assert ledger._shipments.rejections() == []
    assert report.pending == 4
    assert report.reason.startswith(uri)
    assert len(traces_of(client)) == 1


def test_a_retarget_that_is_killed_anywhere_is_gone_on_with(
    project, open_ledger, client, make_spec, make_trace, traces_of, point
):
    """Killed with SIGKILL at any moment, a retarget leaves every run and call in MLflow exactly once in the end."""
    runs, calls = [], []
    for attempt in range(6):
        point(DEAD)
        ledger = open_ledger(project)
        run = ledger.start_run(make_spec())
        calls += [make_trace(run.key) for _ in range(5)]
        for trace in calls[-5:]:
            ledger.log_trace(trace)
        ledger.end_run(run, status=Status.OK)
        runs.append(run.key)
        ledger.close()
        point()
        pid = os.fork()
        if pid == 0:
            try:
                audit = Audit(project)
                audit.retarget(DEAD, "project") if attempt % 2 == 0 else None
                audit.sync()
            finally:
                os._exit(0)
        time.sleep(0.01 * 3**attempt)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    audit = Audit(project)
    audit.retarget(DEAD, "project")
    assert audit.sync().pending == 0
    assert keys_in(project.tracking_uri) == sorted(runs)
    assert sorted(trace.info.trace_id for trace in traces_of(client)) == sorted(trace.trace_id for trace in calls)
    assert audit.verify().ok


def test_an_address_that_nothing_goes_to_is_one_clear_error(project, ledger, make_spec, make_trace):
    """Retargeting a mistyped address changes nothing and lists the addresses that records go to."""
    record(ledger, make_spec, make_trace, traces=1)
    said = CliRunner().invoke(cli, ["audit", "retarget", DEAD, "project", "--project", str(project.root)])
    assert said.exit_code != 0
    assert said.exception.code == "audit.unknown-address"
    assert project.tracking_uri in said.exception.fix
    here = str(project.tracking_uri)
    mistyped = CliRunner().invoke(cli, ["audit", "retarget", here, "nonsense", "--project", str(project.root)])
    assert mistyped.exception.code == "audit.address"


def test_the_helper_ships_to_what_works_while_another_address_is_dead(
    project, open_ledger, client, make_spec, make_trace, traces_of, point, monkeypatch
):
    """The process beside the kernel goes on shipping new records while it waits before it asks a dead address again."""
    monkeypatch.setenv("PRODKIT_SHIPPER_IDLE", "2")
    point(DEAD)
    ledger = open_ledger(project, shipper="helper")
    record(ledger, make_spec, make_trace, traces=1)
    point()
    for number in range(1, 4):
        record(ledger, make_spec, make_trace, traces=1)
        report = ledger.flush(timeout=120)
        assert report.pending == 4
        assert report.reason == f"{DEAD}: the connection was refused"
        assert len(traces_of(client)) == number
    for pid in ledger._helper._pids:
        os.kill(pid, signal.SIGTERM)


def test_decisions_hold_in_their_order():
    """Retargets follow each other, may be taken back, and turn the number of an experiment into its name."""
    chain = [Retarget("1", "a", "b", "demo"), Retarget("2", "b", "c", "demo")]
    assert resolve("a|x", chain) == "c|x"
    assert resolve("a|#7", chain) == "c|demo"
    back = [*chain[:1], Retarget("2", "b", "a", "demo")]
    assert (resolve("a|x", back), resolve("b|x", back)) == ("a|x", "a|x")
    again = [*chain[:1], Retarget("2", "a", "c", "demo")]
    assert (resolve("a|x", again), resolve("b|x", again)) == ("c|x", "b|x")
    whole = [Retarget("1", "a|#7", "a|demo", "demo")]
    assert (resolve("a|#7", whole), resolve("a|x", whole)) == ("a|demo", "a|x")


def test_a_database_inside_of_the_project_is_named_by_its_place_in_it(project, tmp_path, monkeypatch):
    """The project's own MLflow has one name, wherever the folder lies and however its address is written."""
    own = "project:.prodkit/mlflow.db|demo"
    assert current_destination(project) == own
    monkeypatch.setenv("MLFLOW_TRACKING_URI", project.tracking_uri)  # as the runner sets it in kernels
    assert current_destination(project) == own
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///.prodkit/mlflow.db")  # seen from the current directory
    assert current_destination(project) == own
    outside = f"sqlite:///{tmp_path / 'x.db'}"
    assert portable(outside, project.root) == outside


def test_the_name_that_an_earlier_version_wrote_is_that_of_the_project_itself(project, monkeypatch):
    """The old absolute path means the project's own MLflow, not that of the folder that it was copied from."""
    old = "sqlite:////home/a/demo/.prodkit/mlflow.db"
    assert adopt(f"{old}|demo", project.root) == "project:.prodkit/mlflow.db|demo"
    assert adopt("http://host:5000|#3", project.root) == "http://host:5000|#3"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", old)  # said on purpose
    assert adopt(f"{old}|demo", project.root) == f"{old}|demo"
