"""What runs leave on the disk goes again by its age, and never what a run still needs."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.jobs.exclusion import locked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def leave(place: Path, run: str, days: float) -> Path:
    """A failed run of some days ago, with a notebook and a kept output."""
    folder = place / run
    (folder / "kept").mkdir(parents=True)
    (folder / "attempt-1.ipynb").write_text("{}")
    (folder / "kept" / "abc").write_bytes(b"x" * 100)
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - days * 86_400,) * 2)
    return folder


@pytest.fixture
def left(make_job: Callable[..., Path]) -> tuple[Path, dict[int, Path]]:
    """A job whose runs of 2, 40 and 400 days ago failed."""
    job = make_job("x = 1")
    place = job.parents[1] / ".prodkit" / "jobs" / "sample"
    return job, {days: leave(place, f"job-{days}", days) for days in (2, 40, 400)}


def found(runs: dict[int, Path]) -> dict[int, tuple[bool, bool]]:
    """Age of a run -> whether its notebook and its kept outputs are there."""
    return {days: ((run / "attempt-1.ipynb").exists(), (run / "kept").exists()) for days, run in runs.items()}


def test_a_run_cleans_up_behind_its_forerunners(
    left: tuple[Path, dict[int, Path]], run_here: Callable[..., Any]
) -> None:
    """With a job's next run kept outputs older than 30 days go, and notebooks older than the manifest's retention."""
    job, runs = left
    assert run_here(job).exit_code == 0
    assert found(runs) == {2: (True, True), 40: (True, False), 400: (False, False)}


def test_the_command_cleans_now(left: tuple[Path, dict[int, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs --clean` does the same at once, `--older-than` by another age, and a job that runs is left alone."""
    job, runs = left
    monkeypatch.chdir(job.parents[1])

    def clean(*more: str) -> dict[str, Any]:
        result = CliRunner().invoke(cli, ["runs", "--clean", "--json", *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        done = dict(json.loads(result.output))
        assert (done.pop("files"), done.pop("ledger")["records"]) == (0, 0)
        return done

    with locked(runs[2].parent / "lock", "The job"):
        assert clean() == {"runs": 0, "kept": 0, "bytes": 0, "busy": ["sample"]}
    assert clean() == {"runs": 1, "kept": 1, "bytes": 202, "busy": []}
    assert found(runs) == {2: (True, True), 40: (True, False), 400: (False, False)}
    assert clean("--older-than", "1")["runs"] == 2
    assert "no runs yet" in CliRunner().invoke(cli, ["runs"]).output
