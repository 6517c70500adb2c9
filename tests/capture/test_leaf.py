"""A call that stands alone reaches MLflow as if its autologging had made the trace, and what isn't alone is left to it."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest

from prodkit.capture import autolog, run
from prodkit.records import Status

CHANGING = {"mlflow.traceRequestId", "mlflow.experimentId", "prodkit.request_id"}  # from one call to the next
NEW = ("prodkit.run_key", "prodkit.requests")


@pytest.fixture
def shipped(here, monkeypatch):
    """Makes calls in a run, ships them, and gives their traces as MLflow's client reads them, in order."""
    import mlflow

    from prodkit.ledger import Ledger

    project = here()

    def ship(calls, *, alone=True, **options):
        with monkeypatch.context() as patch:
            if not alone:
                patch.setattr(autolog, "stands_alone", lambda: False)
            with run("leaf", **options) as opened:
                calls()
        assert Ledger.open(project).flush(60).pending == 0
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project.state / 'mlflow.db'}")
        found = client.search_traces(locations=[opened.handle.experiment_id], include_spans=True)
        mine = [trace for trace in found if trace.info.trace_metadata["mlflow.sourceRun"] == opened.run_id]
        return sorted(mine, key=lambda trace: trace.info.request_time), opened

    return ship


def _told(trace):
    """All of a trace but ids, times and what MLflow's store adds of them."""
    info = trace.info
    [span] = trace.data.spans
    attributes = {key: value for key, value in span.attributes.items() if key not in CHANGING}
    for name in ("id", "created"):
        (attributes.get("mlflow.spanOutputs") or {}).pop(name, None)
    return {
        "name": span.name,
        "type": span.span_type,
        "status": span.status.status_code,
        "attributes": attributes,
        "events": [(event.name, sorted(event.attributes)) for event in span.events],
        "state": info.state,
        "request": info.request_preview,
        "response": re.sub(r"-sim-\d+-\d+", "", info.response_preview or ""),
        "tags": {key: value for key, value in info.tags.items() if key not in NEW and "rtifact" not in key},
        "metadata": {key: value for key, value in info.trace_metadata.items() if key != "mlflow.sourceRun"},
    }


@pytest.mark.parametrize("kind", ["chat", "embeddings", "messages", "async chat", "async messages"])
def test_a_call_alone_is_told_as_mlflow_tells_it(shipped, provider, client, claude, kind):
    """Name, type, inputs, outputs, format, tokens, cost, previews, tags and metadata are those of MLflow's own span."""
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

    said = [{"role": "user", "content": "Grüße: my invoice is wrong."}]
    chat = {"model": "gpt-4o-mini", "temperature": 0, "messages": said}
    message = {"model": "claude-sonnet-5", "max_tokens": 9, "system": "Be brief.", "messages": said}

    async def later(kind):
        if kind == "async chat":
            async with AsyncOpenAI(**provider.openai_options()) as other:
                await other.chat.completions.create(**chat)
        else:
            async with AsyncAnthropic(**provider.anthropic_options()) as other:
                await other.messages.create(**message)

    def call():
        if kind.startswith("async"):
            asyncio.run(later(kind))
        elif kind == "chat":
            client.chat.completions.create(**chat)
        elif kind == "embeddings":
            client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], encoding_format="float")
        else:
            claude.messages.create(**message)

    [theirs], _ = shipped(call, alone=False, user="u1", source="crm")
    [ours], _ = shipped(call, user="u1", source="crm")
    ours, theirs = _told(ours), _told(theirs)
    for part in theirs:
        assert ours[part] == theirs[part], part


def test_an_error_is_told_as_mlflow_tells_it(shipped, client):
    """A call that fails is a span of status ERROR with the exception's event; the error itself reaches the user."""
    from openai import NotFoundError

    nowhere = client.copy(base_url=f"{client.base_url}nowhere/")

    def call():
        with pytest.raises(NotFoundError):
            nowhere.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}])

    [theirs], _ = shipped(call, alone=False)
    [ours], opened = shipped(call)
    ours, theirs = _told(ours), _told(theirs)
    for part in ("name", "type", "status", "events", "state", "request"):
        assert ours[part] == theirs[part], part
    assert ours["status"] == "ERROR"
    assert "exception" in dict(ours["events"])
    assert [call.status for call in opened.calls] == [Status.ERROR]


def test_what_is_not_alone_goes_mlflows_way(here, client, monkeypatch):
    """Calls inside of the user's spans nest there; streams, tools and what the user's MLflow is set up for stay MLflow's."""
    import mlflow

    here()
    taken = []
    made = autolog.begin_leaf
    monkeypatch.setattr(autolog, "begin_leaf", lambda *named: taken.append(named) or made(*named))
    said = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    with run("mixed") as opened:
        with mlflow.start_span("chain"):
            client.chat.completions.create(**said)
        list(client.chat.completions.create(**said, stream=True))
        client.chat.completions.create(**said, tools=[tool])
        with mlflow.tracing.configure(span_processors=[lambda span: None]):
            client.chat.completions.create(**said)
        assert taken == []
        client.chat.completions.create(**said)
    assert taken == [("Completions", "CHAT_MODEL")]
    assert len({call.trace_id for call in opened.calls}) == 5


def test_a_call_alone_answers_to_the_users_own_mlflow(shipped, client):
    """Its server hears the trace's id, `get_last_active_trace_id` names it, and `tracing.context` labels it."""
    import mlflow

    named = []

    def call():
        with mlflow.tracing.context(metadata={"team": "support"}, tags={"stage": "trial"}):
            answer = client.chat.completions.with_raw_response.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}]
            )
        named.append((answer.http_response.request.headers["traceparent"], mlflow.get_last_active_trace_id()))

    [trace], opened = shipped(call)
    [span], [(header, last)], [record] = trace.data.spans, named, opened.calls
    assert trace.info.trace_id == last == record.trace_id
    assert header.split("-")[1:3] == [last.removeprefix("tr-"), span.span_id]
    assert trace.info.trace_metadata["team"] == "support"
    assert trace.info.tags["stage"] == "trial"


def test_a_call_that_outlives_its_run_is_told_and_recorded(here):
    """A call under way when its run ends is named on the card, and recorded with it when its answer comes."""
    import httpx2
    from openai import OpenAI

    here()
    asked, answered = threading.Event(), threading.Event()
    said = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "late"}}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "choices": [said]}

    def answer(request):
        asked.set()
        assert answered.wait(20)
        return httpx2.Response(200, json=body | {"usage": {"prompt_tokens": 5, "completion_tokens": 1}})

    client = OpenAI(api_key="x", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))

    def ask():
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}])

    with run("late") as opened:
        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(20)
    assert any("1 trace was still open" in notice for notice in opened.notices)
    assert opened.calls == ()
    answered.set()
    thread.join(20)
    assert [call.status for call in opened.calls] == [Status.OK]


def _ask(client, text):
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])


def test_the_trace_is_made_of_the_calls_own_record(shipped, client):
    """The journal holds one record of a call that stands alone; trace, span and request are found by it."""
    from prodkit.ledger.audit import Audit

    [trace], opened = shipped(lambda: _ask(client, "Is it late?"))
    [record] = opened.calls
    audit = Audit(opened.project)
    [entry] = audit.entries("call", "trace")
    assert entry.kind == "call"
    assert entry.public["span"] == {
        "name": "Completions",
        "kind": "CHAT_MODEL",
        "content": ["messages"],
        "message_format": "openai",
    }
    assert "Is it late?" not in str(entry.public)
    [(_, read, _)] = audit.calls()
    assert (read.span.name, read.cost.input_usd) == ("Completions", record.cost.input_usd)
    [span] = trace.data.spans
    assert span.attributes["mlflow.llm.cost"]["input_cost"] == pytest.approx(float(record.cost.input_usd))
    assert trace.info.tags["prodkit.requests"] == record.request_id


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_erased_call_has_no_trace(here, client, when):
    """Erased before it was shipped, a call's trace is never made; erased afterwards, it is taken out of MLflow."""
    import mlflow

    from prodkit.capture import request
    from prodkit.ledger import Ledger
    from prodkit.ledger.audit import Audit

    project = here()
    with run("erased") as opened:
        for user in ("ada", "bob"):
            with request(user=user):
                _ask(client, f"words of {user}")
    ledger = Ledger.open(project)
    if when == "before":
        ledger.keyring.erase("ada")
    else:
        assert ledger.flush(60).pending == 0
        done = Audit(project).erase("ada")
        assert (done.requests, done.traces) == (1, 1)
    assert ledger.flush(60).pending == 0
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project.state / 'mlflow.db'}")
    found = client.search_traces(locations=[opened.handle.experiment_id], include_spans=True)
    assert [trace.info.trace_metadata["mlflow.trace.user"] for trace in found] == ["bob"]
    assert sorted(erased for _, _, erased in Audit(project).calls()) == [False, True]


def test_users_known_by_an_address_stay_two(shipped, client):
    """Whoever is known by an e-mail address has the same stand-in in the trace's metadata and its span."""
    from prodkit.capture import request

    def calls():
        for user in ("ada@northwind.example", "bob@northwind.example"):
            with request(user=user):
                _ask(client, "x")

    traces, opened = shipped(calls)
    named = [trace.info.trace_metadata["mlflow.trace.user"] for trace in traces]
    assert named == [opened.ledger.keyring.pseudonym(f"{name}@northwind.example") for name in ("ada", "bob")]
    assert named == [trace.data.spans[0].attributes["user.id"] for trace in traces]


def test_a_person_named_to_mlflow_is_erased_too(shipped, client):
    """Who is named by `mlflow.tracing.context` alone has the trace's content as well as the user of the call."""
    import mlflow

    from prodkit.ledger.audit import Audit

    def call():
        with mlflow.tracing.context(metadata={"mlflow.trace.user": "eve"}):
            _ask(client, "words of eve")

    [trace], opened = shipped(call)
    assert trace.info.trace_metadata["mlflow.trace.user"] == "eve"
    assert Audit(opened.project).erase("eve").traces == 1
    assert [erased for _, _, erased in Audit(opened.project).calls()] == [True]


def test_several_fields_of_a_request_come_back_in_the_span(shipped, claude):
    """A request's system text, its messages and its parameters stand in the span's inputs as they were sent."""
    said = {"system": "Be brief.", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9}
    [trace], _ = shipped(lambda: claude.messages.create(model="claude-sonnet-5", **said, metadata={"user_id": "m1"}))
    assert trace.data.spans[0].inputs == {"model": "claude-sonnet-5", **said, "metadata": {"user_id": "m1"}}
