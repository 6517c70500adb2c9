"""A backup of a project in use holds together, goes back anywhere, and can't be made to write elsewhere."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import tarfile
import time

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from prodkit.cli import cli
from prodkit.errors import ConfigError
from prodkit.ledger import Ledger
from prodkit.ledger.audit import Audit
from prodkit.ledger.backup import FORMAT, LABEL, write_backup
from prodkit.ledger.restoring import restore_backup
from prodkit.manifest import find_project
from prodkit.records import Status


def record_without_end(ledger, make_spec, make_trace):
    """A process that records and ships until it is killed; each line it writes is a request that was acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                run = ledger.start_run(make_spec())
                for number in range(5):
                    trace = make_trace(run.key, user=f"user{time.time_ns()}-{number}")  # each with a key of its own
                    ledger.log_trace(trace)
                    os.write(writing, (trace.calls[0].request_id + "\n").encode())
                ledger.log_text(run, "x" * 1000, "note.txt")
                ledger.end_run(run, status=Status.OK)
                ledger.flush()
        finally:
            os._exit(1)
    os.close(writing)
    return pid, reading


def lines(descriptor, least):
    found = b""
    while found.count(b"\n") < least:
        found += os.read(descriptor, 1 << 16)
    return found.decode().split("\n")[:-1]


def open_at(root, monkeypatch):
    monkeypatch.delenv("PRODKIT_PROJECT", raising=False)
    return find_project(root)


def test_a_backup_while_others_record_and_ship_is_whole(
    project, open_ledger, make_spec, make_trace, tmp_path, monkeypatch
):
    """Restored elsewhere it verifies, has every request that was acknowledged before it, opens each, and goes on."""
    ledger = open_ledger(project)
    writers = [record_without_end(ledger, make_spec, make_trace) for _ in range(2)]
    try:
        acknowledged = [one for _, reading in writers for one in lines(reading, 8)]
        for number in range(3):
            write_backup(project, tmp_path / f"{number}.tar.gz")
    finally:
        for pid, _ in writers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert stat.S_IMODE((tmp_path / "0.tar.gz").stat().st_mode) == 0o600
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(project.root)
    for number in range(3):
        root = tmp_path / "restored" / str(number)
        label = restore_backup(tmp_path / f"{number}.tar.gz", root)
        assert (label["service"], label["keys"], label["aside"]) == ("demo", True, "")
        audit = Audit(open_at(root, monkeypatch))
        assert audit.verify().flaws == ()
        calls = list(audit.calls())
        assert set(acknowledged) <= {call.request_id for _, call, _ in calls}
        assert not any(erased for _, _, erased in calls)
        assert audit.sync().pending == 0
        assert audit.rejections() == []
        client = MlflowClient(audit.project.tracking_uri)
        runs = client.search_runs(["1"])
        keys = [run.data.tags["prodkit.key"] for run in runs]
        assert len(keys) == len(set(keys))
        assert {run.info.artifact_uri.split("/.prodkit/")[0] for run in runs} == {root.as_uri()}
        new = open_ledger(audit.project)
        run = new.start_run(make_spec())
        new.end_run(run, status=Status.OK)
        assert new.flush().pending == 0
        assert audit.verify().ok
        assert not project.root.exists()


def test_what_was_shipped_after_the_backup_is_not_shipped_twice(
    project, open_ledger, make_spec, make_trace, traces_of, tmp_path, mlflow_template, monkeypatch
):
    """A project that is restored to an earlier moment finds its runs in the shared MLflow, where they went since."""
    shared = tmp_path / "shared.db"
    shutil.copy(mlflow_template, shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}")
    ledger = open_ledger(project)
    ledger._direct._until = time.monotonic() + 3600  # the run is made by shipping
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    ledger.end_run(run, status=Status.OK)
    write_backup(project, tmp_path / "b.tar.gz")
    assert ledger.flush().pending == 0
    ledger.close()
    aside = restore_backup(tmp_path / "b.tar.gz", project.root, overwrite=True)["aside"]
    Ledger._opened.clear()
    audit = Audit(project)
    assert audit.pending() > 0
    assert audit.sync().pending == 0
    client = MlflowClient(f"sqlite:///{shared}")
    assert [one.data.tags["prodkit.key"] for one in client.search_runs(["1"])] == [run.key]
    assert len(traces_of(client)) == 1
    assert (project.root / os.path.basename(aside) / "journal").is_dir()  # noqa: PTH119


def test_the_commands_say_what_they_did_and_what_holds_secrets(
    project, ledger, make_spec, make_trace, tmp_path, monkeypatch
):
    """`backup` and `restore` work from a shell; without keys the file can't be read and the command says so."""
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    ledger.end_run(run, status=Status.OK)
    (project.root / "jobs" / "triage").mkdir(parents=True)
    (project.root / "jobs" / "triage" / "job.yaml").write_text("x: 1\n")
    (project.root / ".venv").mkdir()
    (project.root / ".venv" / "big").write_text("x")
    (project.root / "out").symlink_to("/etc")
    (project.root / "in").symlink_to("jobs")
    said = CliRunner().invoke(cli, ["backup", str(tmp_path / "a.tgz"), "--project", str(project.root)])
    assert (said.exit_code, "can read its prompts" in said.output) == (0, True)
    assert "out: a link that leads out of the project" in said.output
    monkeypatch.delenv("PRODKIT_PROJECT")
    there = CliRunner().invoke(cli, ["restore", str(tmp_path / "a.tgz"), "--to", str(tmp_path / "there")])
    assert (there.exit_code, "The journal is whole" in there.output) == (0, True), there.output
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [".prodkit", "in", "jobs", "prodkit.yaml"]
    assert (tmp_path / "there" / "in" / "triage" / "job.yaml").read_text() == "x: 1\n"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "there" / ".prodkit").rglob("*")}
    assert modes == {0o600, 0o700}
    again = CliRunner().invoke(cli, ["restore", str(tmp_path / "a.tgz"), "--to", str(tmp_path / "there")])
    assert again.exception.code == "restore.not-empty"

    bare = ["backup", str(tmp_path / "b.tgz"), "--without-keys", "--state-only", "--project", str(project.root)]
    said = CliRunner().invoke(cli, bare)
    assert (said.exit_code, "The keys aren't in it" in said.output) == (0, True)
    with tarfile.open(tmp_path / "b.tgz") as archive:
        names = archive.getnames()
    assert [name for name in names if name.startswith(".prodkit/keys") or not name.startswith(".prodkit/")] == [LABEL]
    assert CliRunner().invoke(cli, bare).exception.code == "backup.exists"


def entry(name, kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "bad",
    [
        [entry("../outside")],
        [entry("/etc/outside")],
        [entry(".prodkit/x", tarfile.SYMTYPE, "/etc")],
        [entry("x", tarfile.SYMTYPE, "../..")],
        [entry("x", tarfile.LNKTYPE, "/etc/passwd")],
        [entry("x", tarfile.CHRTYPE)],
        [entry("d/e/f/"), entry("d/e/a", tarfile.SYMTYPE, "../.."), entry("d/e/a/b", tarfile.SYMTYPE, "../../../x")],
    ],
)
def test_an_archive_cannot_write_outside_of_the_folder(tmp_path, bad):
    """An entry that leads out is refused, and nothing of the archive is left behind."""
    file = tmp_path / "evil.tgz"
    label = json.dumps({"format": FORMAT, "taken": "", "service": "x", "keys": True}).encode()
    with tarfile.open(file, "w:gz") as archive:
        first = entry(LABEL)
        first.size = len(label)
        archive.addfile(first, io.BytesIO(label))
        for one in bad:
            archive.addfile(one)
    with pytest.raises(ConfigError) as refused:
        restore_backup(file, tmp_path / "to")
    assert refused.value.code == "backup.unsafe"
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("cut", [10, 1000, -20])
def test_a_damaged_backup_changes_nothing(project, ledger, make_spec, tmp_path, cut):
    """A file that was cut off, or is no backup, is one clear error, and the folder stays as it was."""
    ledger.end_run(ledger.start_run(make_spec()), status=Status.OK)
    write_backup(project, tmp_path / "b.tgz")
    data = (tmp_path / "b.tgz").read_bytes()
    (tmp_path / "b.tgz").write_bytes(data[:cut])
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "kept").touch()
    with pytest.raises(ConfigError) as refused:
        restore_backup(tmp_path / "b.tgz", tmp_path / "to", overwrite=True)
    assert refused.value.code == "backup.unreadable"
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["kept"]


def test_a_newer_backup_and_a_project_in_use_are_refused(project, ledger, make_spec, tmp_path):
    """What a later version has written is named, and nothing is replaced under a process that writes."""
    ledger.end_run(ledger.start_run(make_spec()), status=Status.OK)
    write_backup(project, tmp_path / "b.tgz")
    with pytest.raises(ConfigError) as refused:
        restore_backup(tmp_path / "b.tgz", project.root, overwrite=True)
    assert refused.value.code == "restore.busy"
    label = json.dumps({"format": FORMAT + 1}).encode()
    with tarfile.open(tmp_path / "n.tgz", "w:gz") as archive:
        first = entry(LABEL)
        first.size = len(label)
        archive.addfile(first, io.BytesIO(label))
    with pytest.raises(ConfigError) as refused:
        restore_backup(tmp_path / "n.tgz", tmp_path / "to")
    assert (refused.value.code, f"format {FORMAT + 1}" in str(refused.value)) == ("backup.newer", True)
