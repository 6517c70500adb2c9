"""An erasure reaches everything that holds the person's words, and says what it didn't reach."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from prodkit.cli.audit import audit
from prodkit.errors import TransientError
from prodkit.ledger.audit import Audit
from prodkit.ledger.erasure import ERASED, Scrubber, words_of
from prodkit.ledger.places import Places
from prodkit.ledger.shipments import Shipments, ShippedRun
from prodkit.records import Status

ADA = "My neighbour's parcel was opened & read"
ANSWER = "Dear Ada, that is a matter of privacy"
BOB = "Where is my refund of last month"
TEMPLATE = "Sort this ticket of the shop: {ticket}"


def notebook(*texts):
    outputs = [{"output_type": "stream", "name": "stdout", "text": [f"{text}\n" for text in texts]}]
    return json.dumps({"cells": [{"cell_type": "code", "source": "print(answers)", "outputs": outputs}]})


@pytest.fixture
def spoken(ledger, project, make_spec, make_trace):
    """Ada and Bob have each asked once in a cell of a job, whose notebook, report and data hold their words, too."""
    job = ledger.start_run(make_spec("triage", "job"))
    cell = ledger.start_run(make_spec(parent_key=job.key, tags={"prodkit.user": "ada"}))
    ledger.register_prompt("triage", TEMPLATE, run=cell)
    for user, asked, said in (("ada", ADA, ANSWER), ("bob", BOB, "Your refund is on its way")):
        text = TEMPLATE.format(ticket=asked)
        answer = {"choices": [{"message": {"role": "assistant", "content": said}}], "model": "gpt-4o-mini-2024-07-18"}
        ledger.log_trace(make_trace(cell.key, user=user, prompt=text, response=answer))
    ledger.log_text(job, notebook(ADA, ANSWER, BOB), "notebook/triage.ipynb")
    ledger.log_text(cell, f"<p>{ADA.replace('&', '&amp;').replace(chr(39), '&#x27;')}</p><p>{BOB}</p>", "report.html")
    ledger.log_text(cell, "model='gpt-4o-mini-2024-07-18'", "source/cell.py")
    ledger.end_run(cell, status=Status.OK)
    ledger.end_run(job, status=Status.OK)
    state = project.state
    for folder in ("quarantine/run-1", "jobs/triage/kept", "jobs/triage/run-1"):
        (state / folder).mkdir(parents=True)
    rows = pd.DataFrame({"user": ["ada", "bob", "eve"], "body": ["?", BOB, f"She wrote: {ADA}"], "_reason": "x"})
    rows.to_parquet(state / "quarantine/run-1/tickets.parquet")
    (state / "jobs/triage/kept/ada").write_bytes(pickle.dumps({"answers": [ADA] * 3}, protocol=5) + b"\xff")
    (state / "jobs/triage/kept/bob").write_bytes(pickle.dumps({"answers": [BOB] * 3}, protocol=5) + b"\xff")
    (state / "jobs/triage/run-1/attempt-1.ipynb").write_text(notebook(ADA, BOB))
    (project.root / "mine.ipynb").write_text(notebook(ANSWER))
    (project.root / "other.ipynb").write_text(notebook(BOB))
    assert ledger.flush().pending == 0
    return job, cell


def bytes_under(folder):
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def erase(*more):
    return CliRunner().invoke(audit, ["erase", "--user", "ada", "--yes", *more])


def test_a_persons_words_are_nowhere_afterwards(project, client, spoken):
    """Byte by byte neither database, artifacts, journal nor quarantine hold Ada's words; Bob's and the code stay."""
    before = bytes_under(project.state)
    assert before.count(b"parcel was opened") > 4
    erased = erase()
    assert erased.exit_code == 0, erased.output
    assert isinstance(erased.output, str)

    after = bytes_under(project.state)
    for words in (b"parcel was opened", b"matter of privacy"):
        assert words not in after
    assert client.search_traces(locations=["1"])[0].info.trace_metadata["mlflow.trace.user"] == "bob"
    job, cell = spoken
    executed = json.loads(Path(client.download_artifacts(job.run_id, "notebook/triage.ipynb")).read_text())
    assert executed["cells"][0]["outputs"][0]["text"] == [f"{ERASED}\n", f"{ERASED}\n", f"{BOB}\n"]
    html = Path(client.download_artifacts(cell.run_id, "report.html")).read_text()
    assert html == f"<p>{ERASED}</p><p>{BOB}</p>"
    source = Path(client.download_artifacts(cell.run_id, "source/cell.py")).read_text()
    assert source == "model='gpt-4o-mini-2024-07-18'"
    kept = pq.read_table(project.state / "quarantine/run-1/tickets.parquet").to_pylist()
    assert [row["user"] for row in kept] == ["bob"]
    assert client.get_run(cell.run_id).data.tags["prodkit.user"].startswith("u-")
    assert Audit(project).verify().ok


def test_the_report_says_what_was_reached_and_what_not(project, spoken):
    """Each file that was cleaned or removed is a line, and so is the user's own notebook, which is left alone."""
    job, cell = spoken
    lines = erase().output.splitlines()
    assert "1 request can't be read any more; taken out of MLflow: 1 trace." in lines
    assert {line for line in lines if line.startswith("cleaned")} == {
        "cleaned  .prodkit/jobs/triage/run-1/attempt-1.ipynb",
        "cleaned  .prodkit/quarantine/run-1/tickets.parquet",
        f"cleaned  MLflow run {job.run_id}, artifact notebook/triage.ipynb",
        f"cleaned  MLflow run {cell.run_id}, artifact report.html",
    }
    assert [line for line in lines if line.startswith("removed")] == ["removed  .prodkit/jobs/triage/kept/ada"]
    left = [line for line in lines if line.startswith("LEFT")]
    assert left == ["LEFT     mine.ipynb: your own notebook holds words of this user; clear its outputs"]
    assert ANSWER in (project.root / "mine.ipynb").read_text()


def test_nothing_is_destroyed_while_mlflow_is_away(project, spoken, monkeypatch):
    """Without MLflow the erasure doesn't begin, because the words in its artifacts couldn't be found later."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"ledger\.mlflow-unreachable"):
        Audit(project).erase("ada")
    assert [erased for _, _, erased in Audit(project).calls(user="ada")] == [False]

    gone = ShippedRun("run-1", "0" * 32, "1")  # as if the records of another time had gone there
    Shipments(Places(project.state)).set_run("http://127.0.0.1:9|triage", gone)
    went_on = erase("--without-mlflow")
    assert "LEFT     MLflow at http://127.0.0.1:9: artifacts and traces, because it wasn't reached" in went_on.output
    assert "cleaned  MLflow run" in went_on.output  # the one that is there
    assert [erased for _, _, erased in Audit(project).calls(user="ada")] == [True]


def test_what_others_have_said_too_is_nobodys(make_trace):
    """Templates, system messages, markers, ids and what two people have said alike aren't one person's words."""
    system = {"role": "system", "content": "You are the clerk of a shop"}
    asked = [system, {"role": "user", "content": f"Sort this: {ADA} [email] and some more of it"}]
    answer = {
        "id": "chatcmpl-0123456789",
        "model": "gpt-4o-mini-2024",
        "choices": [{"message": {"content": "Thank you so much"}}],
    }
    mine = make_trace(user="ada").calls[0]
    theirs = make_trace(user="bob", response=answer, prompt="x").calls[0]
    mine = type(mine)(
        **{name: getattr(mine, name) for name in mine.__dataclass_fields__} | {"prompt": asked, "response": answer}
    )
    words = words_of([(mine, True), (theirs, False)], ["Sort this: {ticket}"])
    assert words == {ADA, "and some more of it"}


@pytest.mark.parametrize(
    ("name", "content", "cleaned"),
    [
        ("a.txt", f"he said: {ADA}!", f"he said: {ERASED}!"),
        ("a.json", json.dumps({"ä": [ADA, 1]}), json.dumps({"ä": [ERASED, 1]}, indent=1, ensure_ascii=False)),
        ("broken.json", f'{{"a": "{ADA}"', f'{{"a": "{ERASED}"'),
        ("a.csv", "nothing of hers", "nothing of hers"),
    ],
)
def test_each_kind_of_file_is_cleaned(name, content, cleaned):
    """Text, JSON and broken JSON lose the words and nothing else."""
    assert Scrubber(frozenset({ADA}), "ada").clean(content.encode(), name) == cleaned.encode()


def test_bytes_that_hold_the_words_are_not_kept():
    """A file that is no text can't be rewritten, so it goes when it holds the words."""
    scrubber = Scrubber(frozenset({ADA}), "ada")
    assert scrubber.clean(b"\xff\xfe" + ADA.encode(), "x.bin") is None
    assert scrubber.clean(b"\xff\xfe", "x.bin") == b"\xff\xfe"
    assert scrubber.clean(b"no table", "x.parquet") is None
