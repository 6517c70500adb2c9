"""Firings of the past, given again or for the first time: which there are in a range of dates, and which are to run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from prodkit.errors import ParameterError
from prodkit.records import now

if TYPE_CHECKING:
    from prodkit.jobs.history import History
    from prodkit.jobs.schedules.schedule import Schedule
    from prodkit.jobs.schedules.store import ScheduleStore

MOST = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """A firing of the past. `state` is `missing`, `waiting`, `running` or how it ended."""

    due: datetime
    state: str

    @property
    def runs(self) -> bool:
        """Whether a backfill runs it: not what succeeded, nor what is on its way."""
        return self.state not in {"ok", "waiting", "running"}


def find_gaps(
    schedule: Schedule, store: ScheduleStore, history: History, since: datetime, until: datetime
) -> tuple[Gap, ...]:
    """The firings of a schedule in `[since, until]`, in order.

    Raises:
        ParameterError: `schedule.range`: there are more than 10,000, the range ends before it begins, or it begins in
            the future.
    """
    start = since - timedelta(seconds=1)  # firings lie on whole minutes
    if since > now():
        raise ParameterError(
            "schedule.range",
            f"The range begins in the future, at {since:%Y-%m-%d %H:%M} UTC.",
            fix="a backfill runs firings of the past; what is to come runs by the schedule itself",
        )
    if until < since:
        raise ParameterError("schedule.range", "The range ends before it begins.", fix="give --from before --to")
    count = schedule.cron.count(start, until)
    if count > MOST:
        what = f"The range holds {count:,} firings; {MOST:,} are the most at a time."
        raise ParameterError("schedule.range", what, fix="give it in several shorter ranges")
    known = store.firings(schedule.name, start, until)
    gaps = []
    for due in schedule.cron.between(start, until):
        state = known[due].state if due in known else "missing"
        key = f"{schedule.name}@{due.isoformat()}"
        if state not in {"ok", "waiting", "running"} and history.done(schedule.job.name, key) is not None:
            state = "ok"
        gaps.append(Gap(due, state))
    return tuple(gaps)


def read_moment(text: str, schedule: Schedule, *, end: bool = False) -> datetime:
    """A date or time of the command line, in UTC; `end` makes a date its last second.

    It is in the schedule's zone unless it says another.

    Raises:
        ParameterError: `schedule.date`.
    """
    zone = schedule.cron.tzinfo
    try:
        if len(text) == len("2026-11-01"):
            day = date.fromisoformat(text) + timedelta(days=end)
            return datetime.combine(day, time(), zone).astimezone(UTC) - timedelta(seconds=end)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ParameterError(
            "schedule.date", f"`{text}` is no date.", fix="write e.g. 2026-11-01 or 2026-11-01T06:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
