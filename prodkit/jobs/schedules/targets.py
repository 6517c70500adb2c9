"""A schedule as the files that other timekeepers read: systemd, cron, GitHub Actions, Airflow, Kubernetes."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, ParameterError
from prodkit.templates import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodkit.jobs.folder import JobFolder
    from prodkit.jobs.schedules.cron import Cron

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_SLACK = 300  # seconds beyond the job's own deadline, for its start and its end
_KUBERNETES_NAME = 52  # a CronJob's name gets 11 characters for its Jobs


@dataclass(frozen=True, slots=True)
class Plan:
    """A job and when it runs. `params` are text, as `-p` takes them; `image` is only for Kubernetes."""

    folder: JobFolder
    cron: Cron
    params: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    @property
    def unit(self) -> str:
        """The name that other systems know it by: lower case letters, digits and `-`."""
        plain = re.sub(r"[^a-z0-9-]+", "-", f"prodkit-{self.folder.name}".lower()).strip("-")
        return plain[:_KUBERNETES_NAME].rstrip("-")

    @property
    def limit(self) -> int:
        """Seconds after which somebody else may end it."""
        return math.ceil(self.folder.index.execution.timeout) + _SLACK

    def arguments(self, *more: str) -> list[str]:
        """What follows the job's folder on the command line."""
        pairs = [part for name, value in self.params.items() for part in ("-p", f"{name}={value}")]
        return [*pairs, *more]

    def command(self, job: str, *more: str) -> str:
        """The command line as a shell reads it."""
        return shlex.join([*_prodkit(), "run", job, *self.arguments(*more)])


def render_target(target: str, plan: Plan) -> dict[str, str]:
    """The files of a target: name -> text.

    Raises:
        ConfigError: the target can't express this schedule.
        ParameterError: a parameter holds a line break, which would end its line in most of these files.
    """
    for name, value in plan.params.items():
        if not value.isprintable():
            raise ParameterError(
                "schedule.parameter",
                f"The value of `{name}` holds a line break or the like.",
                fix="let the job read it from a file",
            )
    return TARGETS[target](plan)


def on_calendar(cron: Cron) -> tuple[str, ...]:
    """Systemd's calendar events for a cron line: two when either of the day fields is enough."""
    every_day, every_weekday = _all(cron.days, 31), _all(cron.weekdays, 7)
    clock = f"{_spell(cron.hours, 24)}:{_spell(cron.minutes, 60)}:00 {cron.zone}"
    weekdays = "" if every_weekday else ",".join(_WEEKDAYS[day] for day in cron.weekdays) + " "
    months, days = _spell(cron.months, 12), _spell(cron.days, 31)
    if every_day or every_weekday:
        return (f"{weekdays}*-{months}-{days} {clock}",)
    return (f"*-{months}-{days} {clock}", f"{weekdays}*-{months}-* {clock}")


def _systemd(plan: Plan) -> dict[str, str]:
    path = str(plan.folder.path)
    command = plan.command(path).replace("%", "%%")
    values = {"job": plan.folder.name, "unit": plan.unit, "path": path, "folder": f"{path}/schedule", "cron": plan.cron}
    return {
        f"{plan.unit}.service": render("schedule/service.j2", **values, command=command, limit=plan.limit),
        f"{plan.unit}.timer": render("schedule/timer.j2", **values, calendar=on_calendar(plan.cron)),
    }


def _crontab(plan: Plan) -> dict[str, str]:
    text = render(
        "schedule/crontab.j2",
        job=plan.folder.name,
        unit=plan.unit,
        cron=plan.cron,
        line=" ".join(plan.cron.fields),
        command=plan.command(str(plan.folder.path)).replace("%", r"\%"),
    )
    return {f"{plan.unit}.crontab": text}


def _github(plan: Plan) -> dict[str, str]:
    lines = utc_lines(plan.cron)
    folder = f"jobs/{plan.folder.name}"
    text = render(
        "schedule/github.j2",
        job=plan.folder.name,
        unit=plan.unit,
        cron=plan.cron,
        lines=lines,
        guard=len(lines) > 1,
        minutes=min(math.ceil(plan.limit / 60), 360),
        python=plan.folder.index.execution.python,
        path=folder,
        command=shlex.join(["prodkit", "run", folder, *plan.arguments()]),
    )
    return {f"{plan.unit}.github.yml": text}


def _airflow(plan: Plan) -> dict[str, str]:
    text = render(
        "schedule/airflow.py.j2",
        job=plan.folder.name,
        unit=plan.unit,
        cron=plan.cron,
        fields=" ".join(plan.cron.fields),
        limit=plan.limit,
        year=datetime.now(UTC).year,
        airflow_command=plan.command(str(plan.folder.path)) + ' --key "{{ run_id }}"',
    )
    return {f"{plan.unit}_dag.py": text}


def _kubernetes(plan: Plan) -> dict[str, str]:
    if not plan.image:
        raise ConfigError(
            "schedule.image",
            "Kubernetes needs the image that runs the job.",
            fix=f"docker build --tag REGISTRY/{plan.unit}:1 {plan.folder.path}, then --image REGISTRY/{plan.unit}:1",
        )
    text = render(
        "schedule/kubernetes.yaml.j2",
        unit=plan.unit,
        cron=plan.cron,
        fields=" ".join(plan.cron.fields),
        limit=plan.limit,
        image=plan.image,
        args=[*(part.replace("$(", "$$(") for part in plan.arguments()), "--key", "$(TICK)"],
    )
    return {f"{plan.unit}.cronjob.yaml": text}


TARGETS: dict[str, Callable[[Plan], dict[str, str]]] = {
    "systemd": _systemd,
    "cron": _crontab,
    "github": _github,
    "airflow": _airflow,
    "kubernetes": _kubernetes,
}


def utc_lines(cron: Cron) -> tuple[tuple[str, str], ...]:
    """A cron line in UTC, with the offset (`+0100`) on whose days it is right; one for each offset of the zone.

    Raises:
        ConfigError: `schedule.utc`: moved to UTC it would leave its day, or pass an hour that isn't whole.
    """
    offsets = _offsets(cron)
    if offsets == ["+0000"]:
        return ((" ".join(cron.fields), "+0000"),)
    return tuple((_moved(cron, offset), offset) for offset in offsets)


def _offsets(cron: Cron) -> list[str]:
    from zoneinfo import ZoneInfo

    year = datetime.now(UTC).replace(month=1, day=1)
    days = (year + timedelta(days=number) for number in range(0, 366, 7))
    return sorted({day.astimezone(ZoneInfo(cron.zone)).strftime("%z") for day in days})


def _moved(cron: Cron, offset: str) -> str:
    minute, hour, *rest = cron.fields
    sign = -1 if offset[0] == "-" else 1
    if hour == "*" and offset[3:] == "00":
        return " ".join(cron.fields)
    hours = [value - sign * int(offset[1:3]) for value in cron.hours]
    if offset[3:] != "00" or not all(0 <= value <= 23 for value in hours):  # noqa: PLR2004  hours of a day
        raise ConfigError(
            "schedule.utc",
            "GitHub only keeps UTC, and this time of day can't be said in it with its days.",
            where=f'"{cron.line}" in {cron.zone}, offset {offset}',
            fix="give the time in UTC with --tz UTC",
        )
    return " ".join([minute, ",".join(map(str, hours)), *rest])


def _spell(values: tuple[int, ...], count: int) -> str:
    return "*" if _all(values, count) else ",".join(f"{value:02d}" for value in values)


def _all(values: tuple[int, ...], count: int) -> bool:
    return len(values) == count


def _prodkit() -> list[str]:
    """The command of this installation: timekeepers have their own PATH."""
    beside = Path(sys.executable).with_name("prodkit")
    found = str(beside) if beside.exists() else shutil.which("prodkit")
    return [found] if found else [sys.executable, "-m", "prodkit"]
