"""Runs a job folder: everything is checked before anything is spent, and every end is told as it was."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.errors import ProdkitError
from prodkit.jobs.attempt import Attempter
from prodkit.jobs.attempts import AttemptResult, Policy, run_attempts
from prodkit.jobs.closing import close_lost
from prodkit.jobs.delivery import deliver, told, write_records
from prodkit.jobs.ends import Outcome, by_exit_code
from prodkit.jobs.events import RunEvent
from prodkit.jobs.exclusion import Hold, locked_job
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.history import Entry, History
from prodkit.jobs.kept import Kept
from prodkit.jobs.outbox import PAGE, RECORDS, Outbox, Waiting
from prodkit.jobs.parameters import as_json, check_parameters
from prodkit.jobs.preflight import check_data
from prodkit.jobs.publishing import Publisher
from prodkit.jobs.report import to_html, write_record
from prodkit.jobs.resuming import find_replayable, find_resumable
from prodkit.jobs.retention import clean_if_due, clean_job
from prodkit.jobs.secret_values import to_mask
from prodkit.jobs.signals import StopRequest
from prodkit.jobs.starting import check_start, find_place
from prodkit.ledger.replay import forget_old, remove, take_over
from prodkit.records import RunHandle, new_id, now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from prodkit.jobs.delivery import Page
    from prodkit.jobs.events import Event, OnEvent
    from prodkit.ledger import Ledger
    from prodkit.manifest import Project


@dataclass(frozen=True, slots=True)
class SharedBudget:
    """What many runs may spend together: US dollars, None without a limit. Restarts of a fan-out share the key.

    `spent` is a file that the run leaves which was refused: from then on no other one needs to begin.
    """

    key: str
    usd: Decimal | None
    spent: Path


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a job is run. None means: as the job folder says. Durations are seconds."""

    retries: int | None = None
    retry_wait: float | None = None
    retry_dead_kernel: bool = False
    timeout: float | None = None  # for the job with all its attempts
    cell_timeout: float | None = None
    resume: str = ""  # a run's id, or "last": go on where it ended; see `prodkit.jobs.kept`
    replay: str = ""  # a run's id, or "last": send nothing, and answer calls by what that run kept
    keep_answers: bool = False  # also after the run has succeeded, so that it can be replayed
    key: str = ""  # a run that succeeded under the same key isn't run again
    logical_date: str = ""  # the moment that a scheduled run is for; the notebook finds it in PRODKIT_LOGICAL_DATE
    fresh_kernels: bool = False  # also for the items of a fan-out, whose kernels are else forked, imports behind them
    budget: Decimal | None = None  # US dollars for all items of a fan-out; else the manifest's `per_run` is for all
    log_output: bool = False  # tell `on_event` also what the notebook writes
    shared: SharedBudget | None = None  # what the items of a fan-out may spend together
    parent: RunHandle | None = None  # the fan-out that this run is an item of, which then holds the lock and publishes


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended. `cost` is in US dollars and None when it isn't known; `url` and `run_id` are MLflow's.

    `problem` is one line: what couldn't be published yet, and why. It never changes how the job ended.
    """

    job: str
    run: str
    outcome: Outcome
    attempts: tuple[AttemptResult, ...]
    seconds: float
    run_id: str = ""
    url: str = ""
    output: Path | None = None
    cost: Decimal | None = None
    notices: tuple[str, ...] = ()  # what the owner must know, one sentence each
    repeated: bool = False  # nothing ran: the key's run has already succeeded
    problem: str = ""
    calls: int = 0  # model calls that were captured
    host: str = ""  # of a repeated run: where it ran

    @property
    def exit_code(self) -> int:
        """0, 1, 65, 75, 78, 138 or 143."""
        return self.outcome.exit_code


def run_job(
    job: Path | str,
    params: Mapping[str, object] | None = None,
    *,
    options: RunOptions = RunOptions(),
    project: Project | None = None,
    ledger: Ledger | None = None,
    on_event: OnEvent | None = None,
    on_attempt: Callable[[AttemptResult], None] | None = None,
    stop: StopRequest | None = None,
    page: Page | None = None,
) -> JobResult:
    """Run a job folder to its end.

    Args:
        job: the folder that `prodkit export` wrote.
        params: parameter -> value; text is parsed by the parameter's type.
        options: how it is run.
        project: the project that it runs in; default: the one around the folder.
        ledger: where runs are recorded; default: the project's.
        on_event: called as cells and attempts begin and end.
        on_attempt: called with each attempt that has ended.
        stop: a request to stop that somebody else makes; default: SIGTERM and SIGINT.
        page: writes the reviewer's page of a run once MLflow has it; see `prodkit.jobs.delivery`.

    Returns:
        How it ended; the notebook's own failures are told here and not raised, nor is what fails in publishing.

    Raises:
        ParameterError: the parameters are wrong; nothing was run.
        DataError: the data that it reads isn't there (nothing was run), or breaks a contract; then no kernel was
            started, and the refusal is on record.
        ConfigError: the folder, the manifest, the ownership or a secret is wrong, the kill switch is on, or there is
            nothing to resume; nothing was run.
        TransientError: another run of this job goes on (`jobs.locked`), or the server that holds the state doesn't
            answer, or has given this run's place to another (`state.*`).
    """
    folder = JobFolder.load(Path(job))
    project = find_place(folder, project)
    notices = check_start(project)
    values = check_parameters(folder.schema, params or {})
    to_mask(values)  # a secret that isn't there is told before anything starts
    history = History.of(project)
    place = project.state / "jobs" / folder.name
    outbox = Outbox(project.state / "jobs" / "outbox")
    patience = options.timeout or folder.index.execution.timeout or inf
    lock = locked_job(project, folder.name, key=options.key, patience=patience)
    with ExitStack() as held:
        hold = held.enter_context(lock if options.parent is None else nullcontext(Hold()))
        done = history.done(folder.name, options.key) if options.key else None
        if done is not None:
            return _repeated(done)
        publisher = Publisher.open(project, ledger)
        closing = ""
        if options.parent is None:
            closing = close_lost(history, folder.name, place, publisher)
            clean_job(place, project)
        run = _Run(folder, project, values, options, history, place, notices, outbox)
        run.problem = closing
        with nullcontext(stop) if stop else StopRequest() as stopping:
            hold.on_loss(stopping.request)
            ended = run.go(publisher, Watchers(on_event, on_attempt), stopping, with_page=page is not None)
            held.close()  # the job may run again while this run is being published
            if options.parent is None:
                delivered = deliver(publisher, outbox, project, page=page, stop=stopping, run=run.run)
                run.problem = run.problem or delivered.problem
    if options.parent is None:
        clean_if_due(project)
    if ended.error is not None:
        raise ended.error
    return run.result(ended, publisher)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a run ended; `error` is why nothing of it, or nothing more, was run."""

    outcome: Outcome
    attempts: tuple[AttemptResult, ...]
    seconds: float
    error: ProdkitError | None = None


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who wants to know what happens while a job runs."""

    on_event: OnEvent | None = None
    on_attempt: Callable[[AttemptResult], None] | None = None

    def event(self, event: Event) -> None:
        """Something began or ended."""
        if self.on_event is not None:
            self.on_event(event)

    def attempt(self, result: AttemptResult) -> None:
        """An attempt has ended."""
        if self.on_attempt is not None:
            self.on_attempt(result)


class _Run:
    def __init__(
        self,
        folder: JobFolder,
        project: Project,
        values: dict[str, Any],
        options: RunOptions,
        history: History,
        place: Path,
        notices: tuple[str, ...],
        outbox: Outbox,
    ) -> None:
        self.notices, self.outbox, self.problem = notices, outbox, ""
        self.folder, self.project, self.values = folder, project, values
        self.options, self.history = options, history
        self.run = new_id("job")
        self.place = place / self.run
        self.params = as_json(folder.schema, values)
        earlier = find_resumable(history, folder.name, options.resume, self.params, place) if options.resume else None
        self.kept = Kept(self.place / "kept", place / earlier.run / "kept" if earlier else None)
        if earlier is None and options.key:  # the same work, begun before: what it has paid for isn't paid for again
            earlier = history.unfinished(folder.name, options.key)
        self.earlier = earlier.run if earlier else ""
        which = options.replay
        self.replayed = find_replayable(history, project, folder.name, which, self.params) if which else ""
        how = folder.index.execution
        self.deadline = time.monotonic() + (options.timeout or how.timeout or inf)
        self.policy = Policy(
            retries=how.retries if options.retries is None else options.retries,
            wait=how.retry_wait if options.retry_wait is None else options.retry_wait,
            deadline=self.deadline,
            retry_dead_kernel=options.retry_dead_kernel,
        )

    def go(self, publisher: Publisher, watchers: Watchers, stop: StopRequest, *, with_page: bool) -> _Ended:
        began, started = time.monotonic(), now()
        self.place.mkdir(parents=True)
        parent = self.options.parent
        self.history.begin(
            self.run, self.folder.name, key=self.options.key, params=self.params, parent=parent.key if parent else ""
        )
        forget_old(self.project)
        if self.earlier:
            take_over(self.project, self.earlier, self.run)
        attempts: tuple[AttemptResult, ...] = ()
        outcome, refused = Outcome.FAILED, None
        try:
            publisher.begin(self.run, self.folder, self.params, parent)
            self._note(run_id=publisher.run_id, url=publisher.url)
            watchers.event(RunEvent(self.folder.name, self.run, publisher.run_id, publisher.url))
            self.notices += check_data(self.folder, self.project, self.values, publisher.data_checked)
            attempts = self._attempts(publisher, watchers, stop)
            self.history.check(self.run)
            outcome = attempts[-1].outcome
            if stop.asked and self.policy.transient(outcome):
                outcome = Outcome.TERMINATED  # the signal came in the wait for the next attempt
        except ProdkitError as error:
            outcome, refused = by_exit_code(error.exit_code), error
            self._note(error=error.code)
        finally:
            ended = _Ended(outcome, attempts, time.monotonic() - began, refused)
            self._end(ended, publisher, started, with_page=with_page)
        return ended

    def _attempts(self, publisher: Publisher, watchers: Watchers, stop: StopRequest) -> tuple[AttemptResult, ...]:
        attempter = self._attempter(publisher, watchers.event, stop)

        def attempt(number: int) -> AttemptResult:
            result = attempter.run(number)
            self.problem = self.problem or attempter.problem
            self._note(attempts=number, error=result.error_class)
            watchers.attempt(result)
            return result

        return run_attempts(attempt, self.policy, stop, watchers.event)

    def _end(self, ended: _Ended, publisher: Publisher, started: datetime, *, with_page: bool) -> None:
        """Put the end on record: what is to be published first, so that a kill at any moment loses nothing of it."""
        parent = self.options.parent
        with self.outbox.claimed(self.run):
            waiting = self._waiting(ended, publisher, started, with_page=with_page and parent is None)
            self._try("The end of the run couldn't be recorded", self.history.end, self.run, ended.outcome)
            if ended.outcome is Outcome.OK:
                self.kept.clear()
                if not self.options.keep_answers:
                    self._try("Kept answers couldn't be removed", remove, self.project, self.run)
            if waiting is not None:
                self.problem = write_records(publisher, self.outbox, waiting) or self.problem
        last = ended.attempts[-1:]
        cost = self._cost(ended, publisher)
        self._note(output=str(last[0].output) if last else "", cost=None if cost is None else str(cost))

    def _waiting(self, ended: _Ended, publisher: Publisher, started: datetime, *, with_page: bool) -> Waiting | None:
        """What is to be published of the run; None when nothing of it could be recorded."""
        if publisher.handle.key != self.run:
            return None  # it couldn't be opened, and that error is on its way
        try:
            ending = publisher.ending(ended.outcome, ended.attempts, self._files(ended))
            todo = (RECORDS, PAGE) if with_page else (RECORDS,)
            waiting = Waiting(self.run, self.folder.name, started.isoformat(), todo, ending)
        except Exception as error:
            self.problem = told("The end of the run couldn't be described", error)
            return None
        self._try("What is to be published couldn't be kept", self.outbox.put, waiting)
        return waiting

    def _files(self, ended: _Ended) -> dict[Path, str]:
        """The run's files that become artifacts, with their paths there."""
        record, report = self.place / "run.json", self.place / "report.html"
        arguments = (self.folder.name, self.run, ended.outcome, ended.attempts, ended.seconds, self.params)
        self._try("run.json couldn't be written", write_record, record, *arguments)
        why = f"{ended.error.code}: {ended.error.what}" if ended.error is not None else ""
        text = to_html(self.folder.name, ended.outcome, ended.attempts, why)
        self._try("report.html couldn't be written", report.write_text, text, "utf-8")
        last = {one.output: f"notebook/{one.output.name}" for one in ended.attempts[-1:] if one.output is not None}
        return {**last, record: record.name, report: report.name}

    def _note(self, **values: str | int | None) -> None:
        self._try("The history of runs couldn't be written", self.history.note, self.run, **values)

    def _try(self, what: str, act: Callable[..., object], *arguments: Any, **named: Any) -> None:
        """Do what must not change how the run ends; what goes wrong becomes one line."""
        try:
            act(*arguments, **named)
        except Exception as error:
            self.problem = self.problem or told(what, error)

    def _cost(self, ended: _Ended, publisher: Publisher) -> Decimal | None:
        """Of an item: what its kernels say, until the fan-out reads all of them from the journal."""
        if self.options.parent is None:
            return publisher.cost()
        cells = [cell.cost for attempt in ended.attempts for cell in attempt.cells]
        return None if None in cells else sum((cost for cost in cells if cost is not None), Decimal(0))

    def _attempter(self, publisher: Publisher, on_event: OnEvent, stop: StopRequest) -> Attempter:
        return Attempter(
            self.folder,
            self.project,
            self.values,
            run=self.run,
            place=self.place,
            publisher=publisher,
            outbox=self.outbox,
            deadline=self.deadline,
            cell_timeout=self.options.cell_timeout or self.folder.index.execution.cell_timeout,
            kept=self.kept,
            stop=stop,
            on_event=on_event,
            replay=self.replayed,
            logical_date=self.options.logical_date,
            shared=self.options.shared,
            forked=self.options.parent is not None and not self.options.fresh_kernels,
            log_output=self.options.log_output,
        )

    def result(self, ended: _Ended, publisher: Publisher) -> JobResult:
        return JobResult(
            job=self.folder.name,
            run=self.run,
            outcome=ended.outcome,
            attempts=ended.attempts,
            seconds=ended.seconds,
            run_id=publisher.run_id,
            url=publisher.url,
            output=ended.attempts[-1].output,
            cost=self._cost(ended, publisher),
            calls=publisher.calls(),
            notices=self.notices,
            problem=self.problem,
        )


def _repeated(entry: Entry) -> JobResult:
    return JobResult(
        job=entry.job,
        run=entry.run,
        outcome=entry.outcome,
        attempts=(),
        seconds=0.0,
        run_id=entry.run_id,
        url=entry.url,
        output=Path(entry.output) if entry.output else None,
        repeated=True,
        cost=None if entry.cost is None else Decimal(entry.cost),
        host=entry.host,
    )
