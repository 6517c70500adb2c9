"""The whole set of acts in a copy of a project, while the folder that it was copied from is watched.

They are another user's, where this interpreter can be started by another user. Each act is read back from the copy, so
that one which has done nothing, or has done it elsewhere, is found.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "project-0.1.0.tar.gz"
_CHANGES = "modify,attrib,moved_to,moved_from,create,delete"
_LAST = "last-change"
_PRODKIT = ("-m", "prodkit")
_BOUND = 600  # seconds for one act on a machine that does much else

CAPTURE = """
import nbclient, nbformat, prodkit
with prodkit.run("by-a-script"):
    pass
cells = [nbformat.v4.new_code_cell(text) for text in ("%load_ext prodkit", "%%prodkit --name by-a-notebook\\n1 + 1")]
kernel = {"kernelspec": {"name": "python3", "display_name": "python3"}}
nbclient.NotebookClient(nbformat.v4.new_notebook(cells=cells, metadata=kernel), timeout=300).execute()
"""
NAMES = """
import json
from prodkit.ledger.client import asking
from prodkit.manifest import find_project
with asking(find_project().tracking_uri) as client:
    found = client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=500)
print(json.dumps([[one.info.run_name, one.info.run_id, one.data.tags, one.info.artifact_uri] for one in found]))
"""


@dataclass
class Folder:
    """A project's folder, and somebody who acts in it."""

    root: Path
    become: list[str] = field(default_factory=list)

    def command(self, *words):
        """What starts this interpreter as somebody whose home is in the folder."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PRODKIT_")}
        environment |= {"HOME": str(self.root / "home"), "PYTHONDONTWRITEBYTECODE": "1", "PRODKIT_SHIPPER_IDLE": "1"}
        how = {"cwd": self.root, "env": environment, "text": True}
        return [*self.become, sys.executable, *words], how

    def python(self, *words, ends=(0,)):
        command, how = self.command(*words)
        done = subprocess.run(command, **how, capture_output=True, check=False, timeout=_BOUND)
        assert done.returncode in ends, (words, done.stdout, done.stderr)
        return done.stdout

    def act(self, *words, ends=(0,)):
        """One command of prodkit; what it prints."""
        return self.python(*_PRODKIT, *words, ends=ends)

    @contextmanager
    def serving(self, *words):
        """A command that goes on until it is asked to stop; gives its lines."""
        command, how = self.command("-u", *_PRODKIT, *words)
        process = subprocess.Popen(command, **how, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        bound = threading.Timer(_BOUND, process.kill)
        bound.start()
        try:
            yield process.stdout
        finally:
            process.terminate()
            process.communicate()
            bound.cancel()

    def runs(self):
        """The history, by what the runs added up."""
        return {run["params"].get("rows"): run for run in json.loads(self.act("runs", "sums", "--json"))}

    def in_mlflow(self):
        """Name, id, tags and address of artifacts of MLflow's runs."""
        self.act("audit", "sync")
        return json.loads(self.python("-c", NAMES))

    def id_of(self, run):
        return next(run_id for _, run_id, tags, _ in self.in_mlflow() if tags.get("prodkit.key") == run)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_act_in_a_copy_writes_into_the_original(tmp_path):
    """A copy captures, runs, fans out, schedules, reviews, erases, cleans and is backed up: 0 writes elsewhere."""
    if shutil.which("inotifywait") is None:
        pytest.skip("needs inotifywait")
    become = other_user()
    with tempfile.TemporaryDirectory() as made:
        away = Path(made)
        away.chmod(0o777)
        with tarfile.open(GOLDEN) as archive:
            archive.extractall(away, filter="data")
        original = Folder(away / "northwind")
        approve_a_run(original)
        copy = Folder(away / "copy", become)
        shutil.copytree(original.root, copy.root)
        for path in (copy.root, *copy.root.rglob("*")) if become else ():
            os.chown(path, 65534, 65534)
        with changes_of(original.root, tmp_path / "changes") as changes:
            run_in(copy)
            review_in(copy)
            capture_in(copy)
            schedule_in(copy)
            look_at(copy)
            erase_and_keep(copy)
            clean(copy)
        assert changes.read_text() == ""
        assert {path.stat().st_uid for path in copy.root.rglob("*")} == {65534 if become else os.getuid()}


def approve_a_run(folder):
    """Before there is a copy: a run of the job, and a person's yes to it."""
    made = json.loads(folder.act("run", "jobs/sums", "-p", "rows=3", "--json"))
    folder.act("review", folder.id_of(made["run"]), "--approve", "--by", "ana", ends=(0, 78))


def run_in(copy):
    """The approval came along: the job runs under it, and once for each row."""
    copy.act("audit", "verify")
    copy.act("run", "jobs/sums", "--require-approval", "-p", "rows=4")
    copy.python("-c", "import pathlib; pathlib.Path('rows.csv').write_text('rows\\n11\\n12\\n')")
    copy.act("run", "jobs/sums", "--over", "rows.csv", "--workers", "1", "--require-approval")
    runs = copy.runs()
    assert {rows: runs[rows]["outcome"] for rows in (3, 4)} == {3: "ok", 4: "ok"}
    items = [tags["prodkit.outcome"] for *_, tags, _ in copy.in_mlflow() if tags.get("prodkit.kind") == "item"]
    assert items == ["ok", "ok"]
    for run in runs.values():
        output = Path(run["output"] or copy.root)
        assert output.is_relative_to(copy.root)
        assert output.exists()


def review_in(copy):
    """A page, and another verdict, in the copy's MLflow."""
    run_id = copy.id_of(copy.runs()[4]["run"])
    assert "sums" in copy.act("review", run_id)
    copy.act("review", run_id, "--approve", "--by", "ben", "--note", "seen here")
    tags = next(tags for _, found, tags, _ in copy.in_mlflow() if found == run_id)
    assert (tags["prodkit.review"], tags["prodkit.review.note"]) == ("approved", "seen here")


def capture_in(copy):
    """A script and a notebook with a kernel of its own are captured."""
    copy.python("-c", textwrap.dedent(CAPTURE))
    found = copy.in_mlflow()
    assert {"by-a-script", "by-a-notebook"} <= {name for name, *_ in found}
    assert {artifacts.startswith(copy.root.as_uri()) for *_, artifacts in found} == {True}


def schedule_in(copy):
    """A schedule is added and fires."""
    copy.act("schedule", "jobs/sums", "--cron", "* * * * *", "-p", "rows=7")
    with copy.serving("scheduler") as lines:
        assert any("sums: ok" in line for line in lines)
    assert copy.runs()[7]["outcome"] == "ok"
    copy.act("schedule", "remove", "sums")


def look_at(copy):
    """MLflow's pages show the copy's runs."""
    with copy.serving("ui", "--no-browser") as lines:
        address = next(found[1] for line in lines if (found := re.search(r"(http://127\.0\.0\.1:\d+)", line)))
        question = json.dumps({"experiment_ids": ["1"], "max_results": 100}).encode()
        url, kind = f"{address}/api/2.0/mlflow/runs/search", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, question, kind), timeout=_BOUND) as answer:  # noqa: S310  loopback
            shown = {run["info"]["run_name"] for run in json.load(answer)["runs"]}
    assert "by-a-notebook" in shown


def erase_and_keep(copy):
    """A person's words go, and a backup is made."""
    copy.act("audit", "erase", "--user", "ana", "--yes", ends=(0, 2))
    copy.act("audit", "verify")
    copy.act("backup", str(copy.root / "copy.tgz"))
    assert tarfile.is_tarfile(copy.root / "copy.tgz")


def clean(copy):
    """All that is old goes from the copy, which still verifies."""
    folders = copy.root / ".prodkit" / "jobs" / "sums"
    assert list(folders.glob("job-*"))
    copy.act("runs", "sums", "--clean", "--older-than", "0")
    assert list(folders.glob("job-*")) == []
    assert [run["params"] for run in json.loads(copy.act("runs", "sums", "--json"))] != []
    copy.act("audit", "verify")


@contextmanager
def changes_of(folder, log):
    """A file with a line for each change below the folder; it is whole once the block has ended."""
    watch = ["inotifywait", "-m", "-r", "-e", _CHANGES, "-o", str(log), str(folder)]
    watching = subprocess.Popen(watch, stderr=subprocess.PIPE, text=True)
    try:
        assert any("Watches established" in line for line in watching.stderr)
        yield log
        (folder / _LAST).touch()  # changes come in their order: with this one, all before it are in the file
        until = time.monotonic() + _BOUND
        while f"CREATE {_LAST}" not in (seen := log.read_text()):
            assert time.monotonic() < until, "the watch has ended"
            time.sleep(0.05)
        log.write_text("\n".join(line for line in seen.splitlines() if not line.endswith(f" {_LAST}")))
    finally:
        watching.terminate()
        watching.communicate()


def other_user():
    """What makes a command another user's; nothing where that user couldn't start this interpreter again."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return []
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    again = "import subprocess, sys; import prodkit; subprocess.run([sys.executable, '-c', ''], check=True)"
    tried = subprocess.run([*become, sys.executable, "-c", again], capture_output=True, cwd="/", check=False)
    return [] if tried.returncode else become
