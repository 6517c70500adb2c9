"""`prodkit audit show` of a captured answer: everything that an auditor asks for, from one command."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta

import pandas as pd
import pytest
from click.testing import CliRunner

from prodkit.capture import request, run
from prodkit.cli.audit import audit
from prodkit.ledger import Ledger
from prodkit.records import now
from prodkit.review import decide

MANIFEST = """
data_sources:
  tickets: {kind: excel, location: data/*.xlsx, owner: dev, region: eu, pii: true, retention_days: 30, data_source: crm}
models: [{name: gpt-4o-mini, provider: openai, region: eu}]
compliance: {retention_days: 400}
"""


@pytest.fixture
def answered(here, client):
    """A project under git in which one cell has asked about five tickets; and the first request's record."""
    project = here(MANIFEST)
    (project.root / "triage.ipynb").write_text("{}")
    git = ["git", "-C", str(project.root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "triage.ipynb"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    tickets = pd.DataFrame({"body": [f"Invoice {number} is wrong" for number in range(5)]})
    with run("classify", inputs=["tickets"], user="ada") as opened:
        for number, body in enumerate(tickets["body"]):
            with request(user="ada", source="crm", session=f"s{number}", purpose="routing"):
                client.chat.completions.create(
                    model="gpt-4o-mini",
                    temperature=0.2,
                    messages=[
                        {"role": "system", "content": "You sort the tickets of a shop into three queues."},
                        {"role": "user", "content": f"Which queue does this ticket belong to: {body}"},
                    ],
                )
    assert Ledger.open(project).flush().pending == 0
    return project, opened, opened.calls[0]


def show(call, *more):
    result = CliRunner().invoke(audit, ["show", call.request_id, *more])
    assert result.exit_code == 0, result.output
    return result.output


def line(text, name):
    return next(line.removeprefix(name).strip() for line in text.splitlines() if line.startswith(name))


def test_an_answer_is_explained(answered):
    """Code with its commit, data, model and parameters, cost, tokens, who asked and what for are each one line."""
    project, _, call = answered
    text = show(call)
    commit = subprocess.run(
        ["git", "-C", str(project.root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    assert line(text, "commit") == commit.stdout.strip()
    assert "for number, body in enumerate(tickets['body']):" in line(text, "code")
    assert line(text, "dataset").startswith("tickets pk")
    assert "data/*.xlsx" in line(text, "dataset")
    assert line(text, "model") == 'openai/gpt-4o-mini {"temperature": 0.2}'
    assert line(text, "who").startswith("ada [")
    assert line(text, "session") == "s0"
    assert line(text, "data source") == "crm routing eu"
    assert line(text, "cost").startswith(f"${call.cost.usd} (priced) genai-prices")
    assert line(text, "tokens") == f"{call.usage.input_tokens} in, {call.usage.output_tokens} out"
    assert "Invoice 0 is wrong" in line(text, "prompt")
    assert line(text, "reviewed") == "by nobody yet"


def test_the_template_is_known_of_the_first_call_too(answered):
    """The first call of a cell is explained by the template that was recognised only after some more."""
    _, opened, call = answered
    assert not call.prompts
    shown = json.loads(show(call, "--json"))
    templates = {prompt["name"]: prompt["template"] for prompt in shown["prompts"]}
    assert templates["classify.system"] == "You sort the tickets of a shop into three queues."
    assert templates["classify"].startswith("Which queue does this ticket belong to: Invoice {")
    assert all(prompt["version"] for prompt in shown["prompts"])
    assert opened.summary().prompts


def test_retention_is_recorded_with_each_answer(answered):
    """The shortest period of compliance and data says until when content is kept, in the record, show and export."""
    _, _, call = answered
    expires = call.started.date() + timedelta(days=30)
    assert (call.retention_class, call.expires) == ("tickets", expires)
    assert line(show(call), "kept until") == f"{expires}, by the retention period of the data source `tickets`"
    rows = [json.loads(row) for row in CliRunner().invoke(audit, ["export"]).output.splitlines() if row[0] == "{"]
    assert {(row["retention_class"], row["expires"]) for row in rows} == {("tickets", expires.isoformat())}


def test_retention_without_data_is_that_of_compliance(here, client, ask):
    """A call without data is kept as long as the manifest's compliance says."""
    here("compliance: {retention_days: 7}")
    with run("plain") as opened:
        ask(client)
    assert opened.calls[0].retention_class == "compliance"
    assert opened.calls[0].expires == now().date() + timedelta(days=7)
    assert "by the retention period of compliance" in show(opened.calls[0])


def test_a_persons_decision_stands_beside_the_answer(answered):
    """Who approved the run in which the answer was given is named, with the note."""
    project, opened, call = answered
    decide(project, opened.handle.run_id, verdict="approved", person="Eve Adler", note="seen by legal")
    assert line(show(call), "reviewed") == "cell classify approved by Eve Adler: seen by legal"
