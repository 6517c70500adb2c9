"""Cron lines fire when crontab(5) says, files are what their readers accept, and the scheduler loses and repeats nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from cronsim import CronSim

from prodkit.cli.schedules import schedule, scheduler
from prodkit.errors import ConfigError, ParameterError, ProdkitError, TransientError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.scheduler import Scheduler
from prodkit.jobs.signals import StopRequest
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """A time that doesn't exist on the day of summer time fires once, as late as the clock was moved."""
    assert firings("30 2 * * *", "2026-03-28", 3) == ["03-28 02:30 +0100", "03-29 03:30 +0200", "03-30 02:30 +0200"]


def test_the_clock_put_back_repeats_nothing() -> None:
    """A time that comes twice on the day of winter time fires once; an hourly line goes on by real time."""
    assert firings("30 2 * * *", "2026-10-24T12:00", 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    assert firings("0 * * * *", "2026-10-24T23:30", 3) == [
        "10-25 02:00 +0200",
        "10-25 02:00 +0100",
        "10-25 03:00 +0100",
    ]


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
        if isinstance(end, Exception):
            raise end
        return Done(end)


@pytest.fixture
def keeper(make_job: Callable[..., Path]) -> Callable[..., Scheduler]:
    """A scheduler of a project with one job that is due every hour, with a clock that stands `hours` in the future."""

    def make(runs: Runs, hours: float = 0.0) -> Scheduler:
        job = make_job("x = 1")
        made = Scheduler(
            find_project(job.parents[1]),
            run=runs,
            clock=lambda: datetime.now(UTC) + timedelta(hours=hours),  # type: ignore[arg-type]
        )
        if not made.store.schedules():
            made.store.put("sample", job, Cron("0 * * * *"), {})
        return made

    return make


def test_what_was_missed_runs_once(keeper: Callable[..., Scheduler]) -> None:
    """Ten hours that nobody was awake for are one run, which knows how many it stands for; then nothing is due."""
    runs = Runs()
    made = keeper(runs, hours=10)
    assert made.catch_up("sample", StopRequest())
    assert not made.catch_up("sample", StopRequest())
    tick = made.store.last("sample")
    assert tick is not None
    assert (len(runs.keys), tick.missed, tick.outcome) == (1, 9, "ok")


def test_a_tick_is_never_begun_twice(keeper: Callable[..., Scheduler]) -> None:
    """Two schedulers that see the same firing begin it once."""
    runs = Runs()
    made, other = keeper(runs, hours=1), keeper(runs, hours=1)
    due, _ = Cron("0 * * * *").latest(datetime.now(UTC) + timedelta(hours=1), since=datetime.now(UTC))
    assert due is not None
    assert made.store.claim("sample", due, 0) is not None
    assert other.store.claim("sample", due, 0) is None
    assert not other.catch_up("sample", StopRequest())


def test_a_stopped_tick_goes_on_later(keeper: Callable[..., Scheduler]) -> None:
    """A run that was cut off by a stop stays unfinished and is run again under the same key."""
    runs = Runs(Outcome.TERMINATED, Outcome.OK)
    made = keeper(runs, hours=1)
    made.catch_up("sample", StopRequest())
    (tick,) = made.store.unfinished()
    made.finish(tick, StopRequest())
    assert runs.keys == [tick.key, tick.key]
    assert made.store.unfinished() == ()


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(ParameterError("a.b", "no"), "bad-input"), (RuntimeError("bug"), "failed"), (Outcome.TRANSIENT, "transient")],
    ids=["refused", "bug", "failed"],
)
def test_the_scheduler_outlives_its_jobs(
    end: Outcome | Exception, outcome: str, keeper: Callable[..., Scheduler]
) -> None:
    """Whatever a job does, its tick gets an end and the scheduler goes on."""
    made = keeper(Runs(end), hours=1)
    assert made.catch_up("sample", StopRequest())
    tick = made.store.last("sample")
    assert tick is not None
    assert tick.outcome == outcome


def test_only_one_scheduler_serves(keeper: Callable[..., Scheduler]) -> None:
    """A second scheduler of the same project is refused with the first one's process id."""
    import threading

    stop = StopRequest()
    serving = threading.Thread(target=keeper(Runs()).serve, args=[stop])
    serving.start()
    try:
        lock = Path(keeper(Runs())._folder / "scheduler.lock")
        while serving.is_alive() and not (lock.exists() and lock.read_text()):
            time.sleep(0.01)
        with pytest.raises(TransientError, match=f"in process {os.getpid()}"):
            keeper(Runs()).serve(StopRequest())
    finally:
        stop.request()
        serving.join()


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
    Scheduler(find_project(job.parents[1])).store.put("sample", job, Cron("0 * * * *"), {})

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
