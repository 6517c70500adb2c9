"""The local scheduler: one process behind a lock that runs jobs when they are due, through kills and sleeping machines.

APScheduler keeps the time. What is due is computed from what is on record: a firing that nobody was awake for is run
once somebody is again, and one whose scheduler was killed in the middle is run again under the same idempotency key.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from prodkit.errors import ProdkitError
from prodkit.jobs.ends import Outcome, by_exit_code
from prodkit.jobs.exclusion import locked
from prodkit.jobs.history import History
from prodkit.jobs.runner import JobResult, RunOptions, run_job
from prodkit.jobs.schedules.store import Schedule, ScheduleStore, Tick
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from prodkit.jobs.schedules.cron import Cron
    from prodkit.jobs.signals import StopRequest
    from prodkit.manifest import Project

_LOOK_EVERY = 5  # seconds between looks for schedules that were added or taken away


@dataclass(frozen=True, slots=True)
class Beat:
    """What the scheduler tells: a tick began (`outcome` is running) or ended."""

    schedule: str
    due: datetime
    missed: int
    outcome: Outcome
    error: str = ""


class Scheduler:
    """Runs the schedules of a project.

    Args:
        project: whose schedules.
        on_beat: called as ticks begin and end, in the thread that runs the job.
        run: runs a job; `run_job` unless a test says otherwise.
        clock: the time.
    """

    def __init__(
        self,
        project: Project,
        *,
        on_beat: Callable[[Beat], None] | None = None,
        run: Callable[..., JobResult] = run_job,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._project, self._told, self._run, self._clock = project, on_beat, run, clock
        self._folder = project.state / "jobs"
        self.store = ScheduleStore(self._folder / "schedules.db")
        self._history = History.of(project)
        self._known: dict[str, Schedule] = {}
        self._busy: dict[str, Lock] = {}

    def serve(self, stop: StopRequest) -> None:
        """Run until somebody asks to stop; running jobs are then interrupted, and go on with the next start.

        Raises:
            TransientError: `jobs.locked`: another scheduler of this project runs.
        """
        with locked(self._folder / "scheduler.lock", "The scheduler"):
            logging.getLogger("apscheduler").setLevel(logging.ERROR)  # the record of ticks is ours
            defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
            keeper = BackgroundScheduler(job_defaults=defaults, timezone="UTC")
            keeper.start()
            try:
                for tick in self.store.unfinished():
                    keeper.add_job(self.finish, args=[tick, stop])
                while not stop.asked:
                    self._look(keeper, stop)
                    stop.wait(_LOOK_EVERY)
            finally:
                keeper.shutdown(wait=True)

    def catch_up(self, name: str, stop: StopRequest) -> bool:
        """Run the latest firing of a schedule that is due and was never begun; True when there was one."""
        schedule = next((one for one in self.store.schedules() if one.name == name), None)
        if schedule is None or stop.asked:
            return False
        last = self.store.last(name)
        since = max(schedule.since, last.due) if last else schedule.since
        due, count = schedule.cron.latest(self._clock(), since=since)
        tick = self.store.claim(name, due, count - 1) if due else None
        if tick is None:
            return False
        self.finish(tick, stop)
        return True

    def finish(self, tick: Tick, stop: StopRequest) -> None:
        """Run a tick that was begun, or whose run was cut off, to its end. Under its key nothing runs twice."""
        schedule = next((one for one in self.store.schedules() if one.name == tick.name), None)
        if schedule is None:
            self.store.end(tick, "removed")
            return
        with self._busy.setdefault(tick.name, Lock()):
            self._on_beat(Beat(tick.name, tick.due, tick.missed, Outcome.RUNNING))
            outcome, error = self._outcome(schedule, tick, stop)
            if outcome is not Outcome.TERMINATED:  # cut off by a stop: the next start goes on with it
                self.store.end(tick, outcome.value)
            self._on_beat(Beat(tick.name, tick.due, tick.missed, outcome, error))

    def _outcome(self, schedule: Schedule, tick: Tick, stop: StopRequest) -> tuple[Outcome, str]:
        try:
            result = self._result(schedule, tick, stop)
        except ProdkitError as error:
            return (Outcome.TERMINATED if stop.asked else by_exit_code(error.exit_code)), error.code
        except Exception as error:  # the scheduler must outlive whatever a job does
            return Outcome.FAILED, type(error).__name__
        return result.outcome, result.attempts[-1].error_class if result.attempts else ""

    def _result(self, schedule: Schedule, tick: Tick, stop: StopRequest) -> JobResult:
        """Run the job; while somebody else runs it, wait for our turn, and where nothing can be resumed start anew."""
        resume = self._cut_off(schedule, tick)
        while True:
            options = RunOptions(key=tick.key, resume=resume)
            try:
                return self._run(schedule.job, dict(schedule.params), options=options, project=self._project, stop=stop)
            except ProdkitError as error:
                if error.code == "jobs.locked" and not stop.wait(_LOOK_EVERY):
                    continue
                if not resume or not error.code.startswith(("jobs.resume", "jobs.nothing")):
                    raise
                resume = ""

    def _cut_off(self, schedule: Schedule, tick: Tick) -> str:
        """The run of this tick that somebody or something ended in the middle; "" when there is none."""
        entries = self._history.entries(schedule.job.name, limit=50)
        cut = (entry.run for entry in entries if entry.key == tick.key and entry.outcome in _CUT_OFF)
        return next(cut, "")

    def _on_beat(self, beat: Beat) -> None:
        if self._told is not None:
            self._told(beat)

    def _look(self, keeper: BackgroundScheduler, stop: StopRequest) -> None:
        """Follow the store: new and changed schedules begin, those that were taken away end."""
        wanted = {schedule.name: schedule for schedule in self.store.schedules()}
        for name in [name for name in self._known if wanted.get(name) != self._known[name]]:
            keeper.remove_job(name)
            del self._known[name]
        for name in [name for name in wanted if name not in self._known]:
            self._known[name] = wanted[name]
            keeper.add_job(self.catch_up, _CronTrigger(wanted[name].cron), id=name, args=[name, stop])
            keeper.add_job(self.catch_up, args=[name, stop])  # what was missed while nobody was awake


_CUT_OFF = frozenset({Outcome.LOST, Outcome.TERMINATED})


class _CronTrigger(BaseTrigger):
    """Our cron lines for APScheduler; its own number weekdays from Monday and ask for both day fields."""

    def __init__(self, cron: Cron) -> None:
        self._cron = cron

    def get_next_fire_time(self, previous_fire_time: Any, current: Any) -> Any:
        return self._cron.after(previous_fire_time or current)
