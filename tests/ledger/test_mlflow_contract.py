"""What the adapter relies on inside MLflow. When an upgrade breaks one of these, this says which."""

from __future__ import annotations

import base64
import secrets

import pytest

from prodkit.ledger import mlflow_bulk
from prodkit.ledger.destinations import connect, current_destination
from prodkit.ledger.mlflow_adapter import OutgoingTrace
from prodkit.ledger.places import Places


@pytest.fixture
def mlflow(project):
    adapter = connect(project, Places(project.state), current_destination(project))
    assert adapter.experiment_id
    return adapter


def outgoing(trace, **more):
    return OutgoingTrace(trace.trace_id, trace.spans, tags=trace.tags, metadata=trace.metadata, **more)


def twin(trace):
    """The same trace under another id."""
    raw = secrets.token_bytes(16)
    spans = []
    for span in trace.spans:
        attributes = {
            key: value.replace(trace.trace_id, "tr-" + raw.hex()) for key, value in span["attributes"].items()
        }
        spans.append({**span, "trace_id": base64.b64encode(raw).decode(), "attributes": attributes})
    return type(trace)("tr-" + raw.hex(), tuple(spans), trace.calls, trace.run_key, trace.tags, trace.metadata)


def shown(client, trace_id):
    """All that a reviewer can see of a trace, without its id and without what only carried labels.

    The folder for attachments is left out: MLflow names one for every trace, ours for those that have attachments.
    """
    trace = client.get_trace(trace_id)
    info = trace.info
    text = repr(
        (
            info.request_time,
            info.execution_duration,
            info.state,
            info.request_preview,
            info.response_preview,
            sorted((key, value) for key, value in info.tags.items() if key != "mlflow.artifactLocation"),
            sorted((key, value) for key, value in info.trace_metadata.items() if key != "mlflow.sourceRun"),
            info.token_usage,
            [
                (
                    span.name,
                    span.span_type,
                    span.status,
                    span.start_time_ns,
                    span.end_time_ns,
                    {
                        key: value
                        for key, value in span.attributes.items()
                        if not key.startswith("mlflow.traceTag.") and key not in {"user.id", "session.id"}
                    },
                )
                for span in trace.data.spans
            ],
        )
    )
    return text.replace(trace_id, "TRACE")


def test_mlflows_tables_are_those_that_the_fast_way_writes():
    """Every table, column and helper that the fast way uses is there; otherwise it declines and all is slow."""
    assert mlflow_bulk._internals() is not None


@pytest.mark.parametrize("shape", ["ok", "error", "unfinished", "unicode", "no-user"])
def test_the_fast_way_stores_what_mlflow_itself_would_store(mlflow, client, make_trace, monkeypatch, shape):
    """A trace written by our bulk insert can't be told from one written by MLflow's own `log_spans`."""
    trace = make_trace(prompt="größe ✓" if shape == "unicode" else "hello", user="" if shape == "no-user" else "u1")
    if shape == "error":
        trace.spans[0]["status"] = {"code": "STATUS_CODE_ERROR", "message": "boom"}
    if shape == "unfinished":
        trace.spans[1]["end_time_unix_nano"] = None
    other = twin(trace)
    run_id = mlflow.create_run("r", {}, started_ms=0)
    version = mlflow.register_prompt("p", "x", {}, {}, "d")
    prompts = (("p", version),)

    mlflow.log_traces([outgoing(trace, run_id=run_id, prompts=prompts)])
    with monkeypatch.context() as patch:
        patch.setattr("prodkit.ledger.mlflow_adapter.insert_traces", lambda *_: set())
        mlflow.log_traces([outgoing(other, run_id=run_id, prompts=prompts)])

    assert shown(client, trace.trace_id) == shown(client, other.trace_id)
    for wanted in (f"metadata.`mlflow.sourceRun` = '{run_id}'", f"prompt = 'p/{version}'", "trace.name = 'triage'"):
        found = client.search_traces(locations=["1"], filter_string=wanted)
        assert {item.info.trace_id for item in found} == {trace.trace_id, other.trace_id}, wanted


def test_the_fast_way_is_really_taken(mlflow, make_trace, monkeypatch):
    """Traces that are new to a SQL store never touch `log_spans`."""

    def refuse(*_args, **_options):
        raise AssertionError("slow way")

    monkeypatch.setattr(type(mlflow._tracing().store), "log_spans", refuse)
    mlflow.log_traces([outgoing(make_trace()) for _ in range(3)])


def test_a_trace_that_is_there_already_is_not_written_twice(mlflow, client, make_trace):
    """A batch that mixes old and new traces stores each once."""
    old, new = make_trace(), make_trace()
    mlflow.log_traces([outgoing(old)])
    before = shown(client, old.trace_id)
    mlflow.log_traces([outgoing(old), outgoing(new)])

    assert len(client.search_traces(locations=["1"])) == 2
    assert shown(client, old.trace_id) == before


def test_an_unpriced_call_stays_unpriced(mlflow, client, make_trace):
    """A span without a cost of ours is stored without one, and is handed back as it came."""
    trace = make_trace()
    del trace.spans[1]["attributes"]["mlflow.llm.cost"]
    before = [dict(span["attributes"]) for span in trace.spans]
    mlflow.log_traces([outgoing(trace)])

    assert [span["attributes"] for span in trace.spans] == before
    stored = client.get_trace(trace.trace_id)
    assert stored.data.spans[1].llm_cost is None
    assert "mlflow.trace.cost" not in stored.info.trace_metadata
