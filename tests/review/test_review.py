from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.errors import ConfigError, TransientError
from prodkit.ledger import Ledger
from prodkit.ledger.ledger import FlushReport
from prodkit.ledger.review import runs_tagged
from prodkit.records import DatasetRecord, RunHandle, RunSpec, Status
from prodkit.review import decide, gather, publish, require_approval, to_html, to_markdown
from prodkit.review.rehearsals import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.manifest import Project
    from prodkit.review.facts import Facts

MANIFEST = """
service: {name: triage, purpose: "Sorts <tickets> | fast", risk_class: limited}
owners:
  people: {ana: {name: Ana Ruiz, email: ana@northwind.test}}
  raci: {uptime: {R: [ana], A: ana}}
models: [{name: small, provider: openai, region: us}]
compliance: {residency: [eu]}
kill_switch: stop
"""
JOB = "sha256:" + "a" * 64


@pytest.fixture
def triage(make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    made = make_project(MANIFEST)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("PRODKIT_SHIPPER", "inline")  # no helper process for each of these small projects
    return made


@pytest.fixture
def job_run(triage: Project) -> RunHandle:
    """A job run with one attempt and one captured cell below it, as the runner and the capture write them."""
    return write_job(triage)


def write_job(project: Project, key: str = "job-1", template: str = "Sort {ticket}") -> RunHandle:
    ledger = Ledger.open(project)
    job = ledger.start_run(RunSpec("triage", "job", key, tags={"prodkit.job_digest": JOB}))
    attempt = ledger.start_run(RunSpec("attempt 1", "attempt", f"{key}.1", parent_key=key, parent_run_id=job.run_id))
    cell = ledger.start_run(
        RunSpec(
            "classify",
            "cell",
            f"{key}.cell",
            parent_key=f"{key}.1",
            parent_run_id=attempt.run_id,
            params={"models": "small, other"},
        )
    )
    prompt = ledger.register_prompt("triage", template)
    ledger.set_tags(
        cell,
        {"mlflow.linkedPrompts": f'[{{"name": "triage", "version": "{prompt.version}"}}]', "prodkit.simulated": "true"},
    )
    ledger.log_dataset(
        cell,
        DatasetRecord(
            "tickets",
            "data/*.xlsx",
            "pk1:abc",
            contract="tickets",
            rows=90,
            attributes={"region": "us", "pii": "true", "owner": "ana"},
        ),
    )
    metrics = {
        "cost_usd": 0.25,
        "llm_calls": 90,
        "llm_calls_unpriced": 2,
        "llm_errors": 1,
        "rows_checked": 100,
        "rows_failed": 10,
    }
    ledger.end_run(cell, status=Status.OK, metrics=metrics | {"p95_seconds": 1.5, "failed.channel.enum": 10})
    ledger.end_run(attempt, status=Status.OK)
    ledger.end_run(job, status=Status.OK)
    assert ledger.flush().pending == 0
    made = runs_tagged(project, "prodkit.key", key)[0]  # on a busy machine MLflow's id comes with the shipping
    return RunHandle(key, "triage", made.run_id, made.experiment_id)


def test_facts_sum_what_the_cells_below_did(triage: Project, job_run: RunHandle):
    """The page of a job run adds up the captured cells below it, and knows its data, prompts, models and owners."""
    facts = gather(triage, job_run.run_id)
    assert facts.cost_usd == "0.25"
    assert facts.totals["llm_calls"] == 90
    assert facts.p95_seconds == 1.5
    assert facts.simulated
    assert facts.attempts == 1
    assert facts.rules_broken == {"channel.enum": 10}
    assert [(use.name, use.result, use.resident) for use in facts.data] == [
        ("tickets", "10 of 100 rows broke it", False)
    ]
    assert [(prompt.name, prompt.version, prompt.template) for prompt in facts.prompts] == [
        ("triage", 1, "Sort {ticket}")
    ]
    assert [(model.name, model.known) for model in facts.models] == [("other", False), ("small", True)]
    assert {row.activity: row.person for row in facts.owners}["uptime"] == "Ana Ruiz"


def test_rows_that_two_attempts_checked_count_once(triage: Project, job_run: RunHandle):
    """A second attempt that checks the same data again doubles what was spent, not the rows that are wrong."""
    ledger = Ledger.open(triage)
    again = ledger.start_run(RunSpec("classify", "cell", "again", parent_key=job_run.key, parent_run_id=job_run.run_id))
    ledger.log_dataset(again, DatasetRecord("tickets", "data/*.xlsx", "pk1:abc", contract="tickets", rows=90))
    metrics = {"cost_usd": 0.25, "rows_checked": 100, "rows_failed": 10, "failed.channel.enum": 10}
    ledger.end_run(again, status=Status.OK, metrics=metrics)
    ledger.flush()
    facts = gather(triage, job_run.run_id)
    assert facts.cost_usd == "0.5"
    assert (facts.totals["rows_checked"], facts.totals["rows_failed"]) == (100, 10)
    assert facts.rules_broken == {"channel.enum": 10}


@pytest.mark.parametrize(
    "finding",
    [
        "2 calls without a price",
        "1 call failed",
        "The data `tickets` lies in us, outside the residency",
        "The data `tickets` is personal and has no retention period",
        "No version of the prompt `triage` was approved",
        "The manifest doesn't list the model `other`",
        "The model `small` runs in us, outside eu",
        "Ownership: ",
    ],
)
def test_what_a_reviewer_should_ask_is_a_finding(triage: Project, job_run: RunHandle, finding: str):
    """Each open question stands on the page as one sentence."""
    assert any(told.startswith(finding) for told in gather(triage, job_run.run_id).findings)


def test_mlflows_own_cost_is_a_second_opinion(triage: Project, job_run: RunHandle):
    """Where MLflow's prices come to another sum, page and finding say both; else neither says a word."""
    assert "MLflow says" not in to_html(gather(triage, job_run.run_id))
    ledger = Ledger.open(triage)
    (cell,) = runs_tagged(triage, "prodkit.key", "job-1.cell")
    ledger.log_metrics(RunHandle("job-1.cell", cell.name, cell.run_id), {"cost_usd_mlflow": 0.125})
    ledger.flush()
    facts = gather(triage, job_run.run_id)
    assert facts.cost_usd_mlflow == "0.125"
    assert any("$0.125" in told and "$0.25" in told for told in facts.findings)
    assert "<dt>MLflow says</dt><dd>$0.125</dd>" in to_html(facts)
    assert "$0.25 (MLflow says $0.125)" in to_markdown(facts)


def test_the_newest_rehearsal_is_on_the_page(triage: Project, job_run: RunHandle):
    """The page says how many faults the latest rehearsal survived, when, in which state, and which ones not."""
    ledger = Ledger.open(triage)
    ledger.set_tags(job_run, {"prodkit.source_notebook": "nb.ipynb"})
    ledger.flush()
    assert "Never rehearsed" in to_html(gather(triage, job_run.run_id))

    def rehearse(digest: str, failed: list[str]) -> Facts:
        run = ledger.start_run(
            RunSpec("rehearse nb", "review", f"r-{digest}", tags=tags_of("nb.ipynb", digest, failed))
        )
        ledger.end_run(run, status=Status.OK, metrics={"faults_passed": 70.0, "faults_failed": float(len(failed))})
        ledger.flush()
        return gather(triage, job_run.run_id)

    old = rehearse("sha256:old", ["hang", "reset"])
    assert "It has changed since its last rehearsal." in old.findings
    assert "Faults that it didn't survive in the rehearsal: hang, reset." in old.findings
    assert "70 of 72" in to_html(old)
    new = rehearse(JOB, [])
    assert not any("rehears" in finding for finding in new.findings)
    for page in (to_html(new), to_markdown(new)):
        assert "70 of 70" in page
        assert "of just this state" in page


def test_page_escapes_what_people_wrote(triage: Project, job_run: RunHandle):
    """A purpose with markup is text on the page, and the page fetches nothing and runs no script."""
    html = to_html(gather(triage, job_run.run_id))
    assert "Sorts &lt;tickets&gt; | fast" in html
    assert "<script" not in html
    assert "http" not in html


def test_markdown_tables_survive_strange_names(triage: Project, job_run: RunHandle):
    """A pipe or a line break in a name doesn't break a table."""
    facts = gather(triage, job_run.run_id)
    strange = replace(facts, data=(replace(facts.data[0], owner="a|b\nc"),))
    assert "a\\|b c" in to_markdown(strange)


def test_pages_and_note_are_in_mlflow(triage: Project, job_run: RunHandle):
    """`review.html` and `review.md` are artifacts of the run, and the experiment's note says so."""
    from mlflow import MlflowClient

    publish(triage, job_run.run_id)
    assert Ledger.open(triage).flush().pending == 0
    client = MlflowClient(triage.tracking_uri)
    names = {artifact.path for artifact in client.list_artifacts(job_run.run_id)}
    assert {"review.html", "review.md"} <= names
    note = client.get_experiment_by_name("triage").tags["mlflow.note.content"]
    assert "Answers for it: **Ana Ruiz**" in note
    assert job_run.run_id in note


def test_the_view_of_runs_stays_as_people_have_it(triage: Project, job_run: RunHandle):
    """MLflow's list of views has one with the columns to sort by; who has changed it isn't overruled by the next run."""
    from mlflow import MlflowClient

    from prodkit.ledger.mlflow_view import NAME, TAG

    client = MlflowClient(triage.tracking_uri)
    for expected in (NAME, "mine"):
        publish(triage, job_run.run_id)
        Ledger.open(triage).flush()
        experiment = client.get_experiment_by_name("triage")
        assert json.loads(experiment.tags[TAG])["name"] == expected
        client.set_experiment_tag(experiment.experiment_id, TAG, '{"name": "mine"}')


def test_approval_holds_for_the_digest_that_was_seen(triage: Project, job_run: RunHandle):
    """An approval names the person and the digest, opens the gate for this job, and for no other."""
    with pytest.raises(ConfigError, match="Nobody has approved"):
        require_approval(triage, JOB)
    decision = decide(triage, job_run.run_id, verdict="approved", person="Ana Ruiz (ana)", note="looks right")
    facts = gather(triage, job_run.run_id)
    assert facts.decision["by"] == "Ana Ruiz (ana)"
    assert facts.decision["digest"] == decision.digest
    assert require_approval(triage, JOB) == job_run.run_id
    with pytest.raises(ConfigError, match="Nobody has approved"):
        require_approval(triage, "sha256:" + "b" * 64)


def test_later_rejection_closes_the_gate(triage: Project, job_run: RunHandle):
    """The latest verdict on a job counts, and its reason is told."""
    decide(triage, job_run.run_id, verdict="approved", person="Ana", note="")
    second = write_job(triage, key="job-2")
    decide(triage, second.run_id, verdict="rejected", person="Ben", note="the tickets are personal")
    with pytest.raises(ConfigError, match="the tickets are personal"):
        require_approval(triage, JOB)


def test_verdict_set_in_the_ui_counts(triage: Project, job_run: RunHandle):
    """A person who sets the tag in MLflow's UI approves the job as well."""
    from mlflow import MlflowClient

    MlflowClient(triage.tracking_uri).set_tag(job_run.run_id, "prodkit.review", "approved")
    assert require_approval(triage, JOB) == job_run.run_id


def test_a_hand_in_the_ui_is_not_taken_for_who_decided_before(triage: Project, job_run: RunHandle):
    """Whoever turns Ana's approval around in MLflow's UI closes the gate, and isn't called Ana."""
    from mlflow import MlflowClient

    decide(triage, job_run.run_id, verdict="approved", person="Ana", note="looks right")
    MlflowClient(triage.tracking_uri).set_tag(job_run.run_id, "prodkit.review", "Rejected")
    with pytest.raises(ConfigError, match="rejected by somebody in MLflow's UI"):
        require_approval(triage, JOB)
    decision = gather(triage, job_run.run_id).decision
    assert decision == {"decision": "rejected", "by": "somebody in MLflow's UI"}
    assert "by somebody in MLflow&#39;s UI" in to_html(gather(triage, job_run.run_id))


def test_an_assessment_in_the_ui_is_a_verdict(triage: Project, job_run: RunHandle):
    """A reviewer's assessment `prodkit.review` at a trace of the job decides, with name and reason; the newest counts."""
    import mlflow
    from mlflow.entities import AssessmentSource

    cell = runs_tagged(triage, "prodkit.key", "job-1.cell")[0]
    mlflow.set_tracking_uri(triage.tracking_uri)
    mlflow.set_experiment(experiment_id=cell.experiment_id)
    with mlflow.start_run(run_id=cell.run_id), mlflow.start_span("ask") as span:
        pass
    mlflow.flush_trace_async_logging()
    person = AssessmentSource("HUMAN", "chloe")
    machine = AssessmentSource("LLM_JUDGE", "a model")
    mlflow.log_feedback(trace_id=span.trace_id, name="prodkit.review", value="approved", source=machine)
    with pytest.raises(ConfigError, match="Nobody has approved"):
        require_approval(triage, JOB)
    said = mlflow.log_feedback(
        trace_id=span.trace_id, name="prodkit.review", value="approved", source=person, rationale="read ten"
    )
    assert require_approval(triage, JOB) == job_run.run_id
    decision = gather(triage, job_run.run_id).decision
    assert (decision["decision"], decision["by"], decision["note"]) == ("approved", "chloe", "read ten")
    mlflow.delete_assessment(trace_id=span.trace_id, assessment_id=said.assessment_id)
    with pytest.raises(ConfigError, match="Nobody has approved"):
        require_approval(triage, JOB)


def test_changed_prompt_shows_its_difference(triage: Project, job_run: RunHandle):
    """After an approval a changed prompt is shown as a diff to the approved version."""
    decide(triage, job_run.run_id, verdict="approved", person="Ana", note="")
    changed = write_job(triage, key="job-3", template="Sort {ticket}\nBe brief.")
    prompt = gather(triage, changed.run_id).prompts[0]
    assert (prompt.version, prompt.approved_version) == (2, 1)
    assert "+Be brief." in prompt.diff.splitlines()
    assert '<span class="new">+Be brief.</span>' in to_html(gather(triage, changed.run_id))
    assert "+Be brief." in to_markdown(gather(triage, changed.run_id))


@pytest.mark.parametrize(
    ("verdict", "person", "note", "code"),
    [("approved", " ", "", "review.nobody"), ("rejected", "Ana", "", "review.no-note")],
)
def test_decision_without_person_or_reason_is_refused(
    triage: Project, job_run: RunHandle, verdict: str, person: str, note: str, code: str
):
    """A verdict needs a person, a rejection also its reason; nothing is recorded otherwise."""
    with pytest.raises(ConfigError) as caught:
        decide(triage, job_run.run_id, verdict=verdict, person=person, note=note)
    assert caught.value.code == code
    assert gather(triage, job_run.run_id).decision == {}


def test_unknown_run_says_where_to_look(triage: Project, job_run: RunHandle):
    """A run that isn't there is one clear error."""
    with pytest.raises(ConfigError, match="There is no run"):
        gather(triage, "f" * 32)


def test_command_records_the_person_of_the_manifest(triage: Project, job_run: RunHandle, tmp_path: Path):
    """`prodkit review RUN --approve --by` takes an id or an address of the manifest and records the name."""
    result = CliRunner().invoke(
        cli, ["review", job_run.run_id, "--approve", "--by", "ana@northwind.test"], catch_exceptions=False
    )
    assert result.output.startswith("approved by Ana Ruiz (ana): sha256:")
    shown = CliRunner().invoke(cli, ["review", job_run.run_id], catch_exceptions=False)
    assert "approved by Ana Ruiz (ana)" in shown.output


def test_command_refuses_an_unknown_address(triage: Project, job_run: RunHandle):
    """An address that isn't in the manifest is refused, because it would be redacted in the record."""
    with pytest.raises(ConfigError, match="nobody in the manifest"):
        CliRunner().invoke(cli, ["review", job_run.run_id, "--approve", "--by", "x@y.test"], catch_exceptions=False)


def test_a_fan_out_says_how_its_rows_ended(triage: Project):
    """The page of a fan-out counts its rows by their ends, names those that didn't end well, and what isn't on it."""
    ledger = Ledger.open(triage)
    fan = ledger.start_run(RunSpec("triage", "job", "fan-1", tags={"prodkit.job_digest": JOB}))
    for number, (outcome, error) in enumerate([("ok", ""), ("failed", "ValueError"), ("kernel-died", "DeadKernel")]):
        spec = RunSpec("triage", "item", f"it-{number}", parent_key=fan.key, parent_run_id=fan.run_id)
        item = ledger.start_run(replace(spec, params={"batch": f"2026-1{number}"}))
        tried = ledger.start_run(
            RunSpec("attempt 1", "attempt", f"it-{number}.1", parent_key=item.key, parent_run_id=item.run_id)
        )
        ledger.end_run(tried, status=Status.OK, tags={"prodkit.error": error} if error else {})
        ledger.end_run(item, status=Status.OK, tags={"prodkit.outcome": outcome})
    counts = {"items": 6, "items_ok": 3, "items_failed": 1, "items_kernel-died": 1, "items_skipped": 2}
    ledger.end_run(fan, status=Status.ERROR, metrics=counts)
    assert ledger.flush().pending == 0
    facts = gather(triage, runs_tagged(triage, "prodkit.key", "fan-1")[0].run_id)
    assert "3 of 6 rows didn't end well: 1 failed, 1 kernel-died, 1 not begun." in facts.findings
    assert any(finding.startswith("2 rows had succeeded in an earlier run") for finding in facts.findings)
    for page in (to_html(facts), to_markdown(facts)):
        assert "batch=2026-11" in page
        assert "ValueError" in page
        assert "DeadKernel" in page
        assert "batch=2026-10" not in page


def test_one_question_is_asked_once(triage: Project):
    """Two versions of a prompt that nobody has approved are one finding."""
    first, second = write_job(triage), write_job(triage, "job-2", "Sort it: {ticket}")
    ledger = Ledger.open(triage)
    whole = ledger.start_run(RunSpec("both", "session", "both"))
    versions = ["1", "2"]
    links = [{"name": "triage", "version": version} for version in versions]
    ledger.set_tags(whole, {"mlflow.linkedPrompts": json.dumps(links)})
    ledger.end_run(whole, status=Status.OK)
    assert ledger.flush().pending == 0
    facts = gather(triage, runs_tagged(triage, "prodkit.key", "both")[0].run_id)
    assert len(facts.prompts) == len({first.key, second.key})
    assert facts.findings.count("No version of the prompt `triage` was approved before.") == 1


def test_a_decision_that_mlflow_does_not_take_now_is_one_to_try_again(triage, job_run, monkeypatch):
    """It is no fault of the set-up: exit code 75, and the same command makes it whole afterwards."""
    with monkeypatch.context() as away:
        away.setattr(Ledger, "flush", lambda *_: FlushReport(0, 1, "nobody answers"))
        with pytest.raises(TransientError, match=r"review\.pending.*nobody answers"):
            decide(triage, job_run.run_id, verdict="approved", person="ana", note="")
    decide(triage, job_run.run_id, verdict="approved", person="ana", note="")
    assert "approved" in {run.tags.get("prodkit.review") for run in runs_tagged(triage, "prodkit.key", job_run.key)}
