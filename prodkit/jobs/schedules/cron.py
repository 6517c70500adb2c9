"""Five cron fields in a time zone, as crontab(5) means them, and when they fire next, over changes of the clock too.

When the clock is put forward, everything that falls into the gap fires once, right after it. When it is put back, a
fixed time fires once, at its first passing; a line that repeats (minute or hour is `*` or `*/n`) goes on by real time,
as cron(8) has it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)
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
        _ = self.minutes, self.hours, self.days, self.months, self.weekdays, self.tzinfo
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
        return self.nth(moment, 1)

    def nth(self, since: datetime, number: int) -> datetime | None:
        """The firing with this number after a moment, 1 for the first; None when eight years don't have so many."""
        for fires in self._stretches(since, since + _HORIZON):
            position = fires.passed(since) + number - 1
            if position < len(fires.seconds):
                return fires.at(position)
            number = position - len(fires.seconds) + 1
        return None

    def count(self, since: datetime, until: datetime) -> int:
        """How many firings there are in `(since, until]`."""
        return sum(fires.passed(until) - fires.passed(since) for fires in self._stretches(since, until))

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """The firings in `(since, until]`, in order, in UTC."""
        for fires in self._stretches(since, until):
            yield from map(fires.at, range(fires.passed(since), fires.passed(until)))

    def _stretches(self, since: datetime, until: datetime) -> Iterator[_Firings]:
        """The firings of the local days that touch `[since, until]`, in order.

        A day is a stretch, or, where the clock is changed, that day with its neighbours: their hours may overlap.
        """
        zone = self.tzinfo
        day, last = since.astimezone(zone).date(), until.astimezone(zone).date()
        if any(_changes(zone, day + _DAY * near) for near in (-2, -1, 0, 1)):
            day -= 2 * _DAY
        while day <= last:
            if _changes(zone, day) or _changes(zone, day + _DAY):
                day, fires = _overlapping(self, day)
                if fires.seconds:
                    yield fires
                continue
            if self.matches(day):
                yield _Firings(datetime.combine(day, time(), UTC) - _offset(zone, day), self._times)
            day += _DAY

    @cached_property
    def _times(self) -> tuple[int, ...]:
        """The times of a day that it fires on, in seconds since midnight."""
        return tuple(hour * 3600 + minute * 60 for hour in self.hours for minute in self.minutes)

    @cached_property
    def _repeats(self) -> bool:
        """Whether it is no fixed time but goes on all day or all of an hour, as cron(8) tells them apart."""
        return self.fields[0].startswith("*") or self.fields[1].startswith("*")

    def on(self, day: date) -> set[datetime]:
        """The firings of a local day in UTC, on which the clock may be changed."""
        moments: set[datetime] = set()
        for seconds in self._times if self.matches(day) else ():
            local = datetime.combine(day, time(), self.tzinfo) + timedelta(seconds=seconds)
            first, second = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
            if second < first:  # a time that doesn't exist
                moments.add(_end_of_gap(self.tzinfo, second, first))
            else:
                moments |= {first, second} if self._repeats else {first}
        return moments

    @cached_property
    def tzinfo(self) -> ZoneInfo:
        """The zone itself."""
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


@dataclass(frozen=True, slots=True)
class _Firings:
    """Firings in order, as seconds after a moment in UTC."""

    start: datetime
    seconds: Sequence[int]

    def passed(self, moment: datetime) -> int:
        """How many of them are at or before a moment."""
        return bisect_right(self.seconds, (moment - self.start) // _SECOND)

    def at(self, position: int) -> datetime:
        return self.start + timedelta(seconds=self.seconds[position])


@lru_cache(maxsize=256)
def _overlapping(cron: Cron, day: date) -> tuple[date, _Firings]:
    """The firings of a day at which the clock is changed, or of the one before it, with its neighbours; and the end."""
    end = day + _DAY
    while _changes(cron.tzinfo, end - _DAY) or _changes(cron.tzinfo, end):
        end += _DAY
    days = (day + timedelta(days=number) for number in range((end - day).days))
    moments = sorted({moment for one in days for moment in cron.on(one)})
    seconds = [(moment - moments[0]) // _SECOND for moment in moments]
    return end, _Firings(moments[0] if moments else datetime.combine(day, time(), UTC), seconds)


@lru_cache(maxsize=4096)
def _offset(zone: ZoneInfo, day: date) -> timedelta:
    """How far a zone is ahead of UTC when a local day begins."""
    offset = datetime.combine(day, time(), zone).utcoffset()
    return offset if offset is not None else timedelta()


def _changes(zone: ZoneInfo, day: date) -> bool:
    """Whether the clock is changed on a local day."""
    return _offset(zone, day) != _offset(zone, day + _DAY)


def _end_of_gap(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The moment at which the clock was put forward, between two moments in UTC."""
    new = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        before, after = (before, middle) if middle.astimezone(zone).utcoffset() == new else (middle, after)
    return after
