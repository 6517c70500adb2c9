"""A plan of a job with all that a platform engineer asks for, and the programs that read its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prodkit.jobs.folder import JobFolder
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.plan import Plan
from prodkit.jobs.schedules.targets import render_target

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = """\
models:
  - {name: gpt-4o-mini, provider: openai}
  - {name: house, provider: acme, base_url: "https://llm.northwind.test/v1", api_key: ACME_TOKEN}
job:
  tracking_uri: https://mlflow.northwind.test
  resources: {cpu: 500m, memory: 3Gi, state: 2Gi}
"""
HOSTILE = (
    "it's 100% $(touch pwned) `touch pwned` $HOME $$ ${PRODKIT_PROJECT}",
    'two "words"; touch pwned & # not a comment',
    "{{ x }} {% y %} {# z #} {{{ ${{ secrets.OPENAI_API_KEY }} }}",
    "back\\slash \\% \\b \\n %h %n %% \\",
    "- key: value",
    "ünïcode ☃ 'single' \"double\"",
    "$(TICK) $$(TICK) $(",
    "",
)


@pytest.fixture
def plan(make_job: Callable[..., Path]) -> Plan:
    """A job with a parameter whose value needs quoting, on weekdays at six in Berlin."""
    job = make_job("import openai", parameters={"n": ("str", "")}, manifest=MANIFEST, retries=2, timeout=1800)
    folder = JobFolder.load(job)
    params = {"n": "it's 100% $(safe)"}
    return Plan.here(folder, Cron("0 6 * * 1-5", "Europe/Berlin"), params, "registry.test/sample:1")


@pytest.fixture(params=["here", "anywhere"])
def any_plan(plan: Plan, request: pytest.FixtureRequest) -> Plan:
    """The plan for this machine, as `prodkit schedule` writes it, and for any, as export puts it into the folder."""
    return plan if request.param == "here" else anywhere(plan)


def anywhere(plan: Plan) -> Plan:
    """The same plan for any machine."""
    return replace(plan, path=None, root=None, folder=None)


def written(plan: Plan, target: str, folder: Path) -> list[Path]:
    """The files of a target on disk."""
    files = [(folder / name, text) for name, text in render_target(target, plan).items()]
    for path, text in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [path for path, _ in files]


def check(command: list[str]) -> str:
    """Run a validator; skip with a reason where it isn't installed."""
    found = shutil.which(command[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{command[0]} isn't installed")
    done = subprocess.run([found, *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def words(command: str, folder: Path) -> list[str]:
    """The words that a shell's command line gives to `prodkit`, which is a script here that only says them."""
    said = folder / "said"
    fake = folder / "bin" / "prodkit"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >{said}\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{fake.parent}:/usr/bin:/bin", "HOME": str(folder), "PRODKIT_PROJECT": "/some where"}
    environment |= {"RUNNER_TEMP": str(folder), "GITHUB_RUN_ID": "7"}
    subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=True)
    assert not (folder / "pwned").exists()
    return said.read_bytes().decode().split("\0")[:-1]
