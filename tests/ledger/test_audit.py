"""What an auditor sees: `prodkit audit verify | show | export | erase | sync | checkpoint`."""

from __future__ import annotations

import json
import os
import threading

import pytest
from click.testing import CliRunner

from prodkit.cli.audit import audit
from prodkit.errors import ConfigError
from prodkit.ledger import Ledger
from prodkit.ledger.audit import Audit
from prodkit.ledger.locks import try_lock
from prodkit.ledger.segments import list_segments
from prodkit.records import DatasetRecord, Status


@pytest.fixture
def run_audit():
    """Runs `prodkit audit ...`; an expected error is raised as it is."""

    def run(*arguments, **options):
        result = CliRunner().invoke(audit, arguments, **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def recorded(ledger, make_spec, make_trace):
    """A session with one cell, a dataset, a prompt, and one request of Ada and one of Bob."""
    session = ledger.start_run(make_spec("notebook", "session", tags={"mlflow.source.git.commit": "abc1234"}))
    cell = ledger.start_run(make_spec(parent_key=session.key))
    ledger.log_dataset(cell, DatasetRecord("tickets", "file:///t.xlsx", "d1"))
    prompt = ledger.register_prompt("triage", "Classify {ticket}", parameters={"temperature": 0}, run=cell)
    traces = {
        user: make_trace(cell.key, user=user, prompt=f"words of {user}", prompts=(prompt.uri,))
        for user in ("ada", "bob")
    }
    for trace in traces.values():
        ledger.log_trace(trace)
    ledger.end_run(cell, status=Status.OK)
    ledger.end_run(session, status=Status.OK)
    ledger.flush()
    return {user: trace.calls[0].request_id for user, trace in traces.items()}


def test_show_explains_one_answer(recorded, run_audit):
    """One request is shown with prompt version, dataset, model, parameters, code, cost, tokens, run and review."""
    shown = run_audit("show", recorded["ada"]).output
    for part in (
        "words of ada",
        "triage v1",
        "Classify {ticket}",
        "tickets d1",
        "openai/gpt-4o-mini",
        '"temperature": 0.2',
        "abc1234",
        "$0.03 (priced)",
        "3 in, 4 out",
        "session notebook ok",
        "by nobody yet",
        "crm",
    ):
        assert part in shown, part


def test_show_tells_who_has_reviewed_an_answer(recorded, run_audit, client, project, monkeypatch):
    """Feedback that a person gave in MLflow stands beside the answer."""
    import mlflow
    from mlflow.entities import AssessmentSource

    monkeypatch.setenv("MLFLOW_TRACKING_URI", project.tracking_uri)
    (trace,) = client.search_traces(locations=["1"], filter_string="metadata.`mlflow.trace.user` = 'ada'")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(project.tracking_uri)
    try:
        source = AssessmentSource(source_type="HUMAN", source_id="eve@example.com")
        mlflow.log_feedback(trace_id=trace.info.trace_id, name="correct", value=True, source=source)
    finally:
        mlflow.set_tracking_uri(before)
    assert "correct: True (eve@example.com)" in run_audit("show", recorded["ada"]).output


def test_show_as_json_can_be_read_by_a_program(recorded, run_audit):
    """`--json` prints one object with the call, its runs, datasets and prompts."""
    shown = json.loads(run_audit("show", recorded["ada"], "--json").output)
    assert shown["call"]["request_id"] == recorded["ada"]
    assert [run["kind"] for run in shown["runs"]] == ["cell", "session"]


def test_an_unknown_request_is_one_clear_error(recorded, run_audit):
    """Asking for a request that isn't there says so and where to look."""
    with pytest.raises(ConfigError, match=r"audit\.unknown-request"):
        run_audit("show", "req-missing")


def test_erasing_a_person_takes_content_from_journal_and_mlflow(recorded, run_audit, client, project):
    """After an erasure Ada's words are nowhere, Bob's stay, her request still counts, and the journal verifies."""
    erased = run_audit("erase", "--user", "ada", "--yes")
    assert erased.exit_code == 0
    assert "1 request can't be read any more; taken out of MLflow: 1 trace" in erased.output

    users = [trace.info.trace_metadata["mlflow.trace.user"] for trace in client.search_traces(locations=["1"])]
    assert users == ["bob"]
    shown = run_audit("show", recorded["ada"]).output
    assert "erased on purpose" in shown
    assert "words of ada" not in shown
    assert "$0.03" in shown
    assert "words of bob" in run_audit("show", recorded["bob"]).output
    assert run_audit("verify").exit_code == 0


@pytest.mark.parametrize("by", ["address", "stand-in"])
def test_a_person_is_found_by_an_address(project, make_spec, make_trace, run_audit, by):
    """An id that redaction replaces, as it does an e-mail address, finds the person; so does the stand-in `show` tells."""
    ledger = Ledger.open(project)
    cell = ledger.start_run(make_spec())
    trace = make_trace(cell.key, user="ada@northwind.example", prompt="my parcel was opened")
    ledger.log_trace(trace)
    ledger.log_trace(make_trace(cell.key, user="bob@northwind.example", prompt="where is my refund"))
    ledger.end_run(cell, status=Status.OK)
    ledger.flush()
    [who] = [
        line.split() for line in run_audit("show", trace.calls[0].request_id).output.splitlines() if "who " in line
    ]
    assert len(who) == 2
    result = run_audit("erase", "--user", "ada@northwind.example" if by == "address" else who[1], "--yes")
    assert "1 request can't be read" in result.output
    assert sorted(erased for _, _, erased in Audit(project).calls()) == [False, True]
    assert [erased for _, _, erased in Audit(project).calls(user="ada@northwind.example")] == [True]


def test_erasing_waits_for_the_process_that_is_shipping(recorded, run_audit, client, project):
    """While another process ships, an erasure waits for it instead of leaving MLflow's traces behind."""
    lock = try_lock(Audit(project)._places.ship_lock)
    threading.Timer(1.0, os.close, [lock]).start()
    result = run_audit("erase", "--user", "ada", "--yes")
    assert result.exit_code == 0, result.output
    assert Audit(project).pending() == 0


def test_erasing_somebody_unknown_is_one_clear_error(recorded, run_audit):
    """Erasing a user of whom nothing is held says so."""
    with pytest.raises(ConfigError, match=r"audit\.unknown-user"):
        run_audit("erase", "--user", "nobody", "--yes")


def test_erasing_asks_first(recorded, run_audit):
    """Without `--yes` nothing is destroyed unless the user agrees."""
    assert run_audit("erase", "--user", "ada", input="n\n").exit_code == 1
    assert "words of ada" in run_audit("show", recorded["ada"]).output


def test_export_lists_requests_without_content_unless_asked(recorded, run_audit, tmp_path):
    """The export has a line a request; prompts and answers are in it only with `--content`."""
    file = tmp_path / "requests.jsonl"
    run_audit("export", "--to", str(file))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["request_id"] for row in rows} == set(recorded.values())
    assert "words of" not in file.read_text()
    assert {row["cost"]["usd"] for row in rows} == {"0.03"}

    run_audit("export", "--to", str(file), "--content", "--user", "bob")
    assert [json.loads(line)["prompt"][0]["content"] for line in file.read_text().splitlines()] == ["words of bob"]


def test_verify_says_that_the_journal_is_whole(recorded, run_audit):
    """A journal that nobody touched verifies, also against the checkpoints in MLflow."""
    result = run_audit("verify", "--mlflow")
    assert result.exit_code == 0, result.output
    assert "whole" in result.output
    assert "NOT" not in result.output


def test_verify_names_what_was_changed(recorded, run_audit, project):
    """An edited record makes verify fail with the record's number and an exit code of 1."""
    path = list_segments(project.state / "journal")[0].path
    path.write_bytes(path.read_bytes().replace(b'"model":"gpt-4o-mini"', b'"model":"gpt-4o-maxi"', 1))
    result = run_audit("verify")
    assert result.exit_code == 1
    assert "edited" in result.output
    assert "NOT whole" in result.output


@pytest.mark.parametrize("how", ["mlflow", "file"])
def test_a_cut_off_end_is_found_by_checkpoints_elsewhere(recorded, run_audit, project, tmp_path, how):
    """Who cuts off the end and removes every local trace of it is caught by the copy in MLflow, or by a kept file."""
    kept = tmp_path / "kept.json"
    run_audit("checkpoint")
    (latest,) = sorted((project.state / "checkpoints").iterdir())[-1:]
    kept.write_text(latest.read_text())
    path = list_segments(project.state / "journal")[0].path
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    for local in (project.state / "checkpoints").iterdir():
        local.unlink()
    for book in project.state.glob("ship.db*"):
        book.unlink()
    assert run_audit("verify").exit_code == 0  # that is why copies are kept elsewhere

    result = run_audit("verify", *(["--mlflow"] if how == "mlflow" else ["--checkpoint", str(kept)]))
    assert result.exit_code == 1
    assert "truncated" in result.output


def test_a_project_without_a_journal_is_one_clear_error(project, run_audit):
    """Verifying where nothing was recorded says so."""
    with pytest.raises(ConfigError, match=r"audit\.no-journal"):
        run_audit("verify")


def test_sync_ships_what_another_process_left_behind(
    project, open_ledger, client, make_spec, make_trace, run_audit, traces_of
):
    """Records of a process that is gone are shipped by `prodkit audit sync`."""
    ledger = open_ledger(project)
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    ledger.close()
    result = run_audit("sync")
    assert result.exit_code == 0, result.output
    assert "0 wait" in result.output
    assert len(traces_of(client, run.run_id)) == 1


def test_sync_without_mlflow_says_why_and_that_a_retry_helps(project, open_ledger, make_trace, run_audit, monkeypatch):
    """When MLflow can't be reached, sync ends with exit code 75 and the reason, and everything still waits."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    ledger = open_ledger(project)
    ledger.log_trace(make_trace())
    result = run_audit("sync")
    assert result.exit_code == 75
    assert "refused" in result.output
    assert "1 wait" in result.output
