from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from prodkit.manifest import Project


def prodkit(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, in the project's folder."""
    environment = {**os.environ, "COLUMNS": "110"}
    environment.pop("PRODKIT_SHIPPER", None)  # as on a user's machine
    command = [sys.executable, "-m", "prodkit", *words]
    return subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(400)
def test_demo_tells_the_whole_story(example: Project):
    """The demo captures, checks, exports and runs, survives the outage that it injects, and leaves a whole journal."""
    told = prodkit(example, "demo")
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-2000:]
    for line in (
        "answers come from a simulated provider",
        "was refused",
        "bad rows were set aside",
        "attempt 1: transient",
        "attempt 2: ok",
        "exit code 0 after 2 attempts",
    ):
        assert line in told.stdout
    assert (example.root / "jobs" / "triage" / "ownership.yaml").is_file()
    verified = prodkit(example, "audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_demo_outside_of_its_project_says_where_to_go(project: Project):
    """Elsewhere the demo is one clear error, and nothing is run."""
    with pytest.raises(ConfigError, match="clone of prodkit's repository"):
        CliRunner().invoke(cli, ["demo"], catch_exceptions=False)
