"""Every act of prodkit that writes to MLflow or reads from it, each with what MLflow must hold afterwards.

An act prepares what it needs, yields what is done while the server is in trouble (it gives an exit code), and then
reads back with MLflow's own client, behind the proxy, what has been written.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import nbformat
import yaml
from click.testing import CliRunner

import prodkit
from prodkit.cli import cli
from prodkit.errors import ProdkitError
from prodkit.ledger import Ledger

MANIFEST = """\
service: {name: matrix, purpose: "Shows every act against every server"}
owners:
  people:
    ana: {name: Ana Ruiz, email: ana@northwind.test, pager: "https://pager.northwind.test/ana", backup: ben}
    ben: {name: Ben Okafor, email: ben@northwind.test, backup: ana}
  raci: {default: {R: [ben], A: ana, C: [], I: []}}
  escalation: [ana, ben]
  review_by: %s
"""
MANIFEST %= (date.today() + timedelta(days=90)).isoformat()  # noqa: DTZ011  a day of the calendar
_FLUSH = 8.0  # seconds; what a slow server hasn't taken by then is shipped afterwards
JOB = """
import openai, prodkit
from prodkit.testing import openai_options
with prodkit.run("answer"), openai.OpenAI(**openai_options()) as client:
    message = {"role": "user", "content": f"Sort this: {text}"}
    client.chat.completions.create(model="gpt-4o-mini", messages=[message])
"""


@dataclass
class Stage:
    """A project whose MLflow is `direct`, which prodkit reaches through MLFLOW_TRACKING_URI, maybe by a proxy."""

    project: Any
    direct: str
    provider: Any
    made: dict[str, Any] = field(default_factory=dict)
    output: str = ""
    stdout: str = ""

    @cached_property
    def mlflow(self):
        from mlflow import MlflowClient

        return MlflowClient(self.direct, registry_uri=self.direct)

    @property
    def experiment(self):
        return self.mlflow.get_experiment_by_name("matrix").experiment_id

    def runs(self, **tags):
        """MLflow's runs with these tags of ours, or with this name."""
        name = tags.pop("name", "")
        words = [f"tags.`prodkit.{key}` = '{value}'" for key, value in tags.items()]
        words += [f"attributes.run_name = '{name}'"] if name else []
        return list(self.mlflow.search_runs([self.experiment], " AND ".join(words)))

    def traces(self, **of):
        return list(self.mlflow.search_traces(locations=[self.experiment], **of))

    def artifacts(self, run_id, folder=None):
        return [item.path for item in self.mlflow.list_artifacts(run_id, folder)]

    def cli(self, *arguments):
        """Exit code of a command; its output is kept. Anything but an error of ours is a traceback, and fails."""
        done = CliRunner().invoke(cli, [str(one) for one in arguments])
        self.output, self.stdout = done.output, done.stdout
        if isinstance(done.exception, ProdkitError):
            self.output += str(done.exception)
            return done.exception.exit_code
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code

    def settle(self):
        """Everything that waits is shipped."""
        said, code = self.output, self.cli("audit", "sync")
        assert code == 0, self.output
        self.output = said

    def capture(self, name, user="ada", text=""):
        """One captured call; returns its request id. A cell never fails because of MLflow."""
        from openai import OpenAI

        with OpenAI(**self.provider.openai_options()) as client, prodkit.run(name) as run:
            template = prodkit.prompt(f"p-{name}", "Sort this: {text}")
            message = {"role": "user", "content": template.format(text=text or f"words of {user} in {name}")}
            with prodkit.request(user=user):
                client.chat.completions.create(model="gpt-4o-mini", messages=[message])
        Ledger.open(self.project).flush(_FLUSH)
        return run.calls[0].request_id

    def captured(self):
        """Name and request of a call that is in MLflow."""
        if "captured" not in self.made:
            name = _name("before")
            self.made["captured"] = name, self.capture(name)
            self.settle()
        return self.made["captured"]

    def job(self):
        """A job folder in the project, as an export writes it."""
        folder = self.project.root / "jobs" / "sample"
        if not folder.exists():
            _write_job(self.project.root, folder)
        return folder

    def job_run(self):
        """MLflow's id of a job run that is there."""
        if "job" not in self.made:
            assert self.cli("run", self.job(), "--json") == 0, self.output
            self.settle()
            self.made["job"] = self.runs(kind="job")[0].info.run_id
        return self.made["job"]


def _name(word):
    return f"{word}-{uuid.uuid4().hex[:6]}"


def _write_job(root, folder):
    (folder / "contracts").mkdir(parents=True)
    (root / "notebooks").mkdir(exist_ok=True)
    cells = [nbformat.v4.new_code_cell("text: str = 'nothing'", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell(textwrap.dedent(JOB).strip()))
    spec = {"name": "python3", "display_name": "python3", "language": "python"}
    for path in (root / "notebooks" / "sample.ipynb", folder / "job.ipynb"):
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    how = {"python": "3.11", "working_directory": "notebooks", "retries": 0, "retry_wait": 0.05}
    source = {"notebook": "notebooks/sample.ipynb", "digest": "sha256:0"}
    index = {"format": 1, "name": "sample", "service": "matrix", "prodkit": "0.1.0", "source": source, "execution": how}
    (folder / "job.yaml").write_text(yaml.safe_dump(index))
    properties = {"text": {"type": "string", "default": "nothing", "x-python": "str"}}
    schema = {"title": "sample", "type": "object", "properties": properties, "additionalProperties": False}
    (folder / "params.schema.json").write_text(json.dumps(schema))
    (folder / "prodkit.yaml").write_text((root / "prodkit.yaml").read_text())
    (folder / "ownership.yaml").write_text("accountable: ana\n")
    (folder / "job.py").write_text("# not used by the runner\n")


def capture(stage):
    name = _name("cell")

    def act():
        stage.made["request"] = stage.capture(name)
        return 0

    yield act
    (run,) = stage.runs(name=name)
    assert run.data.metrics["llm_calls"] == 1
    assert run.info.status == "FINISHED"
    (trace,) = stage.traces(run_id=run.info.run_id)
    assert trace.info.tags["prodkit.requests"] == stage.made["request"]
    assert "words of ada" in json.dumps(trace.to_dict())
    assert "prodkit/checkpoint.json" in stage.artifacts(run.info.run_id, "prodkit")


def run(stage):
    before = {one.info.run_id for one in stage.runs(kind="job")} if "job" in stage.made else set()
    job = stage.job()
    yield lambda: stage.cli("run", job, "-p", "text=a ticket", "--json")
    (made,) = [one for one in stage.runs(kind="job") if one.info.run_id not in before]
    assert made.info.status == "FINISHED"
    assert {"report.html"} <= set(stage.artifacts(made.info.run_id))
    below = {one.data.tags["mlflow.parentRunId"]: one for one in stage.runs(kind="attempt")}
    attempt = below[made.info.run_id]
    assert [one for one in stage.artifacts(attempt.info.run_id, "notebook") if one.endswith(".ipynb")]
    cells = [one for one in stage.runs(kind="cell") if one.data.tags.get("mlflow.parentRunId") == attempt.info.run_id]
    assert [cell.data.metrics["llm_calls"] for cell in cells] == [1]
    stage.made["job"] = made.info.run_id


def fan_out(stage):
    items = stage.project.root / "items.csv"
    items.write_text("text\n" + "".join(f"{_name('item')}\n" for _ in range(2)))
    job = stage.job()
    yield lambda: stage.cli("run", job, "--over", items, "--json")
    found = [one for one in stage.runs(kind="item") if one.data.params["text"] in items.read_text()]
    assert [one.info.status for one in found] == ["FINISHED"] * 2
    (parent,) = {one.data.tags["mlflow.parentRunId"] for one in found}
    assert stage.mlflow.get_run(parent).data.metrics["items"] == 2


def schedule(stage):
    """The real scheduler, from a minute's firing to its stop."""
    job = stage.job()
    before = {one.info.run_id for one in stage.runs(kind="job")} if stage.made else set()
    assert stage.cli("schedule", job, "--cron", "* * * * *") == 0, stage.output

    def act():
        command = [sys.executable, "-m", "prodkit", "scheduler"]
        keeper = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200"}
        )
        seen = []
        for line in keeper.stdout:
            seen.append(line)
            if "sample: " in line and "running" not in line:
                break
        keeper.send_signal(signal.SIGTERM)
        keeper.communicate(timeout=120)
        stage.output = "".join(seen)
        return 0 if "sample: ok" in stage.output else 1

    yield act
    assert stage.cli("schedule", job, "--remove") == 0
    made = [one for one in stage.runs(kind="job") if one.info.run_id not in before]
    assert "FINISHED" in {one.info.status for one in made}


def review(stage):
    run_id = stage.job_run()
    yield lambda: stage.cli("review", run_id)
    assert "Ana Ruiz" in stage.output
    pages = [one for one in _all_artifacts(stage, run_id) if "review" in one]
    assert pages


def _all_artifacts(stage, run_id, folder=None):
    for item in stage.mlflow.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from _all_artifacts(stage, run_id, item.path)
        else:
            yield item.path


def approve(stage):
    run_id = stage.job_run()
    yield lambda: stage.cli("review", run_id, "--approve", "--by", "ana", "--note", "seen")
    tags = stage.mlflow.get_run(run_id).data.tags
    assert tags["prodkit.review"] == "approved"
    assert "Ana Ruiz" in tags["prodkit.review.by"]


def require_approval(stage):
    _approve(stage, stage.job_run())
    before = len(stage.runs(kind="job"))
    yield lambda: stage.cli("run", stage.job(), "--require-approval", "--json")
    assert len(stage.runs(kind="job")) == before + 1


def _approve(stage, run_id):
    if stage.mlflow.get_run(run_id).data.tags.get("prodkit.review") != "approved":
        assert stage.cli("review", run_id, "--approve", "--by", "ana", "--note", "seen") == 0, stage.output


def sync(stage):
    name = _name("synced")
    stage.capture(name)
    yield lambda: stage.cli("audit", "sync", "--timeout", "60")
    assert " 0 wait" in stage.output
    assert [one.info.status for one in stage.runs(name=name)] == ["FINISHED"]


def show(stage):
    _, request = stage.captured()
    yield lambda: stage.cli("audit", "show", request)
    assert "words of ada" in stage.output


def verify(stage):
    stage.captured()
    yield lambda: stage.cli("audit", "verify", "--mlflow")
    assert "The journal is whole" in stage.output
    assert " 0 signed" not in stage.output


def erase(stage):
    user, name = _name("user"), _name("erased")
    stage.capture(name, user=user, text=f"the secret of {user}")
    stage.settle()
    (gone,) = stage.traces(run_id=stage.runs(name=name)[0].info.run_id)
    yield lambda: stage.cli("audit", "erase", "--user", user, "--yes")
    assert gone.info.trace_id not in {one.info.trace_id for one in stage.traces()}


def ui(stage):
    name, _ = stage.captured()
    shown = []

    def act():
        from prodkit.ledger.ui import serve

        try:
            with serve(stage.project, run_id=stage.runs(name=name)[0].info.run_id) as server:
                shown.append(server.url)
        except ProdkitError as error:
            return error.exit_code
        return 0

    yield act
    assert stage.runs(name=name)[0].info.run_id in shown[-1]


def prompts(stage):
    name = _name("text")

    def act():
        with prodkit.run(name):
            prodkit.prompt(name, "Answer {question}")
        Ledger.open(stage.project).flush(_FLUSH)
        return 0

    yield act
    assert stage.mlflow.get_prompt_version(name, 1).template == "Answer {question}"
    (linked,) = json.loads(stage.runs(name=name)[0].data.tags["mlflow.linkedPrompts"])
    assert linked == {"name": name, "version": "1"}
    from prodkit.ledger.review import registered_prompts

    assert registered_prompts(stage.project)[name] == 1


def feedback(stage):
    name, request = stage.captured()
    from prodkit.records import FeedbackRecord, new_id

    (trace,) = stage.traces(run_id=stage.runs(name=name)[0].info.run_id)
    said = FeedbackRecord(new_id("fb"), request, trace.info.trace_id, "Ana Ruiz", True, "human_review", "good")

    def act():
        ledger = Ledger.open(stage.project)
        ledger.log_feedback(said, user="ada")
        ledger.flush(_FLUSH)
        return 0

    yield act
    found = stage.mlflow.get_trace(trace.info.trace_id).info.assessments
    assert [item.rationale for item in found if item.name == "human_review"].count("good") == 1


def compare(stage):
    name = _name("compared")

    def act():
        from openai import OpenAI

        def work(model):
            with OpenAI(**stage.provider.openai_options()) as client:
                message = {"role": "user", "content": "which is better?"}
                return client.chat.completions.create(model=model, messages=[message]).choices[0].message.content

        prodkit.compare(work, model=("gpt-4o-mini", "gpt-4o"), name=name)
        Ledger.open(stage.project).flush(_FLUSH)
        return 0

    yield act
    (parent,) = stage.runs(name=name)
    found = stage.mlflow.search_runs([stage.experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [one.data.metrics["llm_calls"] for one in found] == [1, 1]


def clean(stage):
    """All that is old enough leaves MLflow, as much as is reported; what somebody has decided stays without content."""
    name = _name("old")
    stage.capture(name)
    _approve(stage, stage.job_run())
    stage.settle()
    _end_session()
    held = _listed(stage)
    reported = Counter()

    def act():
        code = stage.cli("runs", "--clean", "--older-than", "0", "--json")
        said = json.loads(stage.stdout)["ledger"]
        reported.update(runs=said["runs"], traces=said["traces"])
        stage.made["left"] = [one for one in said["left"] if "with the next cleaning" in one]
        return code

    yield act
    if stage.made["left"]:  # by an MLflow that was away
        assert act() == 0, stage.output
    assert stage.made["left"] == []
    holds = _listed(stage)
    assert reported == {kind: len(held[kind] - holds[kind]) for kind in held}
    decided = {one.info.run_id for one in stage.runs() if "prodkit.review" in one.data.tags}
    assert {one.info.run_name for one in stage.runs() if one.info.run_id not in decided} == set()
    assert held["runs"] > holds["runs"] == decided
    assert held["traces"] > holds["traces"] == set()
    assert not [path for run_id in holds["runs"] for path in _all_artifacts(stage, run_id)]
    stage.made.clear()


def _end_session():
    """As when the notebook is closed: what a process still writes to isn't cleaned under its hands."""
    for ledger in Ledger._opened.values():
        ledger.close()
    Ledger._opened.clear()


def _listed(stage):
    return {
        "runs": {one.info.run_id for one in stage.runs()},
        "traces": {one.info.trace_id for one in stage.traces()},
    }


ACTS = {
    "capture": capture,
    "prompts": prompts,
    "feedback": feedback,
    "run": run,
    "review": review,
    "approve": approve,
    "require-approval": require_approval,
    "fan-out": fan_out,
    "schedule": schedule,
    "compare": compare,
    "sync": sync,
    "show": show,
    "verify": verify,
    "ui": ui,
    "erase": erase,
    "clean": clean,
}
