"""A schedule as the files that other timekeepers read: systemd, cron, GitHub Actions, Airflow, Kubernetes."""

from __future__ import annotations

import math
import re
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, ParameterError
from prodkit.templates import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.jobs.schedules.cron import Cron
    from prodkit.jobs.schedules.plan import Plan

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_FIRST_DAY = (
    "2026, 1, 1"  # Airflow catches nothing up, so any day in the past is right; the same one gives the same bytes
)


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
    return {
        f"{plan.unit}.service": render("schedule/service.j2", plan=plan),
        f"{plan.unit}.timer": render("schedule/timer.j2", plan=plan, calendar=on_calendar(plan.cron)),
    }


def _crontab(plan: Plan) -> dict[str, str]:
    command = plan.shell_command().replace("%", r"\%")
    text = render("schedule/crontab.j2", plan=plan, line=" ".join(plan.cron.fields), command=command)
    return {f"{plan.unit}.crontab": text}


def _github(plan: Plan) -> dict[str, str]:
    lines = utc_lines(plan.cron)
    text = render(
        "schedule/github.j2",
        plan=plan,
        lines=lines,
        guard=len(lines) > 1,
        minutes=min(math.ceil(plan.limit / 60), 360),
        command=shlex.join(["prodkit", "run", plan.place, *plan.arguments()]),
    )
    return {f"{plan.unit}.github.yml": text}


def _airflow(plan: Plan) -> dict[str, str]:
    # Airflow renders the command with jinja, so a parameter's own braces are said as text
    command = re.sub(r"\{(?=[{%#])", "{{ '{' }}", plan.shell_command())
    text = render(
        "schedule/airflow.py.j2",
        plan=plan,
        fields=" ".join(plan.cron.fields),
        first_day=_FIRST_DAY,
        airflow_command=command + ' --key "{{ run_id }}"',
    )
    return {f"{plan.unit}_dag.py": text}


def _kubernetes(plan: Plan) -> dict[str, str]:
    if not plan.image:
        raise ConfigError(
            "schedule.image",
            "Kubernetes needs the image that runs the job.",
            fix=f"docker build --tag REGISTRY/{plan.unit}:1 {plan.path or plan.place}, then say that name with --image "
            "or as `job.image` in prodkit.yaml",
        )
    text = render(
        "schedule/kubernetes.yaml.j2",
        plan=plan,
        fields=" ".join(plan.cron.fields),
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
