"""A cron line's fields as the stricter readers of cron lines take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from prodkit.jobs.schedules.cron import Cron

_DAY, _WEEKDAY = 2, 4


def plain_fields(cron: Cron) -> tuple[str, ...]:
    """The five fields, with Sunday as 0: Kubernetes, GitHub and others refuse the 7 that crontab(5) allows.

    Raises:
        ConfigError: `schedule.days`: these readers would fire on other days. With `*/2` as one day field crontab(5)
            wants both to hold; they are content with either.
    """
    stepped = any(cron.fields[field].startswith("*/") for field in (_DAY, _WEEKDAY))
    if stepped and len(cron.days) < 31 and len(cron.weekdays) < 7:  # noqa: PLR2004  days of a month and of a week
        raise ConfigError(
            "schedule.days",
            "This timekeeper would fire on other days than crontab(5) means.",
            where=f'"{cron.line}"',
            fix="restrict only one of the two day fields, or spell its days out, e.g. 1,3,5",
        )
    *others, weekday = cron.fields
    return (*others, ",".join(map(str, cron.weekdays)) if "7" in weekday else weekday)
