"""Cron lines fire when crontab(5) says, files are what their readers accept, and the scheduler loses and repeats nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from cronsim import CronSim

from prodkit.cli.scheduler import scheduler
from prodkit.cli.schedules import schedule
from prodkit.errors import ConfigError, ParameterError, ProdkitError, TransientError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.presence import running
from prodkit.jobs.schedules.schedule import Course, Schedule
from prodkit.jobs.schedules.scheduler import Scheduler
from prodkit.jobs.schedules.store import ScheduleStore
from prodkit.jobs.signals import StopRequest
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BERLIN = ZoneInfo("Europe/Berlin")


def firings(line: str, start: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The first firings after a UTC moment, as local times."""
    moment, found = datetime.fromisoformat(start).replace(tzinfo=UTC), []
    for _ in range(count):
        following = Cron(line, zone).after(moment)
        assert following is not None
        moment = following
        found.append(f"{moment.astimezone(ZoneInfo(zone)):%m-%d %H:%M %z}")
    return found


def test_the_clock_put_forward_skips_nothing() -> None:
    """A time that doesn't exist on the day of summer time fires once, right after the gap, as other times in it do."""
    assert firings("30 2 * * *", "2026-03-28", 3) == ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]
    assert firings("5,35 2 * * *", "2026-03-28T12:00", 2) == ["03-29 03:00 +0200", "03-30 02:05 +0200"]
    assert firings("0 2,3 * * *", "2026-03-28T12:00", 2) == ["03-29 03:00 +0200", "03-30 02:00 +0200"]
    assert firings("0 0 * * *", "2026-09-05T12:00", 2, "America/Santiago") == ["09-06 01:00 -0300", "09-07 00:00 -0300"]
    assert firings("15 2 * * *", "2026-10-03T00:00", 2, "Australia/Lord_Howe") == [
        "10-04 02:30 +1100",
        "10-05 02:15 +1100",
    ]


def test_the_clock_put_back_repeats_nothing() -> None:
    """A time that comes twice on the day of winter time fires once; an hourly line goes on by real time."""
    assert firings("30 2 * * *", "2026-10-24T12:00", 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    assert firings("0 * * * *", "2026-10-24T23:30", 3) == [
        "10-25 02:00 +0200",
        "10-25 02:00 +0100",
        "10-25 03:00 +0100",
    ]
    assert firings("45 23 * * *", "2026-04-04T12:00", 2, "America/Santiago") == [
        "04-04 23:45 -0300",
        "04-05 23:45 -0400",
    ]


def test_intervals_go_on_by_real_time() -> None:
    """Every 15 minutes is every 15 minutes over both changes of the clock, also where it is moved by half an hour."""
    for zone, day in (
        *(("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25")),
        *(("America/New_York", "2026-03-08"), ("America/New_York", "2026-11-01")),
        *(("Australia/Lord_Howe", "2026-10-03"), ("Australia/Lord_Howe", "2026-04-04")),
        *(("America/Santiago", "2026-09-06"), ("Asia/Beirut", "2026-10-24")),
    ):
        start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=12)
        found = list(Cron("*/15 * * * *", zone).between(start, start + timedelta(days=2)))
        assert found == [start + timedelta(minutes=15) * number for number in range(1, 193)], zone


ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut", "Pacific/Apia")


@pytest.mark.parametrize("zone", ZONES)
def test_each_firing_is_that_of_a_clock_on_the_wall(zone: str) -> None:
    """Over every change of the clock firings are those that minutes give one by one, and counting agrees with listing."""
    year = 2011 if zone == "Pacific/Apia" else 2026  # Apia went without the 30th of December
    place = ZoneInfo(zone)
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(24 * 366)]
    offsets = [hour.astimezone(place).utcoffset() for hour in hours]
    changes = [hour for hour, before, after in zip(hours[1:], offsets, offsets[1:], strict=False) if before != after]
    assert len(changes) >= 2
    for change in changes:
        since, until = change - timedelta(hours=14), change + timedelta(hours=14)
        minutes = wall_minutes(place, since - timedelta(hours=3), until + timedelta(hours=3))
        for line in LINES:
            cron = Cron(line, zone)
            wanted = [fires for fires in wall_clock(cron, minutes) if since < fires <= until]
            assert list(cron.between(since, until)) == wanted, line
            assert cron.count(since, until) == len(wanted)
            for moment in (since, change - timedelta(minutes=31), change, change + timedelta(seconds=1)):
                later = [fires for fires in wanted if fires > moment]
                if later:
                    assert cron.after(moment) == later[0], line
                    assert cron.nth(moment, len(later)) == later[-1], line


LINES = (
    "* * * * *",
    "0 * * * *",
    "30 2 * * *",
    "0 0 * * *",
    "30 23 * * *",
    "0,30 0-3 * * *",
    "*/20 1-3 * * *",
    "15 0 * * 0,6",
)


def wall_minutes(zone: ZoneInfo, since: datetime, until: datetime) -> dict[datetime, list[datetime]]:
    """For each minute that the clock on the wall shows: when it does, in UTC."""
    seen: dict[datetime, list[datetime]] = {}
    for number in range(int((until - since) / timedelta(minutes=1))):
        moment = since + timedelta(minutes=number)
        seen.setdefault(moment.astimezone(zone).replace(tzinfo=None), []).append(moment)
    return seen


def wall_clock(cron: Cron, seen: dict[datetime, list[datetime]]) -> list[datetime]:
    """Firings by looking at each minute of the clock on the wall, those that it skips among them."""
    repeats = cron.fields[0].startswith("*") or cron.fields[1].startswith("*")
    found: set[datetime] = set()
    skipped = False
    local = min(seen)
    while local <= max(seen):
        fires = local.hour in cron.hours and local.minute in cron.minutes and cron.matches(local.date())
        if local in seen and (skipped or fires):
            found |= set(seen[local] if fires and repeats else seen[local][:1])
        skipped = local not in seen and (skipped or fires)
        local += timedelta(minutes=1)
    return sorted(found)


def test_over_changes_of_the_clock_fixed_times_are_debians() -> None:
    """For made-up lines that don't repeat, cronsim fires when we do on the nights when the clock is changed."""
    chance = random.Random(11)
    for zone, month, day in (("Europe/Berlin", 3, 28), ("Europe/Berlin", 10, 24), ("America/New_York", 3, 7)):
        start = datetime(2026, month, day, tzinfo=ZoneInfo(zone))
        for _ in range(40):
            minutes = ",".join(map(str, sorted(chance.sample(range(60), chance.randint(1, 3)))))
            line = f"{minutes} {chance.choice(['1', '2', '3', '1-3', '2,3', '0-23/2'])} * * *"
            theirs = [one.astimezone(UTC) for one, _ in zip(CronSim(line, start), range(12), strict=False)]
            ours = list(Cron(line, zone).between(start, start + timedelta(days=14)))[: len(theirs)]
            assert ours == theirs, (line, zone)


def test_weekdays_are_crontabs() -> None:
    """1-5 is Monday to Friday, 0 and 7 are Sunday; with both day fields given either is enough."""
    assert [Cron("0 6 * * 1-5").matches(datetime(2026, 11, day, tzinfo=UTC).date()) for day in (20, 21, 22, 23)] == [
        True,
        False,
        False,
        True,
    ]
    assert Cron("0 0 * * 7").weekdays == Cron("0 0 * * sun").weekdays == (0,)
    assert firings("0 0 13 * 5", "2026-11-01", 3, "UTC") == [
        "11-06 00:00 +0000",
        "11-13 00:00 +0000",
        "11-20 00:00 +0000",
    ]


@pytest.mark.parametrize(
    ("line", "zone", "code"),
    [
        ("0 0 30 2 *", "UTC", "schedule.never"),
        ("* * * *", "UTC", "schedule.cron"),
        ("61 * * * *", "UTC", "schedule.cron"),
        ("0 6 * * 5-1", "UTC", "schedule.cron"),
        ("*/0 * * * *", "UTC", "schedule.cron"),
        ("0 6 * * mo", "UTC", "schedule.cron"),
        ("0 6 * * *", "Europe/Berln", "schedule.zone"),
    ],
)
def test_a_wrong_line_is_refused(line: str, zone: str, code: str) -> None:
    """A line that isn't cron, that never fires, or a zone that doesn't exist is one clear error."""
    with pytest.raises(ConfigError) as caught:
        Cron(line, zone)
    assert caught.value.code == code


def test_our_firings_are_those_of_another_reader_of_crontabs() -> None:
    """For hundreds of made-up lines cronsim, which follows Debian's cron, gives the same firings."""
    chance = random.Random(7)
    span = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]

    def field(low: int, high: int) -> str:
        first, last = sorted(chance.sample(range(low, high + 1), 2))
        ways = ["*", "*", str(first), f"{first}-{last}", f"{first},{last}", f"*/{chance.randint(2, 9)}"]
        return chance.choice([*ways, f"{first}-{last}/{chance.randint(1, 4)}"])

    for _ in range(300):
        line = " ".join(field(low, high) for low, high in span)
        moment = datetime(2026, chance.randint(1, 12), chance.randint(1, 28), chance.randint(0, 23), tzinfo=UTC)
        try:
            theirs = [one for one, _ in zip(CronSim(line, moment), range(5), strict=False)]
        except StopIteration:  # a day that its months don't have
            continue
        ours = []
        for _ in theirs:
            following = Cron(line).after(ours[-1] if ours else moment)
            assert following is not None
            ours.append(following)
        assert ours == theirs, line


@dataclass(frozen=True)
class Done:
    """What the scheduler reads of a result."""

    outcome: Outcome
    attempts: tuple[Any, ...] = ()


class Runs:
    """Takes the place of `run_job`: notes each run, and ends it as told."""

    def __init__(self, *ends: Outcome | Exception) -> None:
        self.keys: list[str] = []
        self._ends = list(ends)

    def __call__(self, job: Path, params: dict[str, str], *, options: Any, project: Any, stop: Any) -> Done:
        self.keys.append(options.key)
        end = self._ends.pop(0) if self._ends else Outcome.OK
        if end is Outcome.TERMINATED:
            stop.request()
        if isinstance(end, Exception):
            raise end
        return Done(end)


@pytest.fixture
def keeper(make_job: Callable[..., Path]) -> Callable[..., Scheduler]:
    """A scheduler of a project with one job that is due every hour, with a clock that stands `hours` in the future."""

    def make(runs: Runs, hours: float = 0.0) -> Scheduler:
        job = make_job("x = 1")
        project = find_project(job.parents[1])
        with ScheduleStore(project.state / "jobs" / "schedules.db", project.root) as store:
            if not store.schedules():
                store.put(Schedule("sample", job, Cron("0 * * * *"), {}, datetime.now(UTC)))
        return Scheduler(
            project,
            run=runs,
            clock=lambda: datetime.now(UTC) + timedelta(hours=hours),
            launch=lambda _, work: work(),
        )

    return make


def turn(made: Scheduler) -> None:
    """What is due begins and ends."""
    for _ in range(2):
        made.step(StopRequest())


def test_what_was_missed_runs_once(keeper: Callable[..., Scheduler]) -> None:
    """Ten hours that nobody was awake for are one run, which knows how many it stands for; then nothing is due."""
    runs = Runs()
    made = keeper(runs, hours=10)
    turn(made)
    turn(made)
    firing = made.store.last("sample")
    assert firing is not None
    assert (len(runs.keys), firing.missed, firing.outcome) == (1, 9, "ok")


def test_a_firing_is_never_begun_twice(keeper: Callable[..., Scheduler]) -> None:
    """Two schedulers that see the same firing claim and begin it once."""
    made, other = keeper(Runs(), hours=1), keeper(Runs(), hours=1)
    (schedule,) = made.store.schedules()
    due = Course.of(schedule).due(datetime.now(UTC) + timedelta(hours=1))
    assert due is not None
    (firing,) = made.store.claim([(due, schedule)], datetime.now(UTC))
    assert other.store.claim([(due, schedule)], datetime.now(UTC)) == []
    turn(made)
    turn(other)
    assert made._worker.run.keys == [firing.key]  # type: ignore[attr-defined]
    assert other._worker.run.keys == []  # type: ignore[attr-defined]


def test_a_stopped_firing_goes_on_later(keeper: Callable[..., Scheduler]) -> None:
    """A run that was cut off by a stop stays unfinished and is run again under the same key by the next scheduler."""
    runs = Runs(Outcome.TERMINATED, Outcome.OK)
    first = keeper(runs, hours=1)
    turn(first)
    (firing,) = first.store.unfinished()
    second = keeper(runs, hours=1)
    turn(second)
    assert runs.keys == [firing.key, firing.key]
    assert second.store.unfinished() == ()


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(ParameterError("a.b", "no"), "bad-input"), (RuntimeError("bug"), "failed"), (Outcome.TRANSIENT, "transient")],
    ids=["refused", "bug", "failed"],
)
def test_the_scheduler_outlives_its_jobs(
    end: Outcome | Exception, outcome: str, keeper: Callable[..., Scheduler]
) -> None:
    """Whatever a job does, its firing gets an end and the scheduler goes on."""
    made = keeper(Runs(end), hours=1)
    turn(made)
    firing = made.store.last("sample")
    assert firing is not None
    assert firing.outcome == outcome


def test_only_one_scheduler_serves(keeper: Callable[..., Scheduler]) -> None:
    """A second scheduler of the same project is refused with the first one's process id, which the status knows too."""
    import threading

    stop = StopRequest()
    serving = threading.Thread(target=keeper(Runs()).serve, args=[stop])
    serving.start()
    try:
        other = keeper(Runs())
        while serving.is_alive() and not other.store.noted("scheduler"):
            time.sleep(0.01)
        seen = running(other.store)
        assert seen is not None
        assert seen["pid"] == os.getpid()
        assert seen["pools"]["default"] >= 4
        with pytest.raises(TransientError, match=f"in process {os.getpid()}"):
            keeper(Runs()).serve(StopRequest())
    finally:
        stop.request()
        serving.join()
    assert running(other.store) is None


def test_the_command_writes_and_lists(make_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`prodkit schedule` writes files or adds a local schedule, checks parameters, and `scheduler --status` shows it."""
    job = make_job("x = 1", parameters={"n": ("int", 1)}, schedule="0 6 * * *", timezone="Europe/Berlin")
    monkeypatch.chdir(job.parents[1])
    call = CliRunner().invoke
    assert call(schedule, [str(job), "--target", "cron", "-p", "n=2"]).exit_code == 0
    assert "-p n=2" in (job.parents[1] / ".prodkit" / "schedules" / "sample" / "prodkit-sample.cron.sh").read_text()
    assert isinstance(call(schedule, [str(job), "-p", "m=2"]).exception, ProdkitError)
    assert "runs next at" in call(schedule, [str(job), "--cron", "5 * * * *", "--tz", "UTC"]).output
    assert '"cron": "5 * * * *"' in call(scheduler, ["--status", "--json"]).output
    assert call(schedule, [str(job), "--remove"]).exit_code == 0
    assert isinstance(call(schedule, [str(job), "--remove"]).exception, ConfigError)


KEEPER = """
import sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from prodkit.jobs.schedules.scheduler import Scheduler
from prodkit.jobs.schedules.store import ScheduleStore
from prodkit.jobs.signals import StopRequest
from prodkit.manifest import find_project
from tests_run import run
project = find_project(Path(sys.argv[1]))
with StopRequest() as stop:
    clock = lambda: datetime.now(UTC) + timedelta(hours=1)
    Scheduler(project, run=run, clock=clock, on_beat=lambda beat: print(beat.outcome.value, flush=True)).serve(stop)
"""
RUN = """
import os, time
from dataclasses import replace
from prodkit.jobs.runner import run_job
from prodkit.records import RunHandle
class Nowhere:
    problem = ""
    def start_run(self, spec): return RunHandle(spec.key, spec.name)
    def __getattr__(self, name): return lambda *a, **k: None
def run(job, params, *, options, project, stop):
    return run_job(job, params, options=options, project=project, ledger=Nowhere(), stop=stop)
"""


@pytest.mark.slow
def test_kill_9_loses_no_run_and_repeats_none(make_job: Callable[..., Path], tmp_path: Path) -> None:
    """A scheduler that is killed in the middle of a job runs that firing again at its next start, and only that one."""
    job = make_job(
        """
        from pathlib import Path
        import time
        with Path("began.txt").open("a") as file:
            file.write("x")
        if not Path("go").exists():
            time.sleep(600)
        Path("done.txt").open("a").write("x")
        """
    )
    (tmp_path / "tests_run.py").write_text(RUN)
    work = job.parents[1] / "notebooks"
    with Scheduler(find_project(job.parents[1])).store as store:
        store.put(Schedule("sample", job, Cron("0 * * * *"), {}, datetime.now(UTC)))

    def start() -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(job.parents[1])],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )

    with start() as first:
        while not (work / "began.txt").exists() and first.poll() is None:
            time.sleep(0.05)
        first.kill()
    (work / "go").touch()
    with start() as second:
        assert second.stdout is not None
        said = [second.stdout.readline().strip() for _ in range(2)]
        second.terminate()
        second.wait(60)
    assert said == ["running", "ok"]
    assert second.returncode == 0
    assert (work / "began.txt").read_text() == "xx"
    assert (work / "done.txt").read_text() == "x"
    store = Scheduler(find_project(job.parents[1])).store
    assert store.unfinished() == ()
