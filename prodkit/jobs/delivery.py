"""Publishes what runs have left in the outbox: after a run has ended, and whenever somebody asks for it.

Nothing here changes how a run has ended. What fails is told in one line, stays in the outbox, and is tried again with
the next run of the project, by `prodkit audit sync` and by the scheduler.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prodkit.errors import ProdkitError
from prodkit.jobs.identifying import fill_record, note_ids
from prodkit.jobs.outbox import PAGE, RECORDS, Outbox

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.jobs.outbox import Waiting
    from prodkit.jobs.publishing import Publisher
    from prodkit.jobs.signals import StopRequest
    from prodkit.manifest import Project

Page = Callable[["Project", str], object]
"""Writes the reviewer's page of a run: called with the project and MLflow's id of the run."""

_SECONDS, _SECONDS_WHEN_STOPPED = 30.0, 3.0  # what isn't published by then waits
_TICK = 0.05
_FAILURES = 3  # pages of earlier runs that may fail after a run; the others get their turn after the next one
_GONE = "review.no-run"
_FIX = "Fix: nothing is lost; the next run publishes it, or `prodkit audit sync`."


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivery did: runs that are published now, runs that wait, and why in one line."""

    published: int = 0
    waiting: int = 0
    problem: str = ""


class LateError(Exception):
    """It takes too long; it may go on in the background."""


def deliver(
    publisher: Publisher,
    outbox: Outbox,
    project: Project,
    *,
    page: Page | None,
    stop: StopRequest,
    run: str = "",
    seconds: float | None = None,
) -> Delivered:
    """Publish a run, and then what earlier ones have left, the oldest first, as far as there is time.

    Args:
        publisher: writes to the ledger.
        outbox: what waits.
        project: whose runs.
        page: writes the reviewer's page; None leaves pages to somebody who can write them.
        stop: a request to stop leaves everything for later, within a moment.
        run: the run that goes first.
        seconds: how long it may take.

    Returns:
        What it did. Never raises for what goes wrong on the way.
    """
    limit = _SECONDS_WHEN_STOPPED if stop.asked else _SECONDS
    deadline = time.monotonic() + (limit if seconds is None else seconds)
    delivery = _Delivery(publisher, outbox, project, page, stop, deadline)
    try:
        done = delivery.go(run)
    except Exception as error:
        done = Delivered(0, len(_listed(outbox)), told("A run couldn't be published", error))
    return replace(done, problem=done.problem or _identify(publisher, project, run))


def _identify(publisher: Publisher, project: Project, run: str) -> str:
    """Note the ids that MLflow has said meanwhile; why this run has none, in one line."""
    from prodkit.jobs.history import History

    what = "MLflow's id of the run isn't known yet"
    try:
        jobs, known = project.state / "jobs", publisher.learn()
        note_ids(History.of(project), publisher, jobs)
        fill_record(jobs / publisher.name / run / "run.json", publisher)
    except Exception as error:
        return told(what, error)
    return "" if known or not run else told(what, LateError("MLflow hasn't answered in time"))


class _Delivery:
    def __init__(
        self,
        publisher: Publisher,
        outbox: Outbox,
        project: Project,
        page: Page | None,
        stop: StopRequest,
        deadline: float,
    ) -> None:
        self._publisher, self._outbox, self._project, self._page = publisher, outbox, project, page
        self._stop, self._deadline = stop, deadline

    def go(self, first: str) -> Delivered:
        runs = [run for run in (first, *(one for one in self._outbox.runs() if one != first)) if run]
        problem = self._records(runs, first) or self._flush()
        if problem or self._page is None:
            return Delivered(0, len(self._outbox.runs()), problem)
        published = failures = 0
        for run in runs:
            if self._left() <= 0 or failures > (_FAILURES if first else len(runs)):
                break
            with self._outbox.claimed(run) as mine:
                waiting = self._outbox.get(run) if mine else None
                if waiting is not None:
                    failed = self._write_page(waiting)
                    published += not failed
                    failures += bool(failed)
                    problem = failed if run == first else problem
        if published:
            problem = problem or self._flush()
        return Delivered(published, len(self._outbox.runs()), problem)

    def _records(self, runs: Iterable[str], first: str) -> str:
        """Put into the journal what a killed runner, or one that couldn't write, has left."""
        problem = ""
        for run in runs:
            with self._outbox.claimed(run) as mine:
                waiting = self._outbox.get(run) if mine else None
                if waiting is not None and RECORDS in waiting.todo:
                    failed = write_records(self._publisher, self._outbox, waiting)
                    problem = failed if run == first else problem
        return problem

    def _write_page(self, waiting: Waiting) -> str:
        """Write the page of a run; why that failed, in one line."""
        try:
            run_id = self._publisher.find(waiting.run)
            if run_id and self._page is not None:
                self._bounded(lambda: self._page(self._project, run_id) if self._page else None)
            problem = "" if run_id else told("The review page couldn't be published", LateError("its run isn't known"))
        except Exception as error:
            problem = told("The review page couldn't be published", error)
            if isinstance(error, ProdkitError) and error.code == _GONE:  # somebody has deleted it
                self._outbox.put(waiting.without(PAGE))
                return problem
        self._outbox.put(replace(waiting, reason=problem) if problem else waiting.without(PAGE))
        if not problem:
            fill_record(self._project.state / "jobs" / waiting.job / waiting.run / "run.json", self._publisher)
        return problem

    def _flush(self) -> str:
        """Wait until MLflow has what the journal holds; why it hasn't, in one line."""
        try:
            left = self._left()
            reason = str(self._bounded(lambda: self._publisher.flush(left)) or "")
        except Exception as error:
            return told("The records haven't reached MLflow", error)
        if reason.startswith("[") or not reason:
            return reason
        return f"[publishing.waiting] The records haven't reached MLflow yet: {reason}. {_FIX}"

    def _left(self) -> float:
        if self._stop.asked:
            self._deadline = min(self._deadline, time.monotonic() + _SECONDS_WHEN_STOPPED)
        return self._deadline - time.monotonic()

    def _bounded(self, act: Callable[[], object]) -> object:
        """Do it in a thread of its own, and leave it there when time is up or somebody asks to stop."""
        box: list[Any] = []

        def work() -> None:
            try:
                box.append((True, act()))
            except BaseException as error:
                box.append((False, error))

        thread = threading.Thread(target=work, name="prodkit-publishing", daemon=True)
        thread.start()
        while thread.is_alive() and self._left() > 0:
            thread.join(_TICK)
        if not box:
            raise LateError("MLflow didn't answer in time")
        done, result = box[0]
        if not done:
            raise result
        return result


def write_records(publisher: Publisher, outbox: Outbox, waiting: Waiting) -> str:
    """Put the end of a run into the journal; what fails stays in the outbox, and is told in one line."""
    try:
        publisher.write(waiting.run, waiting.ending)
        outbox.put(waiting.without(RECORDS))
    except Exception as error:
        problem = told("The end of the run couldn't be recorded", error)
        with contextlib.suppress(ProdkitError, OSError):
            outbox.put(replace(waiting, reason=problem))
        return problem
    return ""


def told(what: str, error: BaseException) -> str:
    """One line: what wasn't published and why. Others' errors are named by their class: their texts may hold data."""
    if isinstance(error, ProdkitError):
        why = f"{error.code}: {error.what}"
    else:
        why = str(error) if isinstance(error, LateError) else type(error).__name__
    return f"[publishing.waiting] {what} ({why.rstrip('.')}). {_FIX}"


def _listed(outbox: Outbox) -> tuple[str, ...]:
    try:
        return outbox.runs()
    except OSError:
        return ()


def deliver_waiting(project: Project, page: Page, *, seconds: float) -> Delivered:
    """Publish what the runs of a project have left: killed runs are closed, ends recorded, pages written.

    Args:
        project: whose runs.
        page: writes the reviewer's page.
        seconds: how long it may take.
    """
    from prodkit.jobs.closing import close_all_lost
    from prodkit.jobs.publishing import Publisher
    from prodkit.jobs.signals import StopRequest

    place = project.state / "jobs"
    if not place.is_dir():
        return Delivered()
    publisher = Publisher.open(project, None)
    problem = close_all_lost(project, publisher)
    done = deliver(publisher, Outbox(place / "outbox"), project, page=page, stop=StopRequest(), seconds=seconds)
    return replace(done, problem=done.problem or problem)
