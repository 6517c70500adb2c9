"""The ledger against real MLflow servers: on SQLite, on PostgreSQL, and one that goes away for a while."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from prodkit.records import DatasetRecord, Status
from tests.servers.stage import free_port, postgres_database, serve, until  # noqa: F401  others take it from here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def sqlite_server(tmp_path, mlflow_template):
    database = tmp_path / "server.db"
    shutil.copy(mlflow_template, database)
    with serve(f"sqlite:///{database}", tmp_path) as server:
        yield server


@pytest.fixture
def postgres():
    with postgres_database() as uri:
        yield uri


@pytest.fixture
def postgres_server(postgres, tmp_path):
    with serve(postgres, tmp_path) as server:
        yield server


def record_everything(ledger, make_spec, make_trace, count=30):
    run = ledger.start_run(make_spec(params={"model": "m"}))
    prompt = ledger.register_prompt("triage", "Classify {ticket}", parameters={"temperature": 0}, run=run)
    traces = [make_trace(run.key, prompt="größe ✓ \x00 \ud83d", prompts=(prompt.uri,)) for _ in range(count)]
    for trace in traces:
        ledger.log_trace(trace)
    ledger.log_dataset(run, DatasetRecord("tickets", "file:///t.xlsx", "d1", columns=(("id", "int64"),)))
    ledger.log_text(run, "<b>x</b>", "prodkit/report.html")
    ledger.note_experiment("# note")
    ledger.end_run(run, status=Status.OK, metrics={"cost_usd": 0.5})
    return run, traces


def check_everything(uri, ledger, run, traces):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (experiment,) = [item for item in client.search_experiments() if item.name == "demo"]
    assert experiment.tags["mlflow.note.content"] == "# note"
    (stored,) = client.search_runs([experiment.experiment_id])
    assert ledger.url(run).endswith(stored.info.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.metrics == {"cost_usd": 0.5}
    assert stored.data.params == {"model": "m"}
    assert stored.inputs.dataset_inputs[0].dataset.digest == "d1"
    assert json.loads(stored.data.tags["mlflow.linkedPrompts"]) == [{"name": "triage", "version": "1"}]
    paths = {item.path for item in client.list_artifacts(stored.info.run_id, "prodkit")}
    assert paths == {"prodkit/report.html", "prodkit/checkpoint.json"}
    wanted = f"metadata.`mlflow.sourceRun` = '{stored.info.run_id}'"
    found = client.search_traces(locations=[experiment.experiment_id], filter_string=wanted, max_results=500)
    assert sorted(trace.info.trace_id for trace in found) == sorted(trace.trace_id for trace in traces)
    info = found[0].info
    assert info.trace_metadata["mlflow.trace.user"] == "u1"
    assert info.trace_metadata["mlflow.trace.session"] == "s1"
    assert info.tags["prodkit.source"] == "crm"
    assert info.tags["mlflow.traceName"] == "triage"
    assert info.state.value == "OK"
    assert info.token_usage["total_tokens"] == 7
    assert found[0].data.spans[1].llm_cost["total_cost"] == 0.03
    linked = client.search_traces(
        locations=[experiment.experiment_id], filter_string="prompt = 'triage/1'", max_results=500
    )
    assert len(linked) == len(traces)


def test_everything_reaches_an_mlflow_server(project, open_ledger, make_spec, make_trace, sqlite_server, monkeypatch):
    """Through an MLflow server on SQLite everything arrives as it does in the project's own SQLite."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_server.uri)
    ledger = open_ledger(project, shipper="helper")
    run, traces = record_everything(ledger, make_spec, make_trace)
    assert run.url.startswith(sqlite_server.uri + "/#/experiments/")
    report = ledger.flush(timeout=90)
    assert (report.pending, ledger._shipments.rejections()) == (0, []), report
    check_everything(sqlite_server.uri, ledger, run, traces)


def test_everything_reaches_an_mlflow_server_on_postgresql(
    project, open_ledger, make_spec, make_trace, postgres_server, monkeypatch
):
    """Through an MLflow server on PostgreSQL everything arrives too, NUL and broken Unicode included."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_server.uri)
    ledger = open_ledger(project, shipper="helper")
    run, traces = record_everything(ledger, make_spec, make_trace)
    report = ledger.flush(timeout=90)
    assert (report.pending, ledger._shipments.rejections()) == (0, []), report
    check_everything(postgres_server.uri, ledger, run, traces)


def test_postgresql_is_written_the_fast_way(project, open_ledger, make_spec, make_trace, postgres, monkeypatch):
    """With PostgreSQL as MLflow's own address everything arrives too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres)
    ledger = open_ledger(project)
    run, traces = record_everything(ledger, make_spec, make_trace)
    monkeypatch.setattr("prodkit.ledger.mlflow_adapter.Mlflow._link", None)  # the slow way would need it
    report = ledger.flush()
    assert (report.pending, ledger._shipments.rejections()) == (0, []), report
    check_everything(postgres, ledger, run, traces)


def test_a_server_that_goes_away_and_comes_back(
    project, open_ledger, make_spec, make_trace, sqlite_server, monkeypatch
):
    """What is recorded while the server is down is there, once, after it is back, without anybody asking."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_server.uri)
    ledger = open_ledger(project, shipper="helper")
    before = ledger.start_run(make_spec("before"))
    ledger.log_trace(make_trace(before.key))
    assert ledger.flush(timeout=90).pending == 0

    sqlite_server.stop()
    begun = time.monotonic()
    during = ledger.start_run(make_spec("during"))
    ledger.log_trace(make_trace(during.key))
    assert ledger.flush(timeout=30).pending > 0
    assert time.monotonic() - begun < 20
    assert during.run_id == ""
    assert "[ledger.mlflow-unreachable]" in ledger.problem

    sqlite_server.start()
    until(lambda: ledger._pending() == 0, 60, "the records weren't shipped")
    from mlflow import MlflowClient

    client = MlflowClient(sqlite_server.uri)
    assert sorted(run.info.run_name for run in client.search_runs(["1"])) == ["before", "during"]
    assert len(client.search_traces(locations=["1"])) == 2
    assert ledger.url(during)
