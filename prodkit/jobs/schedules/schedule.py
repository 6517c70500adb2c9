"""What the local scheduler knows: a schedule, its firings, and which firing is next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prodkit.jobs.schedules.cron import Cron

CatchUp = Literal["latest", "all", "none"]
Kind = Literal["cron", "backfill"]
DEFAULT_POOL = "default"
DEFAULT_LIMIT = 100
_GRACE = timedelta(seconds=60)  # how late a firing may be seen that isn't caught up


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job that the local scheduler runs. Firings up to `since` are decided.

    Args:
        name: unique in the project.
        job: the job's folder.
        cron: when it fires.
        params: text, as `-p` takes it.
        since: only firings after it count.
        pool: the queue that it waits in.
        priority: in that queue; higher numbers first.
        jitter: seconds within which its start is moved; by how much follows from its name.
        catch_up: of the firings that passed while nobody was awake or the job was busy: the `latest` runs and stands
            for all, `all` run one after another, or `none`.
        limit: with `all`: how many of them at most, the latest ones.
        date_parameter: the parameter that gets the moment a firing is due; empty: none.
        date_kind: `date`, `datetime` or `text` as the job declares that parameter.
        paused: since when it doesn't fire.
        revision: grows with each change of the schedule.
    """

    name: str
    job: Path
    cron: Cron
    params: Mapping[str, str]
    since: datetime
    pool: str = DEFAULT_POOL
    priority: int = 0
    jitter: float = 0.0
    catch_up: CatchUp = "latest"
    limit: int = DEFAULT_LIMIT
    date_parameter: str = ""
    date_kind: str = ""
    paused: datetime | None = None
    revision: int = 0

    @property
    def delay(self) -> timedelta:
        """How much later than its cron line it starts."""
        share = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:6]) / 2**48
        return timedelta(seconds=round(self.jitter * share, 3))

    def local(self, moment: datetime) -> datetime:
        """A moment as the clock shows it where the schedule is at home."""
        return moment.astimezone(self.cron.tzinfo)

    def params_of(self, due: datetime) -> dict[str, str]:
        """The parameters of a firing; a date that was given by hand stays."""
        if not self.date_parameter or self.date_parameter in self.params:
            return dict(self.params)
        local = self.local(due)
        text = local.date().isoformat() if self.date_kind == "date" else local.isoformat()
        return {**self.params, self.date_parameter: text}


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing. `missed` are the firings before it that it stands for; `outcome` is "" until it has ended."""

    name: str
    due: datetime
    kind: Kind = "cron"
    missed: int = 0
    claimed: datetime | None = None
    begun: datetime | None = None
    ended: datetime | None = None
    outcome: str = ""
    error: str = ""

    @property
    def key(self) -> str:
        """The idempotency key of its run."""
        return f"{self.name}@{self.due.isoformat()}"

    @property
    def state(self) -> str:
        """`waiting`, `running` (or cut off), or how it ended."""
        return self.outcome or ("running" if self.begun else "waiting")


@dataclass(frozen=True, slots=True)
class Due:
    """A firing that is due; `run` is False for one that is only noted as missed."""

    firing: Firing
    run: bool = True


@dataclass(slots=True)
class Course:
    """A schedule and how far its firings are decided: `since` moves on with each that is claimed."""

    schedule: Schedule
    since: datetime
    _next: datetime | None = field(default=None)

    @classmethod
    def of(cls, schedule: Schedule) -> Course:
        """As the store has it."""
        return cls(schedule, schedule.since)

    def next_start(self) -> datetime | None:
        """When it starts next; None while it is paused, and when there is none within eight years."""
        if self.schedule.paused is not None:
            return None
        if self._next is None:
            self._next = self.schedule.cron.after(self.since)
        return self._next + self.schedule.delay if self._next else None

    def due(self, moment: datetime) -> Due | None:
        """The firing that is due at a moment, by the schedule's rule for what was missed."""
        start, schedule = self.next_start(), self.schedule
        if start is None or self._next is None or start > moment:
            return None
        moment -= schedule.delay
        following = schedule.cron.after(self._next)
        if following is None or following > moment:
            return self._late(Due(Firing(schedule.name, self._next)), moment)
        count = schedule.cron.count(self.since, moment)
        if schedule.catch_up == "all":
            missed = max(0, count - schedule.limit)
            due = schedule.cron.nth(self.since, missed + 1)
        else:
            missed, due = count - 1, schedule.cron.nth(self.since, count)
        return self._late(Due(Firing(schedule.name, due, missed=missed)), moment) if due else None

    def decide(self, firing: Firing) -> None:
        """A firing was claimed."""
        self.since, self._next = firing.due, None

    def behind(self, moment: datetime) -> int:
        """How many firings have passed that nobody has claimed."""
        return 0 if self.schedule.paused else self.schedule.cron.count(self.since, moment - self.schedule.delay)

    def _late(self, due: Due, moment: datetime) -> Due:
        late = self.schedule.catch_up == "none" and moment - due.firing.due > _GRACE
        return Due(due.firing, run=not late)
