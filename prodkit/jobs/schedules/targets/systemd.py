"""A service with the sandbox that a job can live in, its timer, and the unit that says who is to be called."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from prodkit.jobs.schedules.targets.words import unit_command, unit_text, unit_word
from prodkit.templates import render

if TYPE_CHECKING:
    from prodkit.jobs.schedules.cron import Cron
    from prodkit.jobs.schedules.plan import Plan

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def render_units(plan: Plan) -> dict[str, str]:
    """The service, its timer, and the template unit that is started when the service fails."""
    described = {
        "plan": plan,
        "command": unit_command(plan),
        "calendar": on_calendar(plan.cron),
        "contact": unit_text(plan.contact),
        "message": unit_word(
            f"{plan.name} has failed (%s). {plan.contact} answers for it.".replace("%s", "\0")
        ).replace("\0", "${MONITOR_SERVICE_RESULT} ${MONITOR_EXIT_STATUS}"),
    }
    if plan.path is not None:
        described |= {
            "runbook": unit_text(quote(f"{plan.path}/README.md")),
            "user": _user(),
            "writable": unit_word(str(plan.root or plan.path), command=False),
            "settings": unit_text(str(Path.home() / ".config" / "prodkit" / f"{plan.unit}.env")),
        }
    return {
        f"{plan.unit}.service": render("schedule/systemd/service.j2", **described),
        f"{plan.unit}.timer": render("schedule/systemd/timer.j2", **described),
        f"{plan.unit}-failed@.service": render("schedule/systemd/failed.j2", **described),
    }


def on_calendar(cron: Cron) -> tuple[str, ...]:
    """Systemd's calendar events for a cron line: two when either of the day fields is enough."""
    every_day, every_weekday = _all(cron.days, 31), _all(cron.weekdays, 7)
    clock = f"{_spell(cron.hours, 24)}:{_spell(cron.minutes, 60)}:00 {cron.zone}"
    weekdays = "" if every_weekday else ",".join(_WEEKDAYS[day] for day in cron.weekdays) + " "
    months, days = _spell(cron.months, 12), _spell(cron.days, 31)
    if every_day or every_weekday or any(cron.fields[day].startswith("*") for day in (2, 4)):
        return (f"{weekdays}*-{months}-{days} {clock}",)
    return (f"*-{months}-{days} {clock}", f"{weekdays}*-{months}-* {clock}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        return str(Path.home().stat().st_uid)


def _spell(values: tuple[int, ...], count: int) -> str:
    return "*" if _all(values, count) else ",".join(f"{value:02d}" for value in values)


def _all(values: tuple[int, ...], count: int) -> bool:
    return len(values) == count
