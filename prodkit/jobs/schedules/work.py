"""One firing's run: under its key, resumed where it was cut off, and with an end whatever the job does."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ProdkitError
from prodkit.jobs.ends import Outcome, by_exit_code
from prodkit.jobs.runner import RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.jobs.history import History
    from prodkit.jobs.runner import JobResult
    from prodkit.jobs.schedules.schedule import Firing, Schedule
    from prodkit.jobs.signals import StopRequest
    from prodkit.manifest import Project

_CUT_OFF = frozenset({Outcome.LOST, Outcome.TERMINATED})


@dataclass(frozen=True, slots=True)
class End:
    """How a firing's run ended, or that it goes on later.

    `busy`: it didn't begin, because somebody else runs its job. `cut_off`: the scheduler was asked to stop.
    """

    outcome: Outcome
    error: str = ""
    busy: bool = False
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """Runs firings.

    Args:
        project: whose.
        history: which runs there were.
        run: `run_job`, or what takes its place.
    """

    project: Project
    history: History
    run: Callable[..., JobResult]

    def work(self, schedule: Schedule, firing: Firing, stop: StopRequest, *, resumed: bool) -> End:
        """Run a firing to its end.

        Args:
            schedule: its schedule.
            firing: what is due.
            stop: asks to end; the firing then goes on with the next start of the scheduler.
            resumed: an earlier scheduler has begun it.
        """
        if stop.asked:
            return End(Outcome.TERMINATED, cut_off=True)
        try:
            result = self._result(schedule, firing, stop, self._cut_off(schedule, firing) if resumed else "")
        except ProdkitError as error:
            outcome = Outcome.TERMINATED if stop.asked else by_exit_code(error.exit_code)
            return End(outcome, error.code, busy=error.code == "jobs.locked", cut_off=stop.asked)
        except Exception as error:  # the scheduler must outlive whatever a job does
            return End(Outcome.FAILED, _place(error))
        cut_off = result.outcome is Outcome.TERMINATED and _by(stop)
        return End(result.outcome, result.attempts[-1].error_class if result.attempts else "", cut_off=cut_off)

    def _result(self, schedule: Schedule, firing: Firing, stop: StopRequest, resume: str) -> JobResult:
        """Run the job; where nothing can be resumed, from the beginning."""
        params = schedule.params_of(firing.due)

        def run(resume: str) -> JobResult:
            options = RunOptions(key=firing.key, logical_date=schedule.local(firing.due).isoformat(), resume=resume)
            return self.run(schedule.job, params, options=options, project=self.project, stop=stop)

        try:
            return run(resume)
        except ProdkitError as error:
            if not resume or not error.code.startswith(("jobs.resume", "jobs.nothing")):
                raise
            return run("")

    def _cut_off(self, schedule: Schedule, firing: Firing) -> str:
        """The run of this firing that somebody or something ended in the middle; "" when there is none."""
        entry = self.history.unfinished(schedule.job.name, firing.key)
        return entry.run if entry is not None and entry.outcome in _CUT_OFF else ""


def _by(stop: StopRequest) -> bool:
    """Whether a run that was terminated was so by a stop of the scheduler."""
    return stop.asked


def _place(error: Exception) -> str:
    """What an error is and where it was raised; its message may hold data."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}, {Path(frames[-1].filename).name} line {frames[-1].lineno}"
