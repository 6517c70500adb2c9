"""The local scheduler: one process behind a lock that runs jobs when they are due, through kills and sleeping machines.

One thread keeps the time and owns the store; each run has a thread of its own. A turn of the loop writes down the runs
that have ended, follows what others have changed in the store, claims what is due, and starts what has a place. Each
is one transaction, and costs what the firings cost and not what the schedules are.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from prodkit.jobs.ends import Outcome
from prodkit.jobs.exclusion import locked
from prodkit.jobs.history import History
from prodkit.jobs.runner import JobResult, run_job
from prodkit.jobs.schedules.pools import Pools, check_sizes
from prodkit.jobs.schedules.presence import Presence
from prodkit.jobs.schedules.schedule import Course, Due, Firing, Schedule
from prodkit.jobs.schedules.store import ScheduleStore
from prodkit.jobs.schedules.timetable import Timetable
from prodkit.jobs.schedules.work import End, Worker
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from prodkit.jobs.signals import StopRequest
    from prodkit.manifest import Project

_LOOK_EVERY = 1.0  # seconds between looks for changes by others, and for a clock that was set
_BUSY_WAIT = timedelta(seconds=5)  # until a job is tried again that somebody else runs
_STORE_WAIT = 5.0  # seconds until a store is tried again that couldn't be written
_KEEP = 500  # ended firings of a schedule; that a firing succeeded is in the history of runs for longer
_UNKNOWN = -1  # what others have changed in the store
_FORGET_EVERY = 250  # claimed firings of a schedule


@dataclass(frozen=True, slots=True)
class Beat:
    """What the scheduler says: a firing began (`outcome` is running) or ended, or its own store fails."""

    schedule: str
    due: datetime
    missed: int
    outcome: Outcome
    error: str = ""


class Scheduler:
    """Runs the schedules of a project.

    Args:
        project: whose schedules.
        on_beat: called as firings begin and end, in the thread of the scheduler.
        run: runs a job; `run_job` unless a test says otherwise.
        clock: the time.
        pools: places by pool, over the default ones.
        launch: begins a firing's run and returns at once; a thread unless a test says otherwise.
    """

    def __init__(
        self,
        project: Project,
        *,
        on_beat: Callable[[Beat], None] | None = None,
        run: Callable[..., JobResult] = run_job,
        clock: Callable[[], datetime] = now,
        pools: Mapping[str, int] | None = None,
        launch: Callable[[Firing, Callable[[], None]], None] | None = None,
    ) -> None:
        self._folder = project.state / "jobs"
        self._on_beat, self._clock, self._launch = on_beat, clock, launch or _in_thread
        self.store = ScheduleStore(self._folder / "schedules.db", project.root)
        self._worker = Worker(project, History.of(project), run)
        self._pools = Pools(check_sizes(pools or {}))
        self._timetable, self._later = Timetable(), Timetable()
        self._courses: dict[str, Course] = {}
        self._queued: dict[str, Firing] = {}  # by key: claimed, and neither running nor ended
        self._running: dict[str, tuple[Firing, Schedule]] = {}
        self._outstanding: dict[str, str] = {}  # schedule -> the key of its own firing that waits or runs
        self._over: list[tuple[str, End]] = []  # ended, and not yet in the store
        self._ended: SimpleQueue[tuple[str, End] | None] = SimpleQueue()  # safe to put into from a signal handler
        self._seen = _UNKNOWN
        self._claims: dict[str, int] = {}

    def serve(self, stop: StopRequest, on_start: Callable[[], object] = lambda: None) -> None:
        """Run until somebody asks to stop; running jobs are then interrupted, and go on with the next start.

        Args:
            stop: the request.
            on_start: called when this is the project's one scheduler.

        Raises:
            TransientError: `jobs.locked`: another scheduler of this project runs.
        """
        with locked(self._folder / "scheduler.lock", "The scheduler of this project"), self.store:
            presence = Presence.open(self.store, self._pools.sizes)
            on_start()
            unlisten = stop.listen(lambda: self._ended.put(None))
            try:
                while not stop.asked:
                    self._wait(self._turn(stop))
                    presence.alive()
            except BaseException:
                stop.request()  # what runs must not outlive who keeps its end
                raise
            finally:
                unlisten()
                presence.stopping()
                self._drain()
                with suppress(sqlite3.Error):  # the note names a process that is gone then
                    presence.close()

    def step(self, stop: StopRequest) -> datetime | None:
        """One turn of the loop; returns the moment at which something is due next.

        Raises:
            sqlite3.Error: the store can't be written; nothing is lost, and the next step begins anew from it.
        """
        moment = self._clock()
        try:
            return self._step(moment, stop)
        except sqlite3.Error:
            self._seen = _UNKNOWN  # the next one begins with `load`
            raise

    def _step(self, moment: datetime, stop: StopRequest) -> datetime | None:
        self._write_ends(moment)
        self._follow()
        self._requeue(moment)
        self._claim(moment)
        self._start(moment, stop)
        return min((first for table in (self._timetable, self._later) if (first := table.first())), default=None)

    def load(self) -> None:
        """Take everything from the store anew, but for what runs."""
        self._seen = self.store.changes()
        self._timetable, self._later = Timetable(), Timetable()
        self._pools.clear()
        self._queued.clear()
        self._outstanding = {firing.name: key for key, (firing, _) in self._running.items() if firing.kind == "cron"}
        self._courses = {one.name: Course.of(one) for one in self.store.schedules()}
        self._enqueue(self.store.unfinished())
        for name in self._courses:
            self._set_next(name)

    def _turn(self, stop: StopRequest) -> float:
        """A step, in seconds until the next one; a store that fails for a while is no reason to end."""
        try:
            following = self.step(stop)
        except sqlite3.Error as error:
            self._say(Firing("the scheduler's store", self._clock()), Outcome.TRANSIENT, str(error))
            return _STORE_WAIT
        if not self._ended.empty():
            return 0.0
        return min(_LOOK_EVERY, (following - self._clock()).total_seconds()) if following else _LOOK_EVERY

    def _wait(self, seconds: float) -> None:
        """Wait for a run to end, for a request to stop, or for time to pass."""
        if seconds > 0:
            with suppress(Empty):
                self._note_end(self._ended.get(timeout=seconds))

    def _note_end(self, ended: tuple[str, End] | None) -> None:
        if ended is not None:
            self._over.append(ended)

    def _drain(self) -> None:
        """Wait for all that runs; it was asked to stop."""
        while self._running:
            self._wait(_LOOK_EVERY)
            try:
                self._write_ends(self._clock())
            except sqlite3.Error:
                if len(self._over) == len(self._running):
                    return  # the next start runs it again under its key

    def _write_ends(self, moment: datetime) -> None:
        with suppress(Empty):
            while True:
                self._note_end(self._ended.get_nowait())
        over, ends = list(self._over), []
        for key, end in over:
            firing, _ = self._running[key]
            if not end.cut_off and not end.busy:  # else the next start, or this one, goes on with it
                ends.append(replace(firing, ended=moment, outcome=end.outcome.value, error=end.error))
        if ends:
            self.store.end(ends)
        for firing in (self._running[key][0] for key, end in over if end.busy):
            self.store.release(firing)
        del self._over[: len(over)]
        for key, end in over:
            firing, schedule = self._running.pop(key)
            self._pools.free([schedule])
            if end.busy:
                self._queued[key] = firing
                self._later.set(key, moment + _BUSY_WAIT)
                continue
            self._say(firing, end.outcome, end.error)
            self._settle(firing)

    def _settle(self, firing: Firing) -> None:
        """A firing waits and runs no more: its schedule's next one counts."""
        if self._outstanding.get(firing.name) == firing.key:
            del self._outstanding[firing.name]
            self._set_next(firing.name)

    def _follow(self) -> None:
        """Take over what others have changed in the store."""
        if self._seen == _UNKNOWN:
            self.load()
            return
        seen = self.store.changes()
        if seen == self._seen:
            return
        revisions = self.store.revisions()
        for name in [name for name in self._courses if name not in revisions]:
            del self._courses[name]
            self._timetable.set(name, None)
        for name, revision in revisions.items():
            course = self._courses.get(name)
            if course is None or course.schedule.revision != revision:
                self._reload(name)
        self._seen = seen

    def _reload(self, name: str) -> None:
        """Take one schedule from the store, and what waits of it."""
        schedule = self.store.schedule(name)
        if schedule is None:  # taken away just now; the next look sees that
            return
        self._courses[name] = Course.of(schedule)
        waiting = {firing.key: firing for firing in self.store.unfinished(name)}
        for key in [key for key, firing in self._queued.items() if firing.name == name and key not in waiting]:
            self._settle(self._queued.pop(key))
        self._enqueue(waiting.values())
        self._set_next(name)

    def _set_next(self, name: str) -> None:
        """Put a schedule's next start into the timetable, unless its last firing hasn't ended."""
        course = self._courses.get(name)
        idle = course is not None and name not in self._outstanding
        self._timetable.set(name, course.next_start() if course is not None and idle else None)

    def _enqueue(self, firings: Iterable[Firing]) -> None:
        """Let claimed firings wait for their places; those of paused and removed schedules don't."""
        gone = []
        for firing in firings:
            course = self._courses.get(firing.name)
            if course is None:
                gone.append(replace(firing, ended=self._clock(), outcome="removed"))
            elif firing.key not in self._queued and firing.key not in self._running and not course.schedule.paused:
                self._queue(firing, course.schedule)
        if gone:
            self.store.end(gone)

    def _queue(self, firing: Firing, schedule: Schedule) -> None:
        self._queued[firing.key] = firing
        if firing.kind == "cron":
            self._outstanding[firing.name] = firing.key
        self._pools.add(firing, schedule)

    def _requeue(self, moment: datetime) -> None:
        """Try those again whose job somebody else was running."""
        for key in self._later.take(moment):
            firing = self._queued.pop(key, None)
            course = self._courses.get(firing.name) if firing else None
            if firing is not None and course is not None and not course.schedule.paused:
                self._queue(firing, course.schedule)

    def _claim(self, moment: datetime) -> None:
        names = self._timetable.take(moment)
        if not names:
            return
        due: list[tuple[Due, Schedule]] = []
        for name in names:
            course = self._courses[name]
            one = course.due(moment)
            if one is not None:
                due.append((one, course.schedule))
        claimed = self.store.claim(due, moment)
        for one, schedule in due:
            self._courses[schedule.name].decide(one.firing)
            self._forget_old(schedule.name)
        for firing in claimed:
            self._queue(firing, self._courses[firing.name].schedule)
        for name in names:
            self._set_next(name)

    def _start(self, moment: datetime, stop: StopRequest) -> None:
        """Start what has a place; taken again while some of it was withdrawn, which leaves places free."""
        while not stop.asked and (taken := self._pools.take()):
            current = [firing for firing, _ in taken if self._queued.get(firing.key) is firing]
            try:
                begun = {firing.key: firing for firing in self.store.begin(current, moment)} if current else {}
            except sqlite3.Error:
                self._pools.free([schedule for _, schedule in taken])
                raise
            for firing, schedule in taken:
                if self._queued.get(firing.key) is firing:
                    del self._queued[firing.key]
                    if firing.key in begun:
                        self._run(begun[firing.key], schedule, stop, resumed=firing.begun is not None)
                        continue
                    self._settle(firing)  # withdrawn
                self._pools.free([schedule])

    def _run(self, firing: Firing, schedule: Schedule, stop: StopRequest, *, resumed: bool) -> None:
        self._running[firing.key] = (firing, schedule)
        self._say(firing, Outcome.RUNNING)

        def work() -> None:
            self._ended.put((firing.key, self._worker.work(schedule, firing, stop, resumed=resumed)))

        self._launch(firing, work)

    def _forget_old(self, name: str) -> None:
        self._claims[name] = self._claims.get(name, hash(name) % _FORGET_EVERY) + 1
        if self._claims[name] % _FORGET_EVERY == 0:
            self.store.forget(name, _KEEP)

    def _say(self, firing: Firing, outcome: Outcome, error: str = "") -> None:
        if self._on_beat is None:
            return
        with suppress(Exception):  # a closed terminal is no reason to end
            self._on_beat(Beat(firing.name, firing.due, firing.missed, outcome, error))


def _in_thread(firing: Firing, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=firing.key).start()
