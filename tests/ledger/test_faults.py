"""The ledger when things break: killed processes, an MLflow that isn't there, forks, huge and many records."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prodkit.ledger import Ledger
from prodkit.ledger.audit import Audit
from prodkit.ledger.locks import is_locked
from prodkit.ledger.verify import verify_journal
from prodkit.manifest import find_project
from prodkit.records import Status

HERE = Path(__file__).parent


def record_until_killed(ledger, make_trace, delay):
    """Fork a process that records as fast as it can, kill it with SIGKILL; the traces that it had acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                trace = make_trace(prompt="words " * 50)
                ledger.log_trace(trace)
                os.write(writing, (trace.trace_id + "\n").encode())
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        first = pipe.readline()
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return [line.decode().strip() for line in [first, *pipe.readlines()]]


def stored(client, traces_of):
    return [trace.info.trace_id for trace in traces_of(client)]


def test_twenty_kills_lose_no_call_and_show_none_twice(project, ledger, client, make_trace, traces_of):
    """Each call that was logged before a SIGKILL is in MLflow exactly once after the next shipping, 20 kills on."""
    acknowledged = []
    for round_ in range(20):
        acknowledged += record_until_killed(ledger, make_trace, 0.002 * (round_ % 8))
    report = ledger.flush()

    assert report.pending == 0
    ids = stored(client, traces_of)
    assert len(ids) == len(set(ids))
    assert set(acknowledged) <= set(ids)
    assert len(acknowledged) >= 20
    assert verify_journal(project.state / "journal").ok


def test_an_mlflow_that_is_not_there_costs_the_user_little_and_loses_nothing(
    project, open_ledger, client, make_spec, make_trace, traces_of, monkeypatch
):
    """Without MLflow a run is recorded all the same within seconds, one sentence says why, and it waits."""
    with socket.socket() as silent:  # accepts the connection and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:pass@127.0.0.1:{silent.getsockname()[1]}")
        ledger = open_ledger(project)
        begun = time.monotonic()
        run = ledger.start_run(make_spec())
        ledger.log_trace(make_trace(run.key))
        report = ledger.flush(timeout=10)
        assert time.monotonic() - begun < 60  # MLflow is imported in it, on a machine that may be busy
        assert (run.run_id, run.url) == ("", "")
        assert report.pending in {3, 4}  # the opening of the stream counts until somebody has read it
        assert "[ledger.mlflow-slow]" in ledger.problem
        assert "pass" not in ledger.problem
        assert "prodkit audit sync" in ledger.problem
    ledger.close()


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:9", "http://no-such-host.invalid:5000", "postgresql://127.0.0.1:9/x", "http://127.0.0.1:port"],
)
def test_every_wrong_address_is_named(project, open_ledger, make_spec, monkeypatch, uri):
    """A refused connection, an unknown host and a port that is no number each end in one sentence, not in a wait."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    ledger = open_ledger(project)
    assert ledger.start_run(make_spec()).run_id == ""
    assert uri in ledger.problem


def test_a_prompt_of_five_megabytes_is_kept_whole(ledger, client, make_spec, make_trace, traces_of, project):
    """A 5 MB prompt is journaled, shipped and shown whole."""
    prompt = "0123456789abcdef " * (5 * 2**20 // 17)
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key, prompt=prompt))
    assert ledger.flush().pending == 0
    (trace,) = traces_of(client, run.run_id)
    assert trace.data.spans[0].inputs == {"text": prompt}
    (_, call, _), *_ = Audit(project).calls()
    assert call.prompt[0]["content"] == prompt


def test_a_forked_child_records_beside_its_parent(ledger, client, make_spec, make_trace, traces_of):
    """After `os.fork` the child's calls are recorded in a stream of its own and shipped by the parent."""
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key, user="parent"))
    pid = os.fork()
    if pid == 0:
        try:
            ledger.log_trace(make_trace(run.key, user="child"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    ledger.log_trace(make_trace(run.key, user="parent"))
    assert ledger.flush().pending == 0
    users = sorted(trace.info.trace_metadata["mlflow.trace.user"] for trace in traces_of(client, run.run_id))
    assert users == ["child", "parent", "parent"]


def test_the_helper_ships_beside_the_kernel_and_leaves_when_idle(
    project, open_ledger, client, make_spec, make_trace, traces_of, monkeypatch
):
    """The shipping process is started on demand, ships, says nothing in its log, and is gone soon after."""
    monkeypatch.setenv("PRODKIT_SHIPPER_IDLE", "0.5")
    ledger = open_ledger(project, shipper="helper")
    run = ledger.start_run(make_spec())
    for _ in range(20):
        ledger.log_trace(make_trace(run.key))
    ledger.end_run(run, status=Status.OK)
    report = ledger.flush(timeout=60)

    assert report.pending == 0
    assert len(traces_of(client, run.run_id)) == 20
    assert client.get_run(run.run_id).info.status == "FINISHED"
    deadline = time.monotonic() + 20
    while (ledger._helper.running or is_locked(project.state / "ship.lock")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_locked(project.state / "ship.lock")
    assert ledger._helper._pids == []
    assert "Traceback" not in (project.state / "shipper.log").read_text()


def test_no_second_helper_is_started(project, open_ledger, make_trace):
    """While somebody ships, nobody else is started."""
    ledger = open_ledger(project, shipper="helper")
    from prodkit.ledger.locks import locked

    ledger.places.make()
    with locked(ledger.places.ship_lock, timeout=1):
        for _ in range(3):
            ledger.log_trace(make_trace())
            ledger._helper.wake(now=True)
        assert ledger._helper._pids == []


def begin_on_fresh_project(root, results):
    """What a parallel job does first, in a project that nobody has used yet."""
    sys.path.insert(0, str(HERE))
    from conftest import PlainRedactor, build_spec

    ledger = Ledger.open(find_project(root), redactor=PlainRedactor(), shipper="inline")
    handle = ledger.start_run(build_spec())
    deadline = time.monotonic() + 60
    while ledger.flush().pending and time.monotonic() < deadline:  # another one may be shipping
        time.sleep(0.2)
    results.put((ledger.url(handle), ledger._shipments.rejections()))


@pytest.mark.slow
def test_parallel_starts_in_a_fresh_project_make_one_experiment(tmp_path):
    """Four processes that start at once in a fresh project all get a run, in one experiment that was made once."""
    (tmp_path / "prodkit.yaml").write_text("service: {name: fresh}\n")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=begin_on_fresh_project, args=(tmp_path, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=150) for _ in workers]
    for worker in workers:
        worker.join(30)
    from mlflow import MlflowClient

    client = MlflowClient(find_project(tmp_path).tracking_uri)
    assert [rejected for _, rejected in found if rejected] == []
    assert len(client.search_experiments()) == 2  # with MLflow's own Default
    runs = client.search_runs(["1"])
    assert {f"prodkit ui --run {run.info.run_id}" for run in runs} == {url for url, _ in found}
    assert len(runs) == 4


@pytest.mark.slow
def test_a_helper_that_is_killed_again_and_again_ships_everything_once(
    project, open_ledger, client, traces_of, make_trace, monkeypatch
):
    """The shipping process is killed at random points; in the end each trace is there exactly once."""
    ledger = open_ledger(project)
    traces = [make_trace() for _ in range(600)]
    for trace in traces:
        ledger.log_trace(trace)
    command = [sys.executable, "-m", "prodkit.ledger.shipper", "--project", str(project.root), "--idle", "0"]
    for delay in (0.0, 0.05, 0.1, 0.15, 0.2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not ledger._shipments.cursors() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(delay)
            process.kill()
    assert ledger.flush().pending == 0
    ids = stored(client, traces_of)
    assert sorted(ids) == sorted(trace.trace_id for trace in traces)


@pytest.mark.slow
def test_a_burst_of_ten_thousand_calls_is_stored_whole(project, open_ledger, client, make_trace, make_spec, traces_of):
    """10,000 calls as fast as they come are all in MLflow, each once, with its name, none in progress."""
    ledger = open_ledger(project, shipper="helper")
    run = ledger.start_run(make_spec())
    for _ in range(10_000):
        ledger.log_trace(make_trace(run.key))
    report = ledger.flush(timeout=170)
    assert report.pending == 0, report
    found = traces_of(client, run.run_id)
    assert len({trace.info.trace_id for trace in found}) == 10_000
    assert {trace.info.state.value for trace in found} == {"OK"}
    assert {trace.info.tags["mlflow.traceName"] for trace in found} == {"triage"}


@pytest.mark.slow
def test_a_database_that_is_locked_for_half_a_minute_loses_nothing(
    project, open_ledger, client, make_spec, make_trace, traces_of
):
    """While somebody holds MLflow's SQLite for 30 s the user's cell goes on; afterwards everything is shipped once."""
    import sqlite3

    ledger = open_ledger(project, shipper="helper")
    ledger.start_run(make_spec())
    ledger.flush()
    holder = sqlite3.connect(project.state / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    locked_since = time.monotonic()
    begun = time.monotonic()
    run = ledger.start_run(make_spec("late"))
    for _ in range(10):
        ledger.log_trace(make_trace(run.key))
    assert time.monotonic() - begun < 10
    assert run.run_id == ""
    time.sleep(max(0.0, 30 - (time.monotonic() - locked_since)))
    holder.execute("ROLLBACK")
    holder.close()
    deadline = time.monotonic() + 90
    while (report := ledger.flush(timeout=30)).pending and time.monotonic() < deadline:
        time.sleep(1)
    assert report.pending == 0, report
    assert len(client.search_runs(["1"])) == 2
    assert len(traces_of(client)) == 10
