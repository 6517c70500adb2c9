"""Five cron fields in a time zone, as crontab(5) means them, and when they fire next, over changes of the clock too.

When the clock is put forward, what falls into the gap fires once, as late as the clock was moved. When it is put back,
a fixed time fires once, at its first passing; a line that runs every hour (`*`, `*/n`) goes on by real time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prodkit.errors import ConfigError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_HORIZON = timedelta(days=366 * 8 + 2)  # two leap days, also over a year such as 2100 that has none
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


@dataclass(frozen=True)
class Cron:
    """A cron line in a zone.

    Args:
        line: minute, hour, day of month, month, day of week; `@daily` and its like are understood.
        zone: an IANA name, e.g. `Europe/Berlin`.

    Raises:
        ConfigError: `schedule.cron`, `schedule.zone` or `schedule.never`.
    """

    line: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        _ = self.minutes, self.hours, self.days, self.months, self.weekdays, self._zone
        if self.after(datetime(2026, 1, 1, tzinfo=UTC)) is None:
            raise ConfigError("schedule.never", f"`{self.line}` never fires.", fix="give a day that its months have")

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The five fields as text."""
        parts = _SHORTHANDS.get(self.line.strip(), self.line).split()
        if len(parts) != len(_FIELDS):
            raise ConfigError(
                "schedule.cron",
                f"A cron line has five fields; this one has {len(parts)}.",
                fix='minute hour day-of-month month day-of-week, e.g. "0 6 * * 1-5"',
            )
        return tuple(parts)

    @cached_property
    def minutes(self) -> tuple[int, ...]:
        """0 to 59."""
        return self._values(0)

    @cached_property
    def hours(self) -> tuple[int, ...]:
        """0 to 23."""
        return self._values(1)

    @cached_property
    def days(self) -> tuple[int, ...]:
        """Days of the month, 1 to 31."""
        return self._values(2)

    @cached_property
    def months(self) -> tuple[int, ...]:
        """1 to 12."""
        return self._values(3)

    @cached_property
    def weekdays(self) -> tuple[int, ...]:
        """0 (Sunday) to 6 (Saturday)."""
        return tuple(sorted({value % 7 for value in self._values(4)}))

    def matches(self, day: date) -> bool:
        """Whether it fires on a day. With both day fields restricted, either is enough, as crontab(5) has it."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, (day.isoweekday() % 7) in self.weekdays
        if self.fields[2].startswith("*") or self.fields[4].startswith("*"):
            return by_day and by_weekday
        return by_day or by_weekday

    def after(self, moment: datetime) -> datetime | None:
        """The first firing after a moment, in UTC; None when there is none within eight years."""
        day = moment.astimezone(self._zone).date() - timedelta(days=1)
        last = day + _HORIZON
        while day <= last:
            if self.matches(day):
                for fires in self._on(day):
                    if fires > moment:
                        return fires
            day += timedelta(days=1)
        return None

    def latest(self, moment: datetime, *, since: datetime) -> tuple[datetime | None, int]:
        """The last firing in `(since, moment]`, and how many there were."""
        day = since.astimezone(self._zone).date() - timedelta(days=1)
        last = moment.astimezone(self._zone).date() + timedelta(days=1)
        found: datetime | None = None
        count = 0
        while day <= last:
            fires = [one for one in self._on(day) if since < one <= moment] if self.matches(day) else []
            found, count = (fires[-1] if fires else found), count + len(fires)
            day += timedelta(days=1)
        return found, count

    def _on(self, day: date) -> list[datetime]:
        """The firings of a local day in UTC, in order, each once."""
        moments = set()
        by_real_time = self.fields[1].startswith("*")
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime.combine(day, time(hour, minute), self._zone)
                moments.add(local.astimezone(UTC))
                again = local.replace(fold=1).astimezone(UTC)
                if by_real_time and again > local.astimezone(UTC):  # the clock was put back: this hour comes twice
                    moments.add(again)
        return sorted(moments)

    @cached_property
    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, IsADirectoryError):
            raise ConfigError(
                "schedule.zone", f"`{self.zone}` is no time zone.", fix="use an IANA name, e.g. Europe/Berlin or UTC"
            ) from None

    def _values(self, position: int) -> tuple[int, ...]:
        name, low, high, words = _FIELDS[position]
        values: set[int] = set()
        for part in self.fields[position].lower().split(","):
            values |= self._part(part, name, low, high, words)
        return tuple(sorted(values))

    def _part(self, part: str, name: str, low: int, high: int, words: tuple[str, ...]) -> set[int]:
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            if span == "*":
                begin, end = low, high
            else:
                begin = _number(first, low, words)
                end = _number(last, low, words) if dash else (high if slash else begin)
            stride = int(step) if slash else 1
        except ValueError:
            begin, end, stride = 1, 0, 1
        if not (low <= begin <= end <= high) or stride < 1:
            raise ConfigError(
                "schedule.cron",
                f"`{part}` is no {name}.",
                where=f'"{self.line}"',
                fix=f"use {low} to {high}, a list, a range such as {low}-{low + 2}, or */2",
            )
        return set(range(begin, end + 1, stride))


def _number(text: str, low: int, words: tuple[str, ...]) -> int:
    return words.index(text) + low if text in words else int(text)
