"""A check of data is where a reviewer looks: a report and figures at the run, and a span among its traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import prodkit
from prodkit.capture import run
from prodkit.contracts import infer
from prodkit.errors import DataError
from prodkit.ledger import Ledger, events
from prodkit.ledger.audit import Audit

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.manifest import Project

CANARY = "sk-proj-canary4f8Kd02mXq7Zr5Tn"
SOURCES = "data_sources: {tickets: {kind: csv, contract: contracts/tickets.odcs.yaml, owner: ana}}\n"


@pytest.fixture
def tickets() -> pd.DataFrame:
    """Fifty good rows and a bad one, whose value nobody may see."""
    frame = pd.DataFrame({"mail": [f"a{n}@example.org" for n in range(51)], "number": range(51)})
    frame.loc[50, "mail"] = CANARY
    return frame


@pytest.fixture
def agreed(here: Callable[..., Project], tickets: pd.DataFrame) -> Project:
    """A project with a contract for tickets."""
    project = here(SOURCES)
    (project.root / "contracts").mkdir()
    contract = infer(tickets[:50], "tickets").to_yaml()
    (project.root / "contracts" / "tickets.odcs.yaml").write_text(contract)
    return project


def shipped(project: Project, opened: Any) -> tuple[list[Any], Any]:
    """The run's traces and the run, as MLflow has them."""
    import mlflow

    assert opened.ledger.flush().pending == 0
    client = mlflow.MlflowClient(project.tracking_uri)
    record = client.get_run(opened.run_id)
    traces = client.search_traces(locations=[record.info.experiment_id], run_id=opened.run_id)
    return list(traces), record


def artifacts(project: Project, opened: Any) -> set[str]:
    import mlflow

    client = mlflow.MlflowClient(project.tracking_uri)
    return {one.path for one in client.list_artifacts(opened.run_id, "validation")}


def test_an_inputs_check_is_a_span_of_the_run(agreed: Project, tickets: pd.DataFrame) -> None:
    """The span says which contract, which data, how many rows and which rules, and none of the values."""
    with run("classify", inputs={"tickets": tickets}) as opened:
        pass
    [trace], record = shipped(agreed, opened)
    [span] = trace.data.spans
    assert span.name == "validate tickets"
    assert span.status.status_code == "OK"
    assert span.inputs == {
        "dataset": "tickets", "contract": "tickets", "version": "0.1.0", "mode": "quarantine", "engine": "arrow",
        "fingerprint": prodkit.fingerprint(opened.inputs["tickets"]),
    }  # fmt: skip
    assert (span.outputs["rows_checked"], span.outputs["rows_failed"], span.outputs["rows_set_aside"]) == (51, 1, 1)
    assert span.outputs["failed"]["mail.format"] == 1
    assert span.outputs["ok"] is False
    assert CANARY not in json.dumps(trace.to_dict())
    assert (record.data.metrics["llm_calls"], record.data.metrics["rows_failed"]) == (0, 1)
    assert opened.calls == ()


def test_a_users_own_check_is_recorded_below_his_span(agreed: Project, tickets: pd.DataFrame) -> None:
    """`prodkit.validate` inside of a run leaves its report and figures there, and its span where the user stands."""
    import mlflow

    with run("by hand") as opened, mlflow.start_span("prepare"):
        found = prodkit.validate(tickets, agreed.root / "contracts" / "tickets.odcs.yaml", mode="warn")
    [trace], record = shipped(agreed, opened)
    outer, inner = sorted(trace.data.spans, key=lambda one: one.parent_id is not None)
    assert (outer.name, inner.name, inner.parent_id) == ("prepare", "validate tickets", outer.span_id)
    assert inner.end_time_ns - inner.start_time_ns >= found.seconds * 1e9
    assert artifacts(agreed, opened) == {"validation/tickets.html", "validation/tickets.md"}
    assert record.data.metrics["failed.mail.format"] == 1
    assert opened.summary().rows_checked == 51


def test_a_refusal_is_an_error_with_its_report(agreed: Project, tickets: pd.DataFrame) -> None:
    """Data that is refused leaves a span that says so, and the report that tells why."""
    with pytest.raises(DataError), run("strict", inputs={"tickets": tickets}, mode="refuse"):
        pytest.fail("the run must not begin")
    import mlflow

    assert Ledger.open(agreed).flush().pending == 0
    [found] = mlflow.search_runs(search_all_experiments=True, output_format="list")
    client = mlflow.MlflowClient(agreed.tracking_uri)
    [trace] = client.search_traces(locations=[found.info.experiment_id], run_id=found.info.run_id)
    assert trace.data.spans[0].status.status_code == "ERROR"
    assert trace.info.state == "ERROR"
    assert client.get_run(found.info.run_id).data.metrics["rows_failed"] == 1
    assert client.list_artifacts(found.info.run_id, "validation")


def test_a_loop_of_checks_keeps_its_spans_and_few_reports(agreed: Project, tickets: pd.DataFrame) -> None:
    """Thirty checks in one run are thirty spans; the card says that later reports are in the traces alone."""
    contract = prodkit.Contract.load(agreed.root / "contracts" / "tickets.odcs.yaml")
    with run("loop") as opened:
        for _ in range(30):
            prodkit.validate(tickets, contract, mode="warn")
    traces, record = shipped(agreed, opened)
    assert len(traces) == 30
    assert record.data.metrics["rows_checked"] == 30 * 51
    assert any("more than 20 times" in notice for notice in opened.notices)


def test_a_check_waits_for_no_import_of_mlflow(agreed: Project) -> None:
    """A run whose code doesn't use MLflow has its validation's trace all the same, and doesn't import it."""
    code = (
        "import sys, pandas, prodkit\n"
        "frame = pandas.DataFrame({'mail': ['a@example.org'] * 50, 'number': range(50)})\n"
        "with prodkit.run('light') as opened:\n"
        "    prodkit.validate(frame, 'contracts/tickets.odcs.yaml')\n"
        "    print('mlflow' in sys.modules)\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, cwd=agreed.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False"]
    [trace] = [entry.public for entry in Audit(agreed).entries(events.TRACE)]
    assert (trace["spans"], trace["requests"]) == (1, [])
