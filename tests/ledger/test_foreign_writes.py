"""The whole set of acts in a copy of a project, while the folder that it was copied from is watched.

They are another user's, where this interpreter can be started by another user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "project-0.1.0.tar.gz"
ACTS = (
    ["runs", "sums"],
    ["audit", "verify"],
    ["audit", "sync"],
    ["run", "jobs/sums", "-p", "rows=4"],
    ["audit", "erase", "--user", "ana", "--yes"],
    ["audit", "verify"],
    ["backup", "{away}/copy.tgz"],
    ["runs", "sums", "--clean"],
)
_CHANGES = "modify,attrib,moved_to,moved_from,create,delete"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_act_in_a_copy_writes_into_the_original(tmp_path):
    """A copy runs, ships, is reviewed, erases and is backed up, each by processes of its own: 0 writes elsewhere."""
    if shutil.which("inotifywait") is None:
        pytest.skip("needs inotifywait")
    become = other_user()
    with tempfile.TemporaryDirectory() as made:
        away = Path(made)
        away.chmod(0o777)
        with tarfile.open(GOLDEN) as archive:
            archive.extractall(away, filter="data")
        original, copy = away / "northwind", away / "copy"
        shutil.copytree(original, copy)
        for path in (copy, *copy.rglob("*")) if become else ():
            os.chown(path, 65534, 65534)
        log = tmp_path / "changes"
        watch = ["inotifywait", "-m", "-r", "-q", "-e", _CHANGES, "-o", str(log), str(original)]
        watching = subprocess.Popen(watch)
        try:
            for act in ACTS:
                done = act_in(copy, [word.format(away=copy) for word in act], become)
                assert done.returncode in {0, 2}, (act, done.stdout, done.stderr)
        finally:
            watching.terminate()
            watching.wait()
        assert log.read_text() == ""
        assert {path.stat().st_uid for path in copy.rglob("*")} == {65534 if become else os.getuid()}


def other_user():
    """What makes a command another user's; nothing where that user couldn't start this interpreter again."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return []
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    again = "import subprocess, sys; import prodkit; subprocess.run([sys.executable, '-c', ''], check=True)"
    tried = subprocess.run([*become, sys.executable, "-c", again], capture_output=True, cwd="/", check=False)
    return [] if tried.returncode else become


def act_in(root, words, become):
    """A command in the folder, by somebody whose home is in it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PRODKIT_")}
    environment |= {"HOME": str(root / "home"), "PYTHONDONTWRITEBYTECODE": "1", "PRODKIT_SHIPPER_IDLE": "1"}
    command = [*become, sys.executable, "-m", "prodkit", *words]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=400)
