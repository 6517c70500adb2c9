"""A run from its opening to its end: what it is called, what lies above it, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest

from prodkit.capture import RunOptions, close_run, code, current_run, open_run, open_session, request, run
from prodkit.capture.compute import Meter
from prodkit.errors import ParameterError
from prodkit.manifest.model import Compute
from prodkit.records import Status


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": ""}, "capture.no-name"),
        ({"name": "x", "budget": "a lot"}, "capture.bad-budget"),
        ({"name": "x", "budget": "-1"}, "capture.bad-budget"),
        ({"name": "x", "budget": "nan"}, "capture.bad-budget"),
        ({"name": "x", "budget": True}, "capture.bad-budget"),
        ({"name": "x", "mode": "quarantaine"}, "capture.bad-mode"),
        ({"name": "x", "source": "crm2"}, "capture.unknown-source"),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(options, error):
    """Each wrong option is one clear error before anything is opened."""
    with pytest.raises(ParameterError) as caught:
        run(**options)
    assert caught.value.code == error
    assert caught.value.fix


@pytest.mark.parametrize(
    ("given", "meant"), [("0.50", "0.50"), (0.1, "0.1"), ("$2", "2"), (Decimal(3), "3"), (None, None)]
)
def test_budgets_are_what_was_written(given, meant):
    """A budget is the amount that its author wrote, not its binary neighbour."""
    assert RunOptions("x", budget=given).budget == (None if meant is None else Decimal(meant))


def test_a_wrong_source_of_a_request_is_refused():
    """`request(source=...)` names the nearest known source."""
    with pytest.raises(ParameterError, match="user_input"), request(source="user_inputs"):
        pass


def test_a_runs_end_is_in_mlflow(here, client, ask):
    """Summed cost, tokens, calls and latency are metrics of the run; source, version and simulation are tags."""
    import mlflow

    here("compute: {cpu_core_hour: 0.04, memory_gb_hour: 0.005}\n")
    namespace = {"client": client, "ask": ask}
    source = "answer = ask(client)\n"
    opened = open_run(RunOptions("classify", budget="0.50", namespace=namespace, code=source, cell="In [3]"))
    exec(source, namespace)  # noqa: S102  as a notebook does
    summary = close_run(opened)
    opened.ledger.flush()
    found = mlflow.get_run(summary.run_id)
    metrics, tags = found.data.metrics, found.data.tags
    assert metrics["cost_usd"] == pytest.approx(float(summary.cost_usd))
    assert metrics["llm_calls"] == 1
    assert metrics["llm_errors"] == metrics["llm_calls_unpriced"] == metrics["llm_calls_degraded"] == 0
    assert metrics["input_tokens"] == summary.input_tokens
    assert metrics["p95_seconds"] > 0
    assert metrics["cpu_seconds"] > 0
    assert metrics["compute_usd"] > 0
    assert tags["prodkit.simulated"] == "true"
    assert tags["prodkit.version"]
    assert tags["prodkit.cell"] == "In [3]"
    assert found.data.params["source"] == source
    assert found.data.params["budget_usd"] == "0.50"
    assert found.info.status == "FINISHED"
    artifacts = Path(found.info.artifact_uri.removeprefix("file://"))
    assert (artifacts / "source" / "cell.py").read_text() == source


def test_mlflow_shows_our_cost(here, client, ask):
    """The trace's cost in MLflow is ours, priced once, with user and session where MLflow looks for them."""
    import mlflow

    here("models:\n  - {name: gpt-4o-mini, provider: openai, price: {input: 1000, output: 2000}}\n")
    with run("classify", user="u1", session="s1") as opened:
        ask(client)
    [call] = opened.calls
    opened.ledger.flush()
    trace = mlflow.get_trace(call.trace_id)
    [span] = trace.data.spans
    assert span.attributes["mlflow.llm.cost"]["total_cost"] == pytest.approx(float(call.cost.usd))
    assert call.cost.usd > Decimal("0.01")  # the manifest's price, not the public one
    assert trace.info.trace_metadata["mlflow.trace.session"] == "s1"
    assert trace.info.trace_metadata["mlflow.trace.user"]


def test_cells_lie_under_their_session(here):
    """A notebook's cells lie under one session run, opened once, which lies under the job that the environment names."""
    import mlflow

    project = here()
    first = open_run(RunOptions("one", in_session=True, project=project))
    close_run(first)
    second = open_run(RunOptions("two", in_session=True, project=project))
    close_run(second)
    session = open_session(project)
    assert first.parent is second.parent is session
    for opened in (first, second):
        tags = mlflow.get_run(opened.handle.run_id).data.tags
        assert tags["mlflow.parentRunId"] == session.handle.run_id
    close_run(session)


def test_a_jobs_session_lies_under_the_job(here, monkeypatch):
    """In a job's kernel the session's parent is the run that the job has opened."""
    import mlflow

    project = here()
    with run("job") as job:
        pass
    monkeypatch.setenv("PRODKIT_PARENT_RUN", job.handle.run_id)
    monkeypatch.setenv("PRODKIT_PARENT_KEY", job.key)
    session = open_session(project)
    assert mlflow.get_run(session.handle.run_id).data.tags["mlflow.parentRunId"] == job.handle.run_id
    close_run(session)


def test_runs_nest(here, client, ask):
    """A run inside of a run is its child; each has its own calls, and the outer one goes on afterwards."""
    import mlflow

    here()
    with run("outer", user="u1") as outer:
        ask(client, "first")
        with run("inner") as inner:
            ask(client, "second")
        assert current_run() is outer
        ask(client, "third")
    assert current_run() is None
    assert [call.prompt[0]["content"] for call in outer.calls] == ["first", "third"]
    assert [call.prompt[0]["content"] for call in inner.calls] == ["second"]
    assert inner.calls[0].user == "u1"
    tags = mlflow.get_run(inner.handle.run_id).data.tags
    assert tags["mlflow.parentRunId"] == outer.handle.run_id


@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), Status.ERROR), (KeyboardInterrupt(), Status.ABORTED)])
def test_a_failing_cell_is_recorded_as_such(here, error, status):
    """An exception ends the run with its class, is never swallowed, and its message isn't copied into a tag."""
    here()
    with pytest.raises(type(error)), run("fails") as opened:
        raise error
    assert opened.status is status
    assert opened.summary().status is status


def test_closing_twice_changes_nothing(here):
    """A run that is closed again keeps its first end."""
    here()
    opened = open_run(RunOptions("once"))
    first = close_run(opened)
    assert close_run(opened, ValueError("late")) == first


def test_late_calls_correct_the_figures(here, client, ask):
    """A call that ends after its cell still counts: the run's figures are corrected."""
    import mlflow

    here()
    go_on = threading.Event()

    def late():
        go_on.wait(10)
        ask(client)

    with run("late") as opened:
        thread = threading.Thread(target=late)
        with mlflow.start_span("begun inside"):
            ask(client)
            context = __import__("contextvars").copy_context()
        thread = threading.Thread(target=context.run, args=(late,))
        thread.start()
    go_on.set()
    thread.join()
    opened.ledger.flush()
    assert mlflow.get_run(opened.handle.run_id).data.metrics["llm_calls"] >= 1


SCRIPT = """
    import os, signal, sys, threading
    from concurrent.futures import ThreadPoolExecutor
    import prodkit
    from openai import OpenAI
    from prodkit.testing import openai_options

    client = OpenAI(**openai_options())
    answered = []

    def ask(number):
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": f"Ticket {number}"}])
        answered.append(number)
        os.write(1, f"{number}\\n".encode())
        if len(answered) >= 60:
            os.kill(os.getpid(), signal.SIGKILL)

    with prodkit.run("killed"):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(200)))
"""


@pytest.mark.slow
def test_a_killed_kernel_loses_no_answer(here, provider, tmp_path):
    """After SIGKILL in the middle of sixteen threads each answer that the user's code has got is in the journal."""
    project = here()
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, **provider.environment(), "PRODKIT_PROJECT": str(project.root)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    answered = {int(line) for line in done.stdout.split()}
    assert len(answered) >= 60
    from prodkit.ledger import Ledger

    ledger = Ledger.open(project)
    recorded = _prompts(ledger)
    assert {f"Ticket {number}" for number in answered} <= recorded


def _prompts(ledger):
    """The prompts of all calls in the journal."""
    import mlflow

    ledger.flush(60)
    experiment = mlflow.MlflowClient(ledger.project.tracking_uri).get_experiment_by_name(ledger.project.experiment)
    client = mlflow.MlflowClient(ledger.project.tracking_uri)
    found, token = set(), None
    while True:
        page = client.search_traces(locations=[experiment.experiment_id], max_results=200, page_token=token)
        found |= {json.loads(json.dumps(t.data.spans[0].inputs))["messages"][0]["content"] for t in page}
        token = page.token
        if not token:
            return found


def test_git_and_notebook_are_known(tmp_path):
    """The run says from which commit and which notebook its code came, and whether files differ from the commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    notebook = tmp_path / "demo.ipynb"
    notebook.write_text("{}")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    tags = code.describe(tmp_path, notebook)
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert tags["prodkit.git_dirty"] == "false"
    assert tags["prodkit.notebook"] == "demo.ipynb"
    assert len(tags["prodkit.notebook_sha256"]) == 64
    notebook.write_text("{ }")
    assert code.describe(tmp_path, notebook)["prodkit.git_dirty"] == "true"


def test_names_are_read_from_any_cell():
    """The names that a cell uses are found, magics and all."""
    assert code.names_used("%time x = 1\n!ls\ntotal = len(tickets)\n") == ["total", "len", "tickets"]
    assert code.names_used("x = (") == []


def test_compute_is_measured_and_priced():
    """CPU seconds are those that the process has taken, and the price is theirs at the manifest's rates."""
    meter = Meter()
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    use = meter.read(Compute(cpu_core_hour=Decimal(3600)))
    assert 0.25 < use.cpu_seconds < 3
    assert use.memory_peak_mib > 10
    assert use.usd == pytest.approx(Decimal(repr(use.cpu_seconds)))
    assert meter.read(Compute()).usd is None


def test_what_was_redacted_is_told(here, ask):
    """What was taken out of a run's calls is on its card and in its metrics by class; what a trace repeats counts once."""
    import httpx2
    import mlflow
    from openai import OpenAI

    here()
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "billing"}}],
    }
    answering = httpx2.MockTransport(lambda _: httpx2.Response(200, json=body))
    with OpenAI(api_key="x", http_client=httpx2.Client(transport=answering)) as client, run("classify") as opened:
        ask(client, "I'm anna.berg@example.org, and ben@example.org knows me.")
        ask(client, "My invoice is wrong.")
        ask(client, "I'm anna.berg@example.org and my IBAN is DE89370400440532013000.")
    told = opened.summary().redactions
    assert told == {"email": 3, "iban": 1}
    opened.ledger.flush()
    metrics = mlflow.get_run(opened.handle.run_id).data.metrics
    assert {name: metrics[f"redacted.{name}"] for name in told} == told


def test_the_notebooks_redactions_are_those_of_its_cells(here, client, ask):
    """The session run sums what its cells redacted; a run without findings shows none."""
    project = here()
    for name, question in (("first", "I'm anna.berg@example.org."), ("second", "My invoice is wrong.")):
        opened = open_run(RunOptions(name, in_session=True, project=project))
        ask(client, question)
        told = close_run(opened).redactions
        assert bool(told) is (name == "first")
    session = open_session(project)
    found = session.summary().redactions
    close_run(session)
    assert found["email"] >= 1
