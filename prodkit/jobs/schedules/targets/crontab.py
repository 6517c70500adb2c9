"""A crontab's line, and the script that it starts: silent on success, all that was said on failure."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.jobs.schedules.targets.words import in_shell_quotes, shell_command
from prodkit.manifest.project import ROOT_VARIABLE
from prodkit.templates import render

if TYPE_CHECKING:
    from prodkit.jobs.schedules.plan import Plan

_ADDRESS = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")


def render_crontab(plan: Plan) -> dict[str, str]:
    """The crontab and its script.

    The parameters stand in the script and not in the crontab: cron reads `%` and backslashes in a way of its own, which
    differs from one cron to the next.

    Raises:
        ConfigError: `schedule.path`: cron would read the script's path otherwise than it is meant.
    """
    script = f"{plan.unit}.cron.sh"
    if plan.path is not None:
        where = (plan.folder or plan.path / "schedule").absolute() / script
        command = f"/bin/sh {shlex.quote(str(where))}"
    else:
        where = Path(plan.place) / "schedule" / script
        command = f'/bin/sh "${ROOT_VARIABLE}/{in_shell_quotes(str(where))}"'
    if re.search(r"[%\\]", str(where)):
        raise ConfigError(
            "schedule.path",
            "A crontab can't hold this path: `%` and `\\` mean something else in it.",
            where=str(where),
            fix="move the folder, or choose another timekeeper",
        )
    person = plan.needs.accountable
    email = person.email if person is not None and _ADDRESS.fullmatch(person.email) else ""
    message = shlex.quote(f"{plan.name} has failed. {plan.contact} answers for it.")
    return {
        f"{plan.unit}.crontab": render("schedule/cron/crontab.j2", plan=plan, command=command, email=email),
        script: render("schedule/cron/script.j2", plan=plan, command=shell_command(plan), message=message),
    }
