"""Runs a job folder: everything is checked before anything is spent, and every end is told as it was."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.errors import ProdkitError
from prodkit.jobs.attempt import Attempter
from prodkit.jobs.attempts import AttemptResult, Policy, run_attempts
from prodkit.jobs.closing import close_lost
from prodkit.jobs.ends import Outcome, by_exit_code
from prodkit.jobs.exclusion import Hold, locked_job
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.history import Entry, History
from prodkit.jobs.kept import Kept
from prodkit.jobs.parameters import as_json, check_parameters
from prodkit.jobs.preflight import check_data
from prodkit.jobs.publishing import Publisher
from prodkit.jobs.report import write_record
from prodkit.jobs.resuming import find_replayable, find_resumable
from prodkit.jobs.retention import clean_job
from prodkit.jobs.secret_values import to_mask
from prodkit.jobs.signals import StopRequest
from prodkit.jobs.starting import check_start, find_place
from prodkit.ledger.replay import forget_old, remove, take_over
from prodkit.records import RunHandle, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from prodkit.jobs.events import AttemptEvent, CellEvent, OnEvent
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
    fresh_kernels: bool = False  # also for the items of a fan-out, whose kernels are else forked, imports behind them
    budget: Decimal | None = None  # US dollars for all items of a fan-out; else the manifest's `per_run` is for all
    shared: SharedBudget | None = None  # what the items of a fan-out may spend together
    parent: RunHandle | None = None  # the fan-out that this run is an item of, which then holds the lock and publishes


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended. `cost` is in US dollars and None when it isn't known; `url` and `run_id` are MLflow's."""

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
    problem: str = ""  # why records haven't reached MLflow yet

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

    Returns:
        How it ended; the notebook's own failures are told here and not raised.

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
    patience = options.timeout or folder.index.execution.timeout or inf
    lock = locked_job(project, folder.name, key=options.key, patience=patience)
    with lock if options.parent is None else nullcontext(Hold()) as hold:
        done = history.done(folder.name, options.key) if options.key else None
        if done is not None:
            return _repeated(done)
        publisher = Publisher.open(project, ledger)
        if options.parent is None:
            close_lost(history, folder.name, place, publisher)
            clean_job(place, project)
        run = _Run(folder, project, values, options, history, place, notices)
        with nullcontext(stop) if stop else StopRequest() as stopping:
            hold.on_loss(stopping.request)
            return run.go(publisher, Watchers(on_event, on_attempt), stopping)


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who wants to know what happens while a job runs."""

    on_event: OnEvent | None = None
    on_attempt: Callable[[AttemptResult], None] | None = None

    def event(self, event: AttemptEvent | CellEvent) -> None:
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
    ) -> None:
        self.notices = notices
        self.folder, self.project, self.values = folder, project, values
        self.options, self.history = options, history
        self.run = new_id("job")
        self.place = place / self.run
        self.params = as_json(folder.schema, values)
        earlier = find_resumable(history, folder.name, options.resume, self.params) if options.resume else None
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

    def go(self, publisher: Publisher, watchers: Watchers, stop: StopRequest) -> JobResult:
        began = time.monotonic()
        self.place.mkdir(parents=True)
        parent = self.options.parent
        self.history.begin(
            self.run, self.folder.name, key=self.options.key, params=self.params, parent=parent.key if parent else ""
        )
        forget_old(self.project)
        if self.earlier:
            take_over(self.project, self.earlier, self.run)
        attempts: tuple[AttemptResult, ...] = ()
        outcome, refused = Outcome.FAILED, ""
        try:
            publisher.begin(self.run, self.folder, self.params, parent)
            self.history.note(self.run, run_id=publisher.run_id, url=publisher.url)
            self.notices += check_data(self.folder, self.project, self.values, publisher.data_checked)
            attempter = self._attempter(publisher, watchers.event, stop)

            def attempt(number: int) -> AttemptResult:
                result = attempter.run(number)
                self.history.note(self.run, attempts=number, error=result.error_class)
                watchers.attempt(result)
                return result

            attempts = run_attempts(attempt, self.policy, stop, watchers.event)
            self.history.check(self.run)
            outcome = attempts[-1].outcome
            if stop.asked and self.policy.transient(outcome):
                outcome = Outcome.TERMINATED  # the signal came in the wait for the next attempt
        except ProdkitError as error:
            outcome = by_exit_code(error.exit_code)
            self.history.note(self.run, error=error.code)
            refused = f"{error.code}: {error.what}"
            raise
        finally:
            self.history.end(self.run, outcome)
            if outcome is Outcome.OK:
                self.kept.clear()
                if not self.options.keep_answers:
                    remove(self.project, self.run)
            self._publish(publisher, outcome, attempts, time.monotonic() - began, refused)
        return self._result(attempts, outcome, time.monotonic() - began, publisher)

    def _attempter(self, publisher: Publisher, on_event: OnEvent, stop: StopRequest) -> Attempter:
        return Attempter(
            self.folder,
            self.project,
            self.values,
            run=self.run,
            place=self.place,
            publisher=publisher,
            deadline=self.deadline,
            cell_timeout=self.options.cell_timeout or self.folder.index.execution.cell_timeout,
            kept=self.kept,
            stop=stop,
            on_event=on_event,
            replay=self.replayed,
            shared=self.options.shared,
            forked=self.options.parent is not None and not self.options.fresh_kernels,
        )

    def _publish(
        self,
        publisher: Publisher,
        outcome: Outcome,
        attempts: tuple[AttemptResult, ...],
        seconds: float,
        refused: str,
    ) -> None:
        record = self.place / "run.json"
        write_record(record, self.folder.name, self.run, outcome, attempts, seconds, self.params)
        publisher.end(outcome, attempts, record, flush=self.options.parent is None, refused=refused)

    def _result(
        self, attempts: tuple[AttemptResult, ...], outcome: Outcome, seconds: float, publisher: Publisher
    ) -> JobResult:
        output, cost = attempts[-1].output, publisher.cost() if self.options.parent is None else None
        self.history.note(self.run, output=str(output), cost=None if cost is None else str(cost))
        return JobResult(
            job=self.folder.name,
            run=self.run,
            outcome=outcome,
            attempts=attempts,
            seconds=seconds,
            run_id=publisher.run_id,
            url=publisher.url,
            output=output,
            cost=cost,
            notices=self.notices,
            problem=publisher.problem,
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
    )
