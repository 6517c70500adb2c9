"""From a record to what a reviewer sees in MLflow."""

from __future__ import annotations

import json

import pytest

from prodkit.errors import ConfigError
from prodkit.records import DatasetRecord, Status


def test_a_run_is_shipped_with_everything_it_recorded(ledger, client, make_spec, make_trace, traces_of):
    """A run's parameters, metrics, tags, dataset, artifacts and traces are in MLflow after a flush."""
    session = ledger.start_run(make_spec("notebook", "session"))
    run = ledger.start_run(make_spec(parent_key=session.key, params={"model": "m"}, tags={"prodkit.cell": "c1"}))
    traces = [make_trace(run.key) for _ in range(3)]
    for trace in traces:
        ledger.log_trace(trace)
    columns = (("id", "int64"), ("text", "str"))
    ledger.log_dataset(run, DatasetRecord("tickets", "file:///t.xlsx", "d1", "f" * 64, columns=columns, rows=2))
    ledger.log_text(run, "<b>fine</b>", "prodkit/report.html")
    ledger.log_metrics(run, {"calls": 3, "unknown": None})
    ledger.set_tags(run, {"prodkit.note": "x"})
    ledger.end_run(run, status=Status.OK, metrics={"cost_usd": 0.09})
    ledger.end_run(session, status=Status.ERROR)

    report = ledger.flush()

    assert report.pending == 0
    assert report.reason == ""
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"model": "m"}
    assert stored.data.metrics == {"calls": 3.0, "cost_usd": 0.09}
    tags = stored.data.tags
    assert tags["mlflow.parentRunId"] == session.run_id
    assert (tags["prodkit.cell"], tags["prodkit.note"], tags["prodkit.status"]) == ("c1", "x", "ok")
    (dataset,) = stored.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("tickets", "d1")
    assert {item.path for item in client.list_artifacts(run.run_id, "prodkit")} == {
        "prodkit/report.html",
        "prodkit/checkpoint.json",
    }
    assert client.get_run(session.run_id).info.status == "FAILED"
    assert {trace.info.trace_id for trace in traces_of(client, run.run_id)} == {trace.trace_id for trace in traces}


def test_a_trace_keeps_user_session_tokens_cost_and_name(ledger, client, make_spec, make_trace, traces_of):
    """A trace shows who asked, in which session, with how many tokens, at what cost, and its name."""
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    ledger.flush()

    (trace,) = traces_of(client, run.run_id)
    assert trace.info.trace_metadata["mlflow.trace.user"] == "u1"
    assert trace.info.trace_metadata["mlflow.trace.session"] == "s1"
    assert json.loads(trace.info.trace_metadata["mlflow.trace.tokenUsage"])["total_tokens"] == 7
    assert trace.info.tags["prodkit.source"] == "crm"
    assert trace.info.tags["mlflow.traceName"] == "triage"
    assert trace.info.state.value == "OK"
    assert [span.name for span in trace.data.spans] == ["triage", "chat"]
    assert trace.data.spans[1].llm_cost["total_cost"] == 0.03


def test_a_prompt_is_new_only_when_text_or_parameters_changed(ledger, client, make_spec, make_trace, traces_of):
    """Registering the same text twice gives one version; another text or another temperature gives a new one."""
    run = ledger.start_run(make_spec())
    first = ledger.register_prompt("triage", "Classify {ticket}", parameters={"temperature": 0}, run=run)
    again = ledger.register_prompt("triage", "Classify {ticket}", parameters={"temperature": 0}, run=run)
    warmer = ledger.register_prompt("triage", "Classify {ticket}", parameters={"temperature": 1}, run=run)
    other = ledger.register_prompt("triage", "Sort {ticket}", run=run)
    ledger.log_trace(make_trace(run.key, prompts=(other.uri,)))
    ledger.flush()

    assert [version.version for version in (first, again, warmer, other)] == [1, 1, 2, 3]
    assert len(client.search_prompt_versions("triage")) == 3
    linked = json.loads(client.get_run(run.run_id).data.tags["mlflow.linkedPrompts"])
    assert {"name": "triage", "version": "3"} in linked
    (trace,) = traces_of(client, run.run_id)
    assert json.loads(trace.info.tags["mlflow.linkedPrompts"]) == [{"name": "triage", "version": "3"}]
    found = client.search_traces(locations=["1"], filter_string="prompt = 'triage/3'")
    assert len(found) == 1


def test_shipping_twice_changes_nothing(project, open_ledger, client, make_spec, make_trace, traces_of):
    """Everything shipped again from the very beginning shows nothing twice."""
    ledger = open_ledger(project)
    run = ledger.start_run(make_spec(params={"a": "1"}))
    for _ in range(5):
        ledger.log_trace(make_trace(run.key))
    ledger.log_metrics(run, {"calls": 5})
    ledger.register_prompt("triage", "Classify {ticket}", run=run)
    ledger.end_run(run, status=Status.OK)
    ledger.flush()
    with ledger._shipments._open() as database:
        database.execute("DELETE FROM cursors")

    assert ledger.flush().pending == 0

    assert len(traces_of(client)) == 5
    assert len(client.search_runs(["1"])) == 1
    assert len(client.get_metric_history(run.run_id, "calls")) == 1
    assert len(client.search_prompt_versions("triage")) == 1


def test_a_run_is_created_once_when_its_creator_was_killed_before_it_noted_the_id(ledger, client, make_spec):
    """A run that exists in MLflow but not in our book is found by its key, not made again."""
    run = ledger.start_run(make_spec())
    with ledger._shipments._open() as database:
        database.execute("UPDATE runs SET run_id = ''")
    ledger.flush()

    assert ledger.url(run).endswith(run.run_id)
    assert len(client.search_runs(["1"])) == 1


def test_a_record_that_mlflow_refuses_does_not_hold_up_the_rest(ledger, client, make_spec):
    """A parameter that changes its value is refused by MLflow; what comes after it is shipped, and it is named."""
    run = ledger.start_run(make_spec(params={"a": "1"}))
    ledger.log_params(run, {"a": "2"})
    ledger.log_metrics(run, {"calls": 1})
    ledger.end_run(run, status=Status.OK)

    assert ledger.flush().pending == 0

    assert client.get_run(run.run_id).data.metrics == {"calls": 1.0}
    assert [item.kind for item in ledger._shipments.rejections()] == ["run.update"]


def test_a_child_gets_its_parent_even_when_the_child_was_shipped_first(ledger, client, make_spec):
    """A run that names a parent which is recorded later hangs under it in the end."""
    parent = make_spec("job", "job")
    child = ledger.start_run(make_spec("attempt", "attempt", parent_key=parent.key))
    opened = ledger.start_run(parent)
    ledger.flush()

    assert client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == opened.run_id


def test_the_experiment_carries_the_note(ledger, client):
    """`note_experiment` sets the note above the experiment's tabs."""
    ledger.note_experiment("# Triage\nowned by Ada")
    ledger.flush()
    assert client.get_experiment("1").tags["mlflow.note.content"] == "# Triage\nowned by Ada"


def test_a_file_that_is_not_there_is_one_clear_error(ledger, make_spec, tmp_path):
    """Logging a missing file says which file, and records nothing."""
    run = ledger.start_run(make_spec())
    with pytest.raises(ConfigError, match=r"ledger\.artifact"):
        ledger.log_file(run, tmp_path / "missing.html")


def test_a_prompt_name_that_the_registry_would_refuse_is_one_clear_error(ledger):
    """A prompt's name with a space is refused before anything is written."""
    with pytest.raises(ConfigError, match=r"ledger\.prompt-name"):
        ledger.register_prompt("my prompt", "x")


def test_an_artifact_path_cannot_leave_the_run(ledger, client, make_spec):
    """`..` in an artifact's path is dropped."""
    run = ledger.start_run(make_spec())
    ledger.log_text(run, "x", "../../etc/passwd.txt")
    ledger.flush()
    assert [item.path for item in client.list_artifacts(run.run_id, "etc")] == ["etc/passwd.txt"]


def test_pointing_mlflow_elsewhere_in_between_sends_each_record_where_it_belongs(
    project, ledger, client, make_spec, make_trace, traces_of, monkeypatch, mlflow_template, tmp_path
):
    """Records are shipped to the address that was set when they were made."""
    import shutil

    from mlflow import MlflowClient

    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    other = tmp_path / "other.db"
    shutil.copy(mlflow_template, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    second = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(second.key))
    ledger.flush()

    assert len(traces_of(client)) == 1
    assert len(traces_of(MlflowClient(f"sqlite:///{other}"), second.run_id)) == 1


def test_an_experiment_that_is_not_there_holds_records_back_and_rejects_none(
    project, open_ledger, make_spec, make_trace, monkeypatch
):
    """With a wrong MLFLOW_EXPERIMENT_ID everything waits with one sentence that says so; nothing is given up."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", project.tracking_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "4711")
    ledger = open_ledger(project)
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    report = ledger.flush()
    assert report.pending == 2  # the run and its call
    assert "`#4711`" in report.reason
    assert "`#4711`" in ledger.problem
    assert ledger._shipments.rejections() == []


def test_the_users_own_experiment_is_left_to_the_user(project, ledger, client, make_spec, monkeypatch):
    """An experiment id that the user's own `mlflow.set_experiment` left in the environment doesn't move our runs."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "4711")
    run = ledger.start_run(make_spec())
    assert client.get_experiment(run.experiment_id).name == "demo"
