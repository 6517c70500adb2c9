"""Nothing passes the ledger uncleaned, and nothing passes when cleaning fails."""

from __future__ import annotations

import dataclasses
import json

import pytest

from prodkit.records import DatasetRecord, Status


def everything(folder):
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_secret_on_any_path_reaches_neither_journal_nor_mlflow(project, ledger, make_spec, make_trace, secret):
    """A secret in prompts, answers, errors, stacks, attributes, keys, tags, names and files is found nowhere."""
    run = ledger.start_run(make_spec(name=f"run {secret}", params={secret: secret}, tags={"t": secret, secret: "t"}))
    trace = make_trace(
        run.key, prompt=f"my key is {secret}", response={secret: [secret]}, error=f"failed with {secret}"
    )
    span = trace.spans[1]
    span["events"] = [
        {
            "name": "exception",
            "time_unix_nano": 1,
            "attributes": {"exception.stacktrace": f"at {secret}", secret: secret},
        }
    ]
    span["status"] = {"code": "STATUS_CODE_ERROR", "message": f"bad {secret}"}
    span["name"] = f"span {secret}"
    span["attributes"][secret] = secret
    span["links"] = [{"trace_id": "x", "span_id": "y", "attributes": {"a": secret}}]
    trace = dataclasses.replace(trace, tags={secret: secret}, metadata={"m": secret, "mlflow.trace.session": secret})
    ledger.log_trace(trace)
    ledger.log_dataset(
        run, DatasetRecord(secret, f"https://x?{secret}", "d", columns=((secret, "str"),), attributes={"o": secret})
    )
    ledger.log_text(run, f"text {secret}", f"folder/{secret}.md")
    notebook = project.root / "n.ipynb"
    notebook.write_text(json.dumps({"cells": [{"outputs": [{"text": secret}]}]}))
    ledger.log_file(run, notebook)
    ledger.register_prompt("p", f"Use {secret}", parameters={"k": secret}, tags={"t": secret}, run=run)
    ledger.note_experiment(f"note {secret}")
    notebook.unlink()
    ledger.end_run(run, status=Status.ERROR, tags={"e": secret}, params={"late": secret})

    assert ledger.flush().pending == 0
    assert ledger._shipments.rejections() == []

    assert secret.encode() not in everything(project.state)
    from prodkit.ledger.audit import Audit

    (entry, call, _), *_ = Audit(project).calls()
    assert "[secret]" in call.prompt[0]["content"]
    assert entry.public["redactions"]["secret"] > 5


def test_content_that_cannot_be_cleaned_is_withheld(project, ledger, client, make_spec, make_trace, traces_of):
    """When the redactor fails, the call is still recorded, with its content withheld."""
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key, prompt="EXPLODE with private words"))
    ledger.flush()

    assert b"private words" not in everything(project.state)
    (trace,) = traces_of(client, run.run_id)
    assert "withheld" in trace.info.request_preview


def test_a_user_whose_id_is_personal_stays_one_user_under_a_pseudonym(ledger, client, make_trace, traces_of, secret):
    """A user's id that the redactor changes becomes a stable pseudonym, so that two users stay two."""
    for user in (secret, secret, secret + "-b"):
        ledger.log_trace(make_trace(user=user))
    ledger.flush()

    users = {trace.info.trace_metadata["mlflow.trace.user"] for trace in traces_of(client)}
    assert len(users) == 2
    assert all(user.startswith("u-") for user in users)


@pytest.mark.parametrize("text", ["\ud83d broken", "nul \x00 inside", "\udcff\udcfe", "\u202e right to left"])
def test_text_that_databases_refuse_is_made_valid(ledger, client, make_spec, make_trace, traces_of, text):
    """Lone surrogates and NUL arrive as replacement characters; the call is shipped."""
    run = ledger.start_run(make_spec(name=text, tags={"t": text}))
    ledger.log_trace(make_trace(run.key, prompt=text, response=text, user=text))
    ledger.log_text(run, text, "a.txt")
    assert ledger.flush().pending == 0
    assert ledger._shipments.rejections() == []
    assert len(traces_of(client, run.run_id)) == 1


def test_objects_that_json_does_not_know_are_named_not_printed(ledger, make_trace, project):
    """An unknown object in a prompt is recorded as its type, never by its repr, which may hold anything."""

    class Holder:
        def __repr__(self):
            return "private words"

    trace = make_trace()
    call = dataclasses.replace(trace.calls[0], prompt={"x": Holder()})
    ledger.log_trace(dataclasses.replace(trace, calls=(call,)))
    from prodkit.ledger.audit import Audit

    (_, call, _), *_ = Audit(project).calls()
    assert call.prompt == {"x": "[Holder]"}
