"""A project is a folder: wherever it is copied, moved or mounted to, it works there and writes only there."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient

from prodkit.ledger.audit import Audit
from prodkit.ledger.relocation import ADDRESSES, settle
from prodkit.ledger.review import run_tree
from prodkit.manifest import find_project
from prodkit.records import Status


@pytest.fixture
def used(project, open_ledger, make_spec, make_trace):
    """A project with a shipped run and its artifact, a run that the user's code has made, and records that wait."""
    from mlflow import MlflowClient

    ledger = open_ledger(project)
    run = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(run.key))
    ledger.log_text(run, "fine", "report.txt")
    ledger.end_run(run, status=Status.OK)
    assert ledger.flush().pending == 0
    client = MlflowClient(project.tracking_uri)
    own = client.create_experiment("mine", artifact_location=(project.root / "mlruns").as_uri())
    client.log_text(client.create_run(own).info.run_id, "theirs", "note.txt")
    ledger.log_text(run, "late", "late.txt")
    ledger.close()
    return project, run


@pytest.fixture
def away():
    """A folder that other users may look into; pytest closes its own to them."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def addresses(project):
    with sqlite3.connect(project.state / "mlflow.db") as database:
        return [
            row[0]
            for table, column, condition in ADDRESSES
            for row in database.execute(f"SELECT {column} FROM {table} WHERE {condition} {column} LIKE '%/%'")  # noqa: S608  our own names
        ]


def snapshot(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }


def here(project, open_ledger, root):
    """The project as it is opened at another place."""
    os.environ.pop("PRODKIT_PROJECT", None)
    return open_ledger(find_project(root))


def test_a_copy_beside_the_original_writes_only_into_itself(used, open_ledger, make_spec, make_trace, tmp_path):
    """A copied project reads, ships and captures in its own folder; nothing of the original is touched, nor repeated."""
    project, run = used
    root = tmp_path / "b c" / "copy"
    shutil.copytree(project.root, root)
    before = snapshot(project.root)
    ledger = here(project, open_ledger, root)
    client = MlflowClient(ledger.project.tracking_uri)
    again = ledger.start_run(make_spec())
    ledger.log_trace(make_trace(again.key))
    ledger.log_text(again, "new", "new.txt")
    ledger.end_run(again, status=Status.OK)
    assert ledger.flush().pending == 0

    assert len(client.search_runs(["1"])) == 2
    assert {item.path for item in client.list_artifacts(run.run_id)} == {"report.txt", "late.txt", "prodkit"}
    assert (root / ".prodkit" / "artifacts" / again.run_id / "artifacts" / "new.txt").read_text() == "new"
    assert Audit(ledger.project).verify().ok
    assert run_tree(ledger.project, run.run_id)[0].status == "FINISHED"
    outside = [one for one in addresses(ledger.project) if str(root).replace(" ", "%20") not in one]
    assert [one for one in outside if "/project/" in one] == []
    (mine,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert mine.info.artifact_uri.startswith((root / "mlruns").as_uri())
    assert snapshot(project.root) == before


def test_a_project_that_was_moved_and_moved_back_keeps_everything(used, open_ledger, tmp_path):
    """Ids, artifacts and what waits survive a move there and back; each record is shipped once."""
    project, run = used
    away = tmp_path / "away"
    project.root.rename(away)
    ledger = here(project, open_ledger, away)
    assert ledger.flush().pending == 0
    ledger.close()
    away.rename(project.root)
    back = here(project, open_ledger, project.root)
    client = MlflowClient(back.project.tracking_uri)
    back.set_tags(run, {"back": "again"})
    assert back.flush().pending == 0
    assert [found.info.run_id for found in client.search_runs(["1"])] == [run.run_id]
    client.log_text(run.run_id, "more", "more.txt")
    assert (project.state / "artifacts" / run.run_id / "artifacts" / "more.txt").exists()
    assert not away.exists()


def test_a_project_of_an_earlier_version_is_mended_when_it_was_moved(used, tmp_path):
    """Without a note of where it was, the old place is found in MLflow's own addresses; a second look changes nothing."""
    project, run = used
    (project.state / "place").unlink()
    nested = project.root / "archive" / "deep"
    nested.mkdir(parents=True)
    root = nested / "project"
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("archive"))
    state = root / ".prodkit"
    assert settle(state)
    assert not settle(state)
    client = MlflowClient(f"sqlite:///{state / 'mlflow.db'}")
    assert client.get_run(run.run_id).info.artifact_uri == (state / "artifacts" / run.run_id / "artifacts").as_uri()
    assert client.get_experiment("1").artifact_location == (state / "artifacts").as_uri()


def test_a_copy_does_not_make_a_run_again_that_the_original_has_made(
    used, open_ledger, make_spec, tmp_path, mlflow_template, monkeypatch
):
    """A run that was recorded before the copy is in a shared MLflow once, whoever ships it and in which order."""
    project, _ = used
    shared = tmp_path / "shared.db"
    shutil.copy(mlflow_template, shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    ledger = open_ledger(project)
    run = ledger.start_run(make_spec())
    ledger.end_run(run, status=Status.OK)
    ledger.close()
    root = tmp_path / "copy"
    shutil.copytree(project.root, root)
    for place in (project.root, root):
        audit = Audit(find_project(place))
        audit.retarget("http://127.0.0.1:9", f"sqlite:///{shared}")
        assert audit.sync().pending == 0
    found = MlflowClient(f"sqlite:///{shared}").search_runs(["1"])
    assert [one.data.tags["prodkit.key"] for one in found] == [run.key]


def test_a_read_only_copy_can_still_be_read(used, away):
    """Another user without the right to write verifies the journal, exports it and reads MLflow; nothing changes."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to become somebody who may not write")
    project, run = used
    root = away / "archive"
    shutil.copytree(project.root, root)
    root.chmod(0o755)
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(root)
    code = (
        "import sys\nfrom pathlib import Path\nfrom prodkit.manifest import find_project\n"
        "from prodkit.ledger.audit import Audit\nfrom prodkit.ledger.review import run_tree\n"
        "project = find_project(Path(sys.argv[1])); audit = Audit(project)\n"
        "print(audit.verify().ok, len(list(audit.calls())), audit.pending(), run_tree(project, sys.argv[2])[0].status)"
    )
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PRODKIT_PROJECT", None)
    trial = [*become, sys.executable, "-c", "import prodkit"]
    if subprocess.run(trial, env=environment, capture_output=True, check=False).returncode:
        pytest.skip("another user can't read this checkout")
    command = [*become, sys.executable, "-c", code, str(root), run.run_id]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/", check=False)
    assert done.stdout.split() == ["True", "1", "1", "FINISHED"], done.stderr
    assert snapshot(root) == before


def test_every_address_of_files_in_mlflows_tables_is_known(project):
    """MLflow's schema holds no column with an address of files that isn't rewritten or knowingly left."""
    left = {("runs", "source_name"), ("runs", "source_type"), ("runs", "source_version")}
    names = ("artifact_location", "artifact_uri", "artifact_root", "storage_location", "archival_location")
    with sqlite3.connect(project.state / "mlflow.db") as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            (table, row[1])
            for table in tables
            for row in database.execute(f"PRAGMA table_info({table})")
            if any(name in row[1] for name in names)
        }
    known = {(table, column) for table, column, condition in ADDRESSES if not condition}
    assert found - left == known - {("model_versions", "source")}


def test_mlflow_still_remembers_places_of_artifacts_where_we_forget_them():
    """MLflow keeps one table of places by run id for the whole process; the adapter empties it between projects."""
    from mlflow.tracking._tracking_service import utils

    assert callable(utils._artifact_repos_cache.clear)
