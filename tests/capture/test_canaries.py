"""Secrets and personal data, planted on every path, are afterwards found nowhere: in no file, in no form.

Each path has canaries of its own, so that what is found says where it came from.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import string
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from prodkit.capture import request, run
from prodkit.capture.prompts import prompt
from prodkit.contracts import infer
from prodkit.ledger import Ledger
from prodkit.ledger.audit import Audit
from prodkit.records import DatasetRecord, RunSpec, Status

SEARCHED = ("mlflow.db", "artifacts", "journal")
PATHS = (
    "message", "system", "answer", "tool_argument", "tool_description", "stream", "embedding", "upload_name",
    "provider_error", "user_error", "stack", "span_input", "span_attribute", "span_name", "span_event",
    "trace_tag", "trace_metadata", "preview", "dict_key", "run_name", "run_tag", "run_param", "metric_name", "session",
    "user", "purpose", "cell_code", "prompt_template", "prompt_tag", "data_value", "dataset_name", "dataset_source",
    "column_name", "artifact_name", "artifact_text", "notebook_output", "job_log", "note", "parameter",
)  # fmt: skip
LETTERS = string.ascii_letters + string.digits


def body_of(path: str) -> str:
    """The letters that both canaries of a path have, which no redaction marker keeps."""
    dice = Random(path)
    return "".join(dice.choices(LETTERS, k=32))


def canary(path: str) -> str:
    """A key and an address in one text."""
    return f"sk-proj-{body_of(path)}{body_of(path + '2')[:16]} and {body_of(path).lower()}@northwind.example"


def forms(path: str) -> list[bytes]:
    """How it would look in a file: as it is (URL- and JSON-escaped letters stay themselves), and in base64."""
    found = [body_of(path).encode(), body_of(path).lower().encode()]
    for body in list(found):
        for offset in range(3):  # wherever it begins within the text that was encoded
            encoded = base64.b64encode(b"x" * offset + body)
            found.append(encoded[4:-4])
    return [*found, hashlib.sha256(canary(path).encode()).hexdigest().encode()]


class Echo(BaseHTTPRequestHandler):
    """A provider that says what it shouldn't."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        head = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        status, kind = 200, "application/json"
        body = json.loads(raw) if raw[:1] == b"{" else {}
        if self.path.endswith("/embeddings"):
            row = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
            said: Any = {"object": "list", "data": [row], "model": "text-embedding-3-small", "usage": usage}
        elif self.path.endswith("/transcriptions"):
            said = {"text": "hello"}
        elif "fail" in str(body.get("messages")):
            status, said = (
                400,
                {"error": {"message": f"bad {canary('provider_error')}", "type": "invalid_request_error"}},
            )
        elif body.get("stream"):
            kind = "text/event-stream"
            text = f"see {canary('stream')} there"
            pieces = [text[at : at + 5] for at in range(0, len(text), 5)]  # no piece alone shows what it is
            chunks = [
                {**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": piece}}]}
                for piece in pieces
            ]
            chunks.append({**chunks[-1], "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            said = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        elif body.get("tools"):
            arguments = json.dumps({"who": canary("tool_argument")})
            call = {"id": "t-1", "type": "function", "function": {"name": "look_up", "arguments": arguments}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            said = {
                **head,
                "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                "usage": usage,
            }
        else:
            message = {"role": "assistant", "content": f"it is {canary('answer')}"}
            said = {**head, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def echo() -> Any:
    from openai import OpenAI

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        with OpenAI(base_url=f"http://127.0.0.1:{made.server_port}/v1", api_key="none", max_retries=0) as client:
            yield client
        made.shutdown()


def ask(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}], **more)


def plant_in_calls(client: Any) -> None:
    """Everything that goes to a provider and comes back."""
    from openai import BadRequestError

    system = {"role": "system", "content": f"You know {canary('system')}"}
    message = {"role": "user", "content": f"Tell me of {canary('message')}"}
    client.chat.completions.create(model="gpt-4o-mini", messages=[system, message], user=canary("parameter"))
    tool = {"name": "look_up", "description": canary("tool_description"), "parameters": {"type": "object"}}
    ask(client, "look it up", tools=[{"type": "function", "function": tool}])
    for _ in ask(client, "slowly", stream=True):
        pass
    client.embeddings.create(model="text-embedding-3-small", input=canary("embedding"))
    client.audio.transcriptions.create(
        model="whisper-1", file=(f"{canary('upload_name')}.wav", b"RIFF" * 20, "audio/wav")
    )
    with pytest.raises(BadRequestError):
        ask(client, "fail now")


def plant_in_spans() -> None:
    """What a user's own tracing says."""
    import mlflow

    with mlflow.start_span(f"span {canary('span_name')}") as span:
        span.set_inputs({"text": canary("span_input"), canary("dict_key"): 1})
        span.set_attribute("mine", canary("span_attribute"))
        span.add_event(mlflow.entities.SpanEvent(canary("span_event"), attributes={"a": canary("span_event")}))
        mlflow.update_current_trace(
            tags={"t": canary("trace_tag")},
            metadata={"m": canary("trace_metadata")},
            request_preview=canary("preview"),
            response_preview=canary("preview"),
        )


def fail() -> None:
    secret = canary("stack")
    try:
        raise ValueError(f"inner {secret}")  # noqa: TRY301  a chain of two
    except ValueError as error:
        raise RuntimeError(f"outer {canary('user_error')}") from error


def plant_in_ledger(project: Any) -> None:
    """What other rooms hand to the ledger."""
    ledger = Ledger.open(project)
    handle = ledger.start_run(RunSpec(canary("run_name"), "cell", "run-planted", params={"p": canary("run_param")}))
    source = f"https://user:{body_of('dataset_source')}@host/{canary('dataset_source')}"
    columns = ((canary("column_name"), "str"),)
    ledger.log_dataset(handle, DatasetRecord(canary("dataset_name"), source, "d1", columns=columns))
    ledger.log_text(handle, f"text {canary('artifact_text')}", f"reports/{canary('artifact_name')}.md")
    output = {
        "output_type": "error",
        "ename": "E",
        "evalue": canary("notebook_output"),
        "traceback": [canary("notebook_output")],
    }
    notebook = project.root / "executed.ipynb"
    notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": "x", "outputs": [output]}]}))
    log = project.root / "run.log"
    log.write_text(f"INFO {canary('job_log')}\n" * 3)
    ledger.log_file(handle, notebook, "notebook/executed.ipynb")
    ledger.log_file(handle, log)
    notebook.unlink()
    log.unlink()
    ledger.note_experiment(f"note {canary('note')}")
    ledger.end_run(handle, status=Status.OK, metrics={canary("metric_name"): 1.0}, tags={"late": canary("run_tag")})


@pytest.fixture
def planted(here: Any, echo: Any, caplog: Any) -> Any:
    """A project in which every path has been taken once, shipped to MLflow; and what was shown and logged."""
    caplog.set_level(logging.DEBUG, logger="prodkit")
    project = here(
        "budget: {per_user: 5}\nmodels: [{name: whisper-1, provider: openai, price: {input: 1, output: 1}}]\n"
    )
    tickets = pd.DataFrame({"mail": [f"a{n}@example.org" for n in range(50)], "body": ["hello"] * 50})
    contract = infer(tickets, "tickets")
    (project.root / "contracts").mkdir(exist_ok=True)
    (project.root / "contracts" / "tickets.odcs.yaml").write_text(contract.to_yaml())
    tickets.loc[3, "mail"] = canary("data_value")
    shown = []
    with run(
        "planted",
        inputs={"tickets": tickets},
        budget="1",
        tags={"x": canary("run_tag")},
        params={"y": canary("run_param")},
    ) as opened:
        with request(user=canary("user"), session=canary("session"), purpose=canary("purpose")):
            greeting = prompt("greeting", f"Greet {{name}} of {canary('prompt_template')}")
            ask(echo, greeting.format(name="Ada"))
            plant_in_calls(echo)
            plant_in_spans()
        Ledger.open(project).register_prompt("other", "x", tags={"t": canary("prompt_tag")}, run=opened.handle)
    shown.append(card(opened))
    plant_in_ledger(project)
    code = f"answer = {canary('cell_code')!r}"
    from prodkit.capture import RunOptions, close_run, open_run

    cell = open_run(RunOptions(name="cell", code=code, project=project))
    try:
        fail()
    except RuntimeError as error:
        close_run(cell, error)
    shown.append(card(cell))
    import mlflow

    traced = run("traced")
    with pytest.raises(RuntimeError), traced, mlflow.start_span("failing"):
        fail()
    ship(project)
    return project, "\n".join(shown), caplog.text


def ship(project: Any) -> None:
    report = Ledger.open(project).flush(60)
    assert report.pending == 0, report
    assert Ledger.open(project)._shipments.rejections() == []


def card(opened: Any) -> str:
    from prodkit.notebook.displays import Card

    return json.dumps(Card(opened.summary())._repr_mimebundle_())


def test_no_canary_is_found_anywhere(planted: Any) -> None:
    """No file under `.prodkit` but the rows set aside, no card and no log line holds a canary in any form."""
    project, shown, logged = planted
    assert found_in(project, card=shown.encode(), log=logged.encode()) == []
    for path in project.state.glob("quarantine/*"):
        assert path.stat().st_mode & 0o077 == 0


def found_in(project: Any, **beside: bytes) -> list[tuple[str, str]]:
    """Each path's canary that stands in a file under `.prodkit`, in a file's name, or in what is given beside."""
    files = [path for path in project.state.rglob("*") if path.is_file()]
    contents = {str(path.relative_to(project.state)): path.read_bytes() for path in files}
    assert all(any(name.startswith(kind) for name in contents) for kind in SEARCHED)
    names = "\n".join(contents).encode()
    kept = {name: content for name, content in contents.items() if not name.startswith("quarantine/")}  # to be mended
    searched = {**kept, **beside, "file names": names}
    return sorted(
        {(path, name) for path in PATHS for form in forms(path) for name, held in searched.items() if form in held}
    )


def test_the_canaries_were_there(planted: Any) -> None:
    """The journal holds what was taken out by its class, so the canaries had really come that way."""
    project, _, _ = planted
    calls = [call for _, call, _ in Audit(project).calls()]
    told = json.dumps([(call.prompt, call.response, call.error, call.parameters, call.purpose) for call in calls])
    assert told.count("[redacted:openai_key]") >= 9
    assert told.count("[redacted:email]") >= 9
    assert all(call.user.startswith("u-") for call in calls)
    assert len(calls) == 7


CELLS = (
    """%load_ext prodkit
import json, os
import mlflow, pandas as pd, prodkit
from openai import BadRequestError, OpenAI
said = json.load(open(os.environ["CANARIES"]))
client = OpenAI(base_url=os.environ["ECHO"], api_key="none", max_retries=0)
tickets = pd.DataFrame({"mail": [f"a{n}@example.org" for n in range(50)], "body": ["hello"] * 50})
tickets.loc[3, "mail"] = said["data_value"]
def ask(text, **more):
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}], **more)""",
    """%%prodkit --name planted --input tickets --budget 1
greeting = prodkit.prompt("greeting", "Greet {name} of " + said["prompt_template"])
with prodkit.request(user=said["user"], session=said["session"], purpose=said["purpose"]):
    ask(greeting.format(name=said["message"]), user=said["parameter"])
    for _ in ask("slowly", stream=True):
        pass
    try:
        ask("fail now")
    except BadRequestError:
        pass
    with mlflow.start_span(said["span_name"]) as span:
        span.set_inputs({said["dict_key"]: said["span_input"]})""",
    """try:
    with prodkit.run("failing", tags={"x": said["run_tag"]}, params={"y": said["run_param"]}) as run:
        raise ValueError(said["user_error"])
except ValueError:
    pass
run""",
    "%prodkit status",
    "%prodkit costs",
)


def test_no_canary_leaves_a_real_kernel(here: Any, echo: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Planted by cells of a notebook in a real kernel, none is found: not in the notebook, its log, or any other file."""
    project = here()
    names = tmp_path / "canaries.json"
    names.write_text(json.dumps({path: canary(path) for path in PATHS}))
    (project.root / "contracts").mkdir()
    sound = pd.DataFrame({"mail": [f"a{n}@example.org" for n in range(50)], "body": ["hello"] * 50})
    (project.root / "contracts" / "tickets.odcs.yaml").write_text(infer(sound, "tickets").to_yaml())
    for name, value in {"CANARIES": str(names), "ECHO": str(echo.base_url), "IPYTHONDIR": str(tmp_path / "i")}.items():
        monkeypatch.setenv(name, value)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    log = tmp_path / "kernel.log"
    with log.open("wb") as stderr:
        where = {"metadata": {"path": str(project.root)}}
        NotebookClient(book, timeout=120, resources=where).execute(stdout=stderr, stderr=stderr)
    ship(project)
    executed = nbformat.writes(book).encode()
    assert found_in(project, notebook=executed, kernel_log=log.read_bytes()) == []
    assert executed.count(b"prodkit-card") >= 2
    calls = [call for _, call, _ in Audit(project).calls()]
    assert len(calls) == 3
    told = json.dumps([(call.prompt, call.response, call.error, call.parameters) for call in calls])
    assert told.count("[redacted:openai_key]") >= 4
