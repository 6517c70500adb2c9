from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from prodkit.cli import cli
from prodkit.errors import ConfigError
from prodkit.jobs.folder import JobFolder
from prodkit.ledger import Ledger
from prodkit.ledger.review import runs_tagged
from prodkit.manifest import find_project
from prodkit.review import decide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_job_needs_its_approval(make_job: Callable[..., Path]):
    """`--require-approval` refuses a job before any kernel starts, runs it once approved, and refuses it when changed."""
    job = make_job("print('ran')")
    command = ["run", str(job), "--require-approval", "--json"]
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(cli, command, catch_exceptions=False)
    assert caught.value.code == "review.not-approved"

    first = CliRunner().invoke(cli, ["run", str(job), "--json"], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    folder = JobFolder.load(job)
    project = find_project(folder.project_root())
    assert Ledger.open(project).flush().pending == 0
    run = runs_tagged(project, "prodkit.job_digest", folder.digest)[0]
    decide(project, run.run_id, verdict="approved", person="Ana Ruiz (ana)", note="")
    approved = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert approved.exit_code == 0, approved.output

    folder.notebook.write_text(folder.notebook.read_text().replace("ran", "changed"))
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(cli, command, catch_exceptions=False)
    assert caught.value.code == "review.not-approved"
