"""A day of the scheduler on a virtual clock: killed anywhere, over changes of the clock, it loses and repeats nothing."""

from __future__ import annotations

import heapq
import random
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.errors import TransientError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.schedule import Schedule
from prodkit.jobs.schedules.scheduler import Scheduler
from prodkit.jobs.schedules.store import ScheduleStore
from prodkit.jobs.signals import StopRequest
from prodkit.manifest import Manifest, Project
from prodkit.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.schedules.schedule import Firing


class Killed(BaseException):
    """The scheduler's process is no more."""


@dataclass
class World:
    """Where schedulers live and die: the time, and what was run. Runs take virtual time."""

    root: Path
    start: datetime
    seconds: dict[str, float] = field(default_factory=dict)  # how long a schedule's runs take; else half a second
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    kill_every: int = 0  # points at which a scheduler may be killed, between two kills on average
    pools: dict[str, int] = field(default_factory=lambda: {"default": 1000})
    worked: Counter[str] = field(default_factory=Counter)  # how often a key's work was done
    doubled: list[str] = field(default_factory=list)  # keys that were run again without need
    begun: dict[str, datetime] = field(default_factory=dict)
    params: dict[str, dict[str, str]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)  # keys whose end is in the store
    kills: int = 0

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.start.timestamp())
        self.stop = StopRequest()
        self.keeper = self._new()

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.wall(), UTC)

    @property
    def store(self) -> ScheduleStore:
        """Another process's view."""
        return ScheduleStore(self.root / ".prodkit" / "jobs" / "schedules.db", self.root)

    def add(self, name: str, line: str, zone: str = "UTC", job: str = "", **options: Any) -> None:
        with self.store as store:
            store.put(Schedule(name, self.root / (job or name), Cron(line, zone), {}, self.now, **options))

    def pass_time(self, **lasting: float) -> None:
        """Let virtual time pass."""
        end = self.now + timedelta(**lasting)
        while True:
            try:
                following = self.keeper.step(self.stop)
                if self.now >= end:
                    return
                moments = [one for one in (following, min((run[0] for run in self.runs), default=None)) if one]
                target = min([*moments, end])
                self.clock.advance(max(0.0, (target - self.now).total_seconds()))
                while self.runs and self.runs[0][0] <= self.now:
                    heapq.heappop(self.runs)[2]()
            except Killed:
                self.kills += 1
                self.keeper.store.close()
                self.clock.advance(self.chance.uniform(0, 300))
                self.keeper = self._new()

    def _run(self, job: Path, params: dict[str, str], *, options: Any, project: Any, stop: Any) -> Any:
        """In the place of `run_job`, which by its history doesn't do the same work twice either."""
        key = options.key
        if key in self.ended or key in self.asked:
            self.doubled.append(key)
        self.asked.add(key)
        self.params[key] = params
        self._maybe_kill()
        self.worked[key] = 1
        self._maybe_kill()
        return SimpleNamespace(outcome=Outcome.OK, attempts=())

    def _maybe_kill(self) -> None:
        if self.kill_every and self.chance.randrange(self.kill_every) == 0:
            raise Killed

    def _new(self) -> Scheduler:
        """A scheduler as a new process has it; each of its commits may be the last thing that it does, or never done."""
        self.asked: set[str] = set()
        self.runs: list[tuple[datetime, str, Callable[[], None]]] = []

        def launch(firing: Firing, work: Callable[[], None]) -> None:
            self.begun.setdefault(firing.key, self.now)
            lasts = timedelta(seconds=self.seconds.get(firing.name, 0.5))
            heapq.heappush(self.runs, (self.now + lasts, firing.key, work))

        project = Project(self.root, Manifest())
        keeper = Scheduler(project, run=self._run, clock=lambda: self.now, pools=self.pools, launch=launch)
        keeper.store._db.execute("PRAGMA synchronous = OFF")  # kills here are none of the machine
        for name in ("claim", "begin", "end", "release"):
            self._endanger(keeper, name)
        return keeper

    def _endanger(self, keeper: Scheduler, name: str) -> None:
        commit = getattr(keeper.store, name)

        def endangered(*args: Any) -> Any:
            self._maybe_kill()
            result = commit(*args)
            if name == "end":
                self.ended |= {firing.key for firing in args[0]}
            self._maybe_kill()
            return result

        setattr(keeper.store, name, endangered)


def expected(name: str, line: str, zone: str, since: datetime, until: datetime) -> set[str]:
    """The keys that a cron line gives in a time, each minute asked for by itself."""
    return {f"{name}@{due.isoformat()}" for due in Cron(line, zone).between(since, until)}


CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 28, 19, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 19, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 0, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 9, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 9, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 5, 22, tzinfo=UTC)),  # midnight doesn't exist there on that night
    ("Asia/Beirut", datetime(2026, 10, 24, 15, tzinfo=UTC)),
]
LINES = ["* * * * *", "*/15 * * * *", "0 * * * *", "30 2 * * *", "0 0 * * *", "15 0-3 * * *", "59 23 * * *"]


@pytest.mark.parametrize(("zone", "start"), CHANGES, ids=[f"{zone}-{start:%m}" for zone, start in CHANGES])
def test_a_night_loses_and_repeats_nothing(zone: str, start: datetime, tmp_path: Path) -> None:
    """Over each change of the clock, with dozens of kills, every firing of every line is worked once."""
    check_time(tmp_path, zone, start, schedules=7, hours=12, kill_every=100)


@pytest.mark.slow
@pytest.mark.parametrize(("zone", "start"), CHANGES[:7:2], ids=[zone for zone, _ in CHANGES[:7:2]])
def test_a_day_of_200_schedules(zone: str, start: datetime, tmp_path: Path) -> None:
    """A day of 200 schedules, most of them each minute, with hundreds of kills: none is lost, none is doubled."""
    check_time(tmp_path, zone, start, schedules=200, hours=24, kill_every=3000)


def check_time(root: Path, zone: str, start: datetime, *, schedules: int, hours: float, kill_every: int) -> None:
    world = World(root, start, kill_every=kill_every)
    lines = {f"s{number}": LINES[number] if number < len(LINES) else LINES[0] for number in range(schedules)}
    for number, (name, line) in enumerate(lines.items()):
        world.add(name, line, zone, catch_up="all", limit=10_000, jitter=20.0 * (number % 3))
    world.pass_time(hours=hours)
    world.kill_every = 0
    until = world.now
    world.pass_time(minutes=1)  # whatever the last kill has left, and jitters
    wanted = set().union(*(expected(name, line, zone, start, until) for name, line in lines.items()))
    assert world.kills > 10
    assert wanted - world.worked.keys() == set()
    assert world.doubled == []
    with world.store as store:
        assert [firing.key for firing in store.unfinished() if firing.due <= until] == []


def test_what_was_missed_is_one_run_or_all_or_none(tmp_path: Path) -> None:
    """After a day without a scheduler: the latest firing with the number it stands for, all up to the limit, or none."""
    start = datetime(2026, 5, 1, 0, 30, tzinfo=UTC)
    world = World(tmp_path, start)
    for policy, limit in (("latest", 100), ("all", 5), ("none", 100)):
        world.add(policy, "0 * * * *", catch_up=policy, limit=limit)
    world.clock.advance(24 * 3600)
    world.pass_time(minutes=1)
    ran = [key.split("@")[0] for key in world.worked]
    assert Counter(ran) == {"latest": 1, "all": 5}
    with world.store as store:
        assert {name: store.last(name).outcome for name in ("latest", "all", "none")} == {  # type: ignore[union-attr]
            "latest": "ok",
            "all": "ok",
            "none": "missed",
        }
        for name in ("latest", "all", "none"):
            firings = store.firings(name, start, world.now).values()
            assert sum(1 + firing.missed for firing in firings) == 24, name


def test_a_slow_job_delays_nobody_beyond_its_pool(tmp_path: Path) -> None:
    """With jobs of an hour in a pool of their own, fifty minute schedules start within a second all the time."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC), pools={"default": 200, "heavy": 1})
    for number in range(3):
        world.add(f"slow{number}", "*/10 * * * *", pool="heavy")
        world.seconds[f"slow{number}"] = 3600.0
    for number in range(50):
        world.add(f"quick{number}", "* * * * *")
    world.pass_time(hours=1.5)
    waits = [
        (begun - datetime.fromisoformat(key.split("@")[1])).total_seconds()
        for key, begun in world.begun.items()
        if key.startswith("quick")
    ]
    assert len(waits) >= 50 * 90 - 50
    assert max(waits) < 1


def test_priorities_go_first_and_today_before_the_past(tmp_path: Path) -> None:
    """In a pool with one place the higher priority starts first, and a backfill after what is due now."""
    world = World(tmp_path, datetime(2026, 5, 1, 0, 59, tzinfo=UTC), pools={"default": 1})
    for name, priority in (("low", -1), ("plain", 0), ("urgent", 5)):
        world.add(name, "0 * * * *", priority=priority)
    with world.store as store:
        store.backfill("urgent", [datetime(2026, 4, 1, tzinfo=UTC)], world.now)
        store.pause("urgent", world.now)
        store.resume("urgent", world.now)
        assert store.backfill("urgent", [datetime(2026, 4, 1, tzinfo=UTC)], world.now) == 1
    world.clock.advance(120)
    world.pass_time(minutes=1)
    assert [key.split(":")[0] for key in sorted(world.begun, key=lambda key: world.begun[key])] == [
        "urgent@2026-05-01T01",
        "urgent@2026-04-01T00",
        "plain@2026-05-01T01",
        "low@2026-05-01T01",
    ]


def test_two_schedules_of_a_job_take_turns(tmp_path: Path) -> None:
    """Schedules of the same job never run at a time, and the one that waits holds no place that others could have."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC), pools={"default": 2})
    world.seconds = {"a": 30, "b": 30, "other": 1}
    for name, job in (("a", "same"), ("b", "same"), ("other", "other")):
        world.add(name, "0 * * * *", job=job)
    world.pass_time(hours=1, minutes=2)
    begun = {key.split("@")[0]: moment for key, moment in world.begun.items()}
    assert begun["other"] == begun["a"]
    assert (begun["b"] - begun["a"]).total_seconds() == 30


@pytest.mark.parametrize("how", ["remove", "pause"])
def test_nothing_fires_after_it_was_taken_away(how: str, tmp_path: Path) -> None:
    """What waits in a queue doesn't start any more when its schedule is removed or paused by another process."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC), pools={"default": 1})
    world.seconds = {"first": 600}
    world.add("first", "0 * * * *", priority=1)
    world.add("second", "0 * * * *")
    world.clock.advance(3600)
    world.keeper.step(world.stop)
    assert [key.split("@")[0] for key in world.begun] == ["first"]
    with world.store as store:
        assert [firing.state for firing in store.unfinished("second")] == ["waiting"]
        assert store.remove("second") if how == "remove" else store.pause("second", world.now)
    world.pass_time(minutes=30)
    assert [key.split("@")[0] for key in world.begun] == ["first"]
    with world.store as store:
        assert store.unfinished() == ()


def test_a_pause_is_no_debt(tmp_path: Path) -> None:
    """What passed in a pause isn't caught up, and from the next time on the schedule fires again."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC))
    world.add("a", "0 * * * *", catch_up="all")
    with world.store as store:
        store.pause("a", world.now)
    world.pass_time(hours=5, minutes=30)
    assert world.begun == {}
    with world.store as store:
        assert store.resume("a", world.now)
    world.pass_time(hours=2)
    assert [key.split("@")[1][11:16] for key in sorted(world.begun)] == ["06:00", "07:00"]


def test_jitter_follows_from_the_name(tmp_path: Path) -> None:
    """Starts are spread over the time given, the same for a name each time; the date of a firing stays exact."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC))
    for number in range(50):
        world.add(f"s{number}", "0 * * * *", jitter=600.0)
    world.pass_time(hours=2, minutes=15)
    delays: dict[str, set[float]] = {}
    for key, begun in world.begun.items():
        name, due = key.split("@")
        delays.setdefault(name, set()).add((begun - datetime.fromisoformat(due)).total_seconds())
    assert all(max(seen) - min(seen) < 0.001 and 0 <= min(seen) < 600 for seen in delays.values())
    assert len({min(seen) // 60 for seen in delays.values()}) > 5
    assert len(delays) == 50


def test_the_logical_date_is_a_parameter(tmp_path: Path) -> None:
    """A firing that was missed gets the date it was due on, in the schedule's zone, and not the day it runs."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC))
    world.add("a", "30 23 * * *", "Europe/Berlin", date_parameter="day", date_kind="date")
    world.add("b", "30 23 * * *", "Europe/Berlin", date_parameter="day", date_kind="datetime")
    world.clock.advance(2.5 * 86400)
    world.pass_time(minutes=1)
    assert {key.split("@")[0]: params["day"] for key, params in world.params.items()} == {
        "a": "2026-05-02",
        "b": "2026-05-02T23:30:00+02:00",
    }


def test_a_job_that_somebody_else_runs_is_tried_again(tmp_path: Path) -> None:
    """A firing whose job is locked gives its place back and runs when the lock is free."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC), pools={"default": 1})
    free_at = world.now + timedelta(hours=1, seconds=42)
    run = world._run

    def locked(job: Path, params: dict[str, str], **options: Any) -> Any:
        if job.name == "a" and world.now < free_at:
            raise TransientError("jobs.locked", "The job is running already.")
        return run(job, params, **options)

    object.__setattr__(world.keeper._worker, "run", locked)
    world.add("a", "0 * * * *", priority=1)
    world.add("b", "0 * * * *")
    world.pass_time(hours=1, minutes=5)
    begun = {key.split("@")[0]: moment for key, moment in world.begun.items()}
    assert begun["b"] < free_at
    assert set(world.worked) == {f"{name}@2026-05-01T01:00:00+00:00" for name in "ab"}


def test_a_store_that_fails_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full for some steps, what was due runs once it isn't, and once."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC))
    world.add("a", "* * * * *", catch_up="all")
    failing = {"claim": 2, "begin": 2, "end": 2}
    for name in tuple(failing):
        commit = getattr(world.keeper.store, name)

        def broken(*args: Any, name: str = name, commit: Any = commit) -> Any:
            if failing[name]:
                failing[name] -= 1
                raise sqlite3.OperationalError("database or disk is full")
            return commit(*args)

        monkeypatch.setattr(world.keeper.store, name, broken)
    step = world.keeper.step

    def steadfast(stop: StopRequest) -> datetime | None:
        try:
            return step(stop)
        except sqlite3.OperationalError:
            return world.now + timedelta(seconds=5)

    monkeypatch.setattr(world.keeper, "step", steadfast)
    world.pass_time(minutes=10, seconds=30)
    assert failing == {"claim": 0, "begin": 0, "end": 0}
    assert set(world.worked) == expected("a", "* * * * *", "UTC", world.start, world.now)
    assert world.doubled == []


def test_a_clock_that_was_set_back_repeats_nothing(tmp_path: Path) -> None:
    """When the machine's clock is put back by ten minutes, firings that were claimed don't come again."""
    world = World(tmp_path, datetime(2026, 5, 1, tzinfo=UTC))
    world.add("a", "* * * * *")
    world.pass_time(minutes=20, seconds=30)
    world.clock = VirtualClock(world.clock.wall() - 600)
    world.pass_time(minutes=30)
    assert set(world.worked) == expected("a", "* * * * *", "UTC", world.start, world.now)
    assert world.doubled == []
