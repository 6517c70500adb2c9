"""What a person says of an answer: in the journal first, then a human assessment at the trace in MLflow."""

from __future__ import annotations

import json

import pytest

from prodkit.ledger.audit import Audit
from prodkit.records import FeedbackRecord, new_id


@pytest.fixture
def call(ledger, make_spec, make_trace):
    """A call of Ada's whose trace is recorded and not shipped yet."""
    run = ledger.start_run(make_spec())
    trace = make_trace(run.key, user="ada")
    ledger.log_trace(trace)
    return trace.calls[0]


def judge(call, **more):
    return FeedbackRecord(new_id("fb"), call.request_id, call.trace_id, "Ana Ruiz (ana)", **{"value": True, **more})


def test_it_is_a_human_assessment_in_mlflow_and_the_review_of_the_request(ledger, client, call, project, secret):
    """Value, comment and person are at the trace, redacted, and `audit show` tells them with and without MLflow."""
    ledger.log_feedback(judge(call, value=False, comment=f"wrong queue, see {secret}"), user="ada")
    assert Audit(project).explain(call.request_id).reviews == (
        "human_review: False (Ana Ruiz (ana)): wrong queue, see [secret]",
    )
    assert ledger.flush().pending == 0
    (shown,) = client.get_trace(call.trace_id).info.assessments
    assert shown.source.source_type == "HUMAN"
    assert shown.source.source_id == "Ana Ruiz (ana)"
    assert (shown.name, shown.value, shown.rationale) == ("human_review", False, "wrong queue, see [secret]")
    assert len(Audit(project).explain(call.request_id).reviews) == 1
    assert secret not in json.dumps([entry.public for entry in Audit(project).entries("feedback")])


def test_sending_it_twice_shows_it_once(ledger, client, call, project):
    """A judgement that is shipped again, as after a kill, stands once at the trace; two judgements stand twice."""
    from prodkit.ledger.destinations import connect, current_destination

    said = judge(call)
    ledger.log_feedback(said)
    ledger.flush()
    connect(project, ledger.places, current_destination(project)).log_feedback(said)
    assert len(client.get_trace(call.trace_id).info.assessments) == 1
    ledger.log_feedback(judge(call, name="score", value=4.0))
    ledger.flush()
    assert {one.name for one in client.get_trace(call.trace_id).info.assessments} == {"human_review", "score"}


def test_words_said_in_mlflow_itself_count_too(ledger, client, call, project):
    """What a reviewer enters in MLflow's own UI is part of the request's explanation."""
    from mlflow.entities import AssessmentSource, Feedback
    from mlflow.tracing.client import TracingClient

    ledger.flush()
    source = AssessmentSource("HUMAN", "legal")
    TracingClient(project.tracking_uri).log_assessment(
        call.trace_id, Feedback(name="fine", value=True, source=source, trace_id=call.trace_id)
    )
    assert Audit(project).explain(call.request_id).reviews == ("fine: True (legal)",)


def test_erasing_the_person_takes_the_words_away(ledger, call, project):
    """After an erasure nobody can read what was said of that person's answers, and nothing waits to be shipped."""
    ledger.log_feedback(judge(call, comment="she wrote of her illness"), user="ada")
    Audit(project).erase("ada")
    assert Audit(project).explain(call.request_id).reviews == ()
    assert Audit(project).pending() == 0
    assert Audit(project).rejections() == []


def test_an_answer_without_a_trace_is_judged_in_the_journal(ledger, make_spec, make_trace, project):
    """Where no trace stands for the call the judgement is kept, and MLflow's refusal is visible."""
    run = ledger.start_run(make_spec())
    trace = make_trace(run.key)
    ledger.log_trace(trace)
    said = FeedbackRecord(new_id("fb"), trace.calls[0].request_id, "", "Ana", value=4.0, name="score")
    ledger.log_feedback(said)
    ledger.flush()
    assert Audit(project).explain(said.request_id).reviews == ("score: 4.0 (Ana)",)
    assert [item.reason for item in Audit(project).rejections()] == ["its call has no trace"]
