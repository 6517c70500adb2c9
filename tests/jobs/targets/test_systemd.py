"""systemd takes the units, finds them well locked in, fires when cron does, and reads the command as it is meant."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prodkit.jobs.ends import Outcome
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.targets import render_target
from prodkit.jobs.schedules.targets.systemd import on_calendar
from tests.jobs.targets.conftest import HOSTILE, anywhere, check, written

if TYPE_CHECKING:
    from prodkit.jobs.schedules.plan import Plan

_MANAGER = Path("/lib/systemd/systemd")
_LIMIT = 2.5
_NOBODY = 65534


@pytest.mark.parametrize(
    "line", ["0 6 * * 1-5", "*/15 8-18 1,15 * *", "0 0 13 * 5", "30 2 * 1-3 0", "5 * * * *", "0 6 */2 * 1", "0 6 * * 7"]
)
def test_systemd_fires_when_cron_does(line: str) -> None:
    """Systemd's own calendar gives the same next firing as ours, also where either day field is enough."""
    cron = Cron(line, "Europe/Berlin")
    base = datetime(2026, 11, 23, 12, tzinfo=UTC)
    nexts = []
    for event in on_calendar(cron):
        said = check(["systemd-analyze", "calendar", "--base-time", f"{base:%Y-%m-%d %H:%M:%S} UTC", event])
        elapse = next(text for text in said.splitlines() if "Next elapse" in text).split(": ", 1)[1]
        nexts.append(datetime.strptime(" ".join(elapse.split()[1:3]), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))
    assert min(nexts) == cron.after(base)


def test_systemd_accepts_the_units(any_plan: Plan, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to say about the service, its timer and the unit that tells of a failure."""
    assert check(["systemd-analyze", "verify", *map(str, written(any_plan, "systemd", tmp_path))]) == ""


def test_the_units_are_locked_in(any_plan: Plan, tmp_path: Path) -> None:
    """`systemd-analyze security` gives both services an exposure of 2.5 at most; one without the sandbox has far more."""
    service, _, failed = written(any_plan, "systemd", tmp_path)
    assert max(exposure(service), exposure(failed)) <= _LIMIT
    kept = [line for line in service.read_text().splitlines() if not line.startswith(("Protect", "Private", "System"))]
    service.write_text("\n".join(kept))
    assert exposure(service) > _LIMIT


def exposure(unit: Path) -> float:
    """The figure of `systemd-analyze security`, from 0 (locked in) to 10."""
    said = check(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)])
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def unit(text: str) -> configparser.ConfigParser:
    """A unit file; of a key that is given several times only the last is kept."""
    parsed = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(text)
    return parsed


def test_a_failure_is_told(any_plan: Plan) -> None:
    """The service starts a unit when it fails, which is there and names who answers for it."""
    files = render_target("systemd", any_plan)
    service = unit(files[f"{any_plan.unit}.service"])
    told = service["Unit"]["OnFailure"].replace("%n", "x")
    assert told == f"{any_plan.unit}-failed@x.service"
    failed = unit(files[f"{any_plan.unit}-failed@.service"])
    assert "Ana Ruiz (https://pager.northwind.test/ana) answers for it" in failed["Service"]["ExecStart"]
    assert "${MONITOR_EXIT_STATUS}" in failed["Service"]["ExecStart"]


def test_secrets_are_not_in_the_units(plan: Plan) -> None:
    """Each secret is a credential, read from a file that only root can read; no variable with a value is in the unit."""
    text = render_target("systemd", anywhere(plan))[f"{plan.unit}.service"]
    assert "LoadCredential=OPENAI_API_KEY:/etc/prodkit/prodkit-sample/OPENAI_API_KEY\n" in text
    assert "LoadCredential=ACME_TOKEN:" in text
    assert re.findall(r"^Environment=(.*)", text, re.MULTILINE) == ["PRODKIT_STATE=%S/prodkit-sample HOME=/tmp"]


def test_one_layer_tries_again(any_plan: Plan) -> None:
    """The unit restarts nothing, as prodkit does; and where a drop-in says otherwise, never what can't be mended so."""
    service = unit(render_target("systemd", any_plan)[f"{any_plan.unit}.service"])["Service"]
    assert service["Restart"] == "no"
    assert "--retries" not in service["ExecStart"]
    final = {Outcome.FAILED, Outcome.BAD_INPUT, Outcome.MISCONFIGURED}
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == {2, *(end.exit_code for end in final)}
    assert service["SuccessExitStatus"] == str(Outcome.TERMINATED.exit_code)
    assert int(service["TimeoutStartSec"]) > any_plan.how.timeout


@pytest.mark.parametrize("value", HOSTILE)
def test_a_parameter_stays_one_word(value: str, plan: Plan, tmp_path: Path) -> None:
    """The manager itself, asked what it would start, gives each parameter as it is."""
    if not _MANAGER.exists():
        pytest.skip("systemd isn't installed")
    folder = _reachable(tmp_path)
    try:
        written(anywhere(replace(plan, params={"n": value})), "systemd", folder)
        words = _started(folder, f"{plan.unit}.service")
    finally:
        shutil.rmtree(folder)
    assert words[:3] == ["/usr/bin/env", "prodkit", "run"]
    assert words[4:] == ["-p", f"n={value}"]


def _reachable(tmp_path: Path) -> Path:
    """A folder that the user manager can read, which doesn't run as root."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=tmp_path.name[:20]))
    folder.chmod(0o777)
    return folder


def _started(folder: Path, name: str) -> list[str]:
    """The command that systemd has read from a unit, word by word; it starts nothing here."""
    environment = {"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{folder}:", "XDG_RUNTIME_DIR": str(folder)}
    user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [str(_MANAGER), "--test", "--user", f"--unit={name}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60, **user)  # type: ignore[call-overload]
    lines = [line for line in done.stdout.splitlines() if "Command Line:" in line and "prodkit run" in line]
    assert len(lines) == 1, done.stdout[-2000:] + done.stderr
    quoted = lines[0].partition("Command Line: ")[2]
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {quoted}"], capture_output=True, check=True).stdout
    return [word.replace("$$", "$") for word in said.decode().split("\0")[:-1]]
