"""A job folder that version 0.1.0 exported runs with today's prodkit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from prodkit.errors import ConfigError
from prodkit.jobs.folder import JobFolder, seal
from prodkit.records import now

GOLDEN = Path(__file__).parents[2] / "golden" / "job-0.1.0" / "sorting"


@pytest.fixture
def old_job(tmp_path: Path) -> Path:
    """A copy of the folder, with a review that isn't over: it was exported with one far away."""
    job = tmp_path / "sorting"
    shutil.copytree(GOLDEN, job)
    manifest = job / "prodkit.yaml"
    manifest.write_text(manifest.read_text().replace("2099-12-31", str(now().date() + timedelta(days=90))))
    return job


def start(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, cwd=cwd)


def test_a_folder_of_0_1_0_runs(old_job: Path, mlflow_template: Path, tmp_path: Path):
    """`prodkit run` and `python job.py` run a folder of format 1, which names no platform and brings nothing along."""
    assert JobFolder.load(GOLDEN).changed() == ()
    (old_job / ".prodkit").mkdir()
    shutil.copy(mlflow_template, old_job / ".prodkit" / "mlflow.db")
    done = start("-m", "prodkit", "run", old_job, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = start(old_job / "job.py", "-p", "month=2026-11", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "counted {'billing': 2, 'returns': 1}\n"), done.stderr


def test_its_own_checks_pass(old_job: Path, tmp_path: Path):
    """The checks that 0.1.0 wrote still find what they import, and pass."""
    chosen = ["-k", "not files"]  # the review's date was changed for the copy
    done = start("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, old_job / "tests", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_folder_of_the_future_is_said(old_job: Path):
    """A folder with a newer format is refused by its number, whatever else stands in its index."""
    index = old_job / "job.yaml"
    text = index.read_text().partition("# sealed")[0].replace("format: 1", "format: 3\nunheard: of")
    index.write_text(seal(text))
    with pytest.raises(ConfigError) as caught:
        JobFolder.load(old_job)
    assert caught.value.code == "job.format"
    assert "3" in caught.value.what
