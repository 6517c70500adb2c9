"""cron takes the crontab, and its script is silent on success and tells everything on failure."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from cronsim import CronSim

from prodkit.cli import cli
from prodkit.errors import ConfigError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.history import History
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.plan import Plan
from prodkit.jobs.schedules.targets import render_target
from tests.jobs.targets.conftest import HOSTILE, anywhere, check, words, written

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "sk-$HOME&d '%\"`=="  # read as it is, and never by a shell
BERLIN = ZoneInfo("Europe/Berlin")


def files(plan: Plan) -> tuple[str, str]:
    """The crontab and its script."""
    made = render_target("cron", plan)
    return made[f"{plan.unit}.crontab"], made[f"{plan.unit}.cron.sh"]


def test_cron_accepts_the_crontab(any_plan: Plan, tmp_path: Path) -> None:
    """Debian's own `crontab -n` finds no error in the file, and a shell none in the script."""
    crontab, script = written(any_plan, "cron", tmp_path)
    check(["crontab", "-n", str(crontab)])
    check(["sh", "-n", str(script)])


def test_the_crontab_fires_when_the_job_should(any_plan: Plan) -> None:
    """The file is comments, variables and one line, whose five fields another reader of crontabs takes for the same."""
    *variables, line = [line for line in files(any_plan)[0].splitlines() if not line.startswith("#")]
    assert variables == [
        "SHELL=/bin/sh",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "MAILTO=ana@northwind.test",
        "CRON_TZ=Europe/Berlin",
    ]
    now = datetime(2026, 11, 20, 12, tzinfo=BERLIN)
    assert next(CronSim(" ".join(line.split()[:5]), now)) == any_plan.cron.after(now)


def test_no_crontab_holds_what_crons_read_differently(any_plan: Plan) -> None:
    """Parameters stand in the script only: `%` and backslashes mean something in a crontab, and not the same in each."""
    crontab, script = files(replace(any_plan, params={"n": "100% \\% \\\\"}))
    assert not re.search(r"[%\\]", crontab)
    assert "100% \\% \\\\" in script


def test_a_path_that_cron_would_change_is_refused(plan: Plan, tmp_path: Path) -> None:
    """A folder with a `%` in its name would end the line there: it is refused, and not run from elsewhere."""
    with pytest.raises(ConfigError, match=r"schedule\.path"):
        render_target("cron", replace(plan, folder=tmp_path / "100%"))


def start(crontab: Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Start the crontab's command as cron does: by its own shell, in the home folder, with nothing else set."""
    lines = [line for line in crontab.read_text().splitlines() if not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines[:-1])
    command = lines[-1].split(maxsplit=5)[5]
    bare = {"HOME": str(home), "PATH": variables["PATH"], "SHELL": variables["SHELL"], **more}
    return subprocess.run(
        [variables["SHELL"], "-c", command], env=bare, cwd=home, check=False, capture_output=True, text=True
    )


def fake_prodkit(home: Path, script: Path, code: int) -> None:
    """Let the script start a program that says something and ends with a code."""
    fake = home / "prodkit"
    fake.write_text(f"#!/bin/sh\necho hidden words\necho more >&2\nexit {code}\n")
    fake.chmod(0o755)
    script.write_text(
        re.sub(
            r"^.*>\"\$said\" 2>&1$", f'{shlex.quote(str(fake))} >"$said" 2>&1', script.read_text(), flags=re.MULTILINE
        )
    )


@pytest.mark.parametrize("code", [0, 1, 65, 75, 78])
def test_output_is_kept_and_mailed_on_failure_only(code: int, plan: Plan, tmp_path: Path) -> None:
    """A run that succeeds says nothing; one that fails says all, and whom to call; the log keeps both; the code stays."""
    plan = replace(plan, folder=tmp_path)
    crontab, script = written(plan, "cron", tmp_path)
    fake_prodkit(tmp_path, script, code)
    for _ in range(2):
        done = start(crontab, tmp_path)
    assert done.returncode == code
    assert done.stderr == ""
    wanted = (
        "" if code == 0 else "sample has failed. Ana Ruiz (https://pager.northwind.test/ana) answers for it. Exit code"
    )
    assert done.stdout.startswith(wanted)
    assert ("hidden words\nmore\n" in done.stdout) == (code != 0)
    log = tmp_path / ".local/state/prodkit/prodkit-sample.log"
    assert log.read_text().count("hidden words\nmore\n") == 2
    assert log.stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob("tmp.*"))


def test_the_log_does_not_grow_for_ever(plan: Plan, tmp_path: Path) -> None:
    """A log beyond 1 MB is turned over; one old log is kept."""
    crontab, script = written(replace(plan, folder=tmp_path), "cron", tmp_path)
    fake_prodkit(tmp_path, script, 0)
    log = tmp_path / ".local/state/prodkit/prodkit-sample.log"
    log.parent.mkdir(parents=True)
    log.write_text("x" * 1_000_001)
    assert start(crontab, tmp_path).returncode == 0
    assert log.stat().st_size < 1000
    assert log.with_suffix(".log.1").stat().st_size == 1_000_001


@pytest.mark.parametrize("value", HOSTILE)
def test_a_parameter_stays_one_word(value: str, plan: Plan, tmp_path: Path) -> None:
    """Whatever a parameter holds, the script gives it to the job as it is."""
    _, script = files(anywhere(replace(plan, params={"n": value})))
    assert words(script, tmp_path) == ["run", "/some where/jobs/sample", "-p", f"n={value}"]


def test_cron_runs_the_exported_line(make_job: Callable[..., Path], mlflow_template: Path, tmp_path: Path) -> None:
    """The exported crontab, started as cron starts it, finds its project by its file and runs the job with its secret."""
    job = make_job(
        f"import os\nprint(n)\nassert [os.environ['ACME_TOKEN'], os.environ['OTHER']] == [{SECRET!r}, 'a credential']",
        parameters={"n": ("str", "")},
    )
    root = job.parents[1]
    (root / ".prodkit").mkdir()
    shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
    plan = anywhere(Plan.here(JobFolder.load(job), Cron("0 6 * * *"), {"n": "it's 5%"}))
    crontab, script = written(plan, "cron", job / "schedule")
    settings = tmp_path / ".config" / "prodkit" / f"{plan.unit}.env"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        f"PRODKIT_PROJECT={root}\nPATH={Path(sys.executable).parent}:/usr/bin:/bin\n"
        f"PRODKIT_SHIPPER=inline\nACME_TOKEN={SECRET}\nCREDENTIALS_DIRECTORY={tmp_path}/credentials\n"
    )
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "OTHER").write_text("a credential\n")
    done = start(crontab, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (entry,) = History(root / ".prodkit" / "jobs" / "history.db").entries("sample")
    assert (entry.outcome, entry.params) == (Outcome.OK, {"n": "it's 5%"})
    assert os.fspath(script).endswith("jobs/sample/schedule/prodkit-sample.cron.sh")


def test_files_for_another_folder_find_their_script(make_job: Callable[..., Path], tmp_path: Path) -> None:
    """With `--to` the crontab starts the script that was written beside it."""
    job, folder = make_job("x = 1"), tmp_path / "elsewhere"
    words = ["schedule", "add", str(job), "--cron", "0 6 * * *", "--target", "cron", "--to", str(folder)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    (crontab,) = folder.glob("*.crontab")
    script = shlex.split(crontab.read_text().splitlines()[-1])[-1]
    assert Path(script).is_file()
    assert Path(script).parent == folder
