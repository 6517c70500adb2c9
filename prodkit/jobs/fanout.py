"""One job over many parameter sets: bounded, each item with its own record, and a restart runs only what is missing."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.budget import is_spent_for_all
from prodkit.errors import BudgetError, ProdkitError
from prodkit.jobs.attempt import warm_up
from prodkit.jobs.closing import close_lost
from prodkit.jobs.delivery import deliver, told, write_records
from prodkit.jobs.ends import Outcome, by_exit_code
from prodkit.jobs.exclusion import locked_job
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.forks import close_templates
from prodkit.jobs.history import History
from prodkit.jobs.items import FANOUT_PREFIX, Item, batch_of, key_of, read_items
from prodkit.jobs.outbox import PAGE, RECORDS, Ending, Outbox, Waiting
from prodkit.jobs.publishing import Publisher
from prodkit.jobs.retention import clean_if_due
from prodkit.jobs.runner import RunOptions, SharedBudget, run_job
from prodkit.jobs.signals import StopRequest
from prodkit.jobs.starting import check_start, find_place
from prodkit.records import new_id, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prodkit.jobs.delivery import Page
    from prodkit.jobs.events import Event
    from prodkit.ledger import Ledger
    from prodkit.manifest import Project

_LOOK_BACK = 200
# what the whole ends with when items ended differently: the end that needs a person most
_GRAVEST = (
    Outcome.TERMINATED,
    Outcome.MISCONFIGURED,
    Outcome.BAD_INPUT,
    Outcome.REFUSED,
    Outcome.FAILED,
    Outcome.KERNEL_DIED,
    Outcome.LOST,
    Outcome.TRANSIENT,
)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """How one item ended; `run` is the id of its run, `skipped` says that it had succeeded before.

    `refused` items had no budget left. `cost` is in US dollars, None when it isn't known.
    """

    number: int
    outcome: Outcome
    seconds: float = 0.0
    attempts: int = 0
    error: str = ""
    run: str = ""
    skipped: bool = False
    run_id: str = ""
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FanoutResult:
    """How the whole ended. `missing` items were not begun, because it was stopped or can't work anywhere."""

    job: str
    run: str
    items: tuple[ItemResult, ...]
    missing: int
    seconds: float
    run_id: str = ""
    url: str = ""
    problem: str = ""
    cost: Decimal | None = None  # US dollars of this run's items; None when that isn't known

    @property
    def counts(self) -> dict[str, int]:
        """Items by outcome."""
        return dict(Counter(item.outcome.value for item in self.items))

    @property
    def outcome(self) -> Outcome:
        """Ok when every item is; else the gravest end among them."""
        ends = {item.outcome for item in self.items}
        grave = next((end for end in _GRAVEST if end in ends), Outcome.OK)
        return Outcome.TERMINATED if grave is Outcome.OK and self.missing else grave


@dataclass(frozen=True, slots=True)
class Work:
    """An item with all that a worker needs to run it, picklable."""

    job: Path
    item: Item
    options: RunOptions
    project: Project


def run_over(
    job: Path | str,
    over: Path,
    params: Mapping[str, object] | None = None,
    *,
    options: RunOptions | None = None,
    workers: int | None = None,
    again: bool = False,
    run_items: Callable[[list[Work], StopRequest], Iterator[ItemResult]] | None = None,
    project: Project | None = None,
    ledger: Ledger | None = None,
    on_start: Callable[[int], None] | None = None,
    on_item: Callable[[ItemResult, int], None] | None = None,
    on_event: Callable[[int, Event], None] | None = None,
    stop: StopRequest | None = None,
    page: Page | None = None,
) -> FanoutResult:
    """Run a job once for each row of a file.

    Args:
        job: the folder that `prodkit export` wrote.
        over: `.csv` or `.parquet`; a column is a parameter.
        params: parameters that all items share.
        options: how each item is run.
        workers: items at a time on this machine; default: its processors.
        again: also run the items that have succeeded for this file before.
        run_items: runs the items somewhere else, see `prodkit.jobs.dask_workers`.
        project: the project that it runs in.
        ledger: where runs are recorded.
        on_start: called with how many items there are, once all of them fit the job.
        on_item: called with each item that has ended, and how many there are.
        on_event: called with an item's number and each event of its run, where items run in this process.
        stop: a request to stop that somebody else makes; default: SIGTERM and SIGINT.
        page: writes the reviewer's page of the fan-out's run; see `prodkit.jobs.delivery`.

    Raises:
        ParameterError: a row doesn't fit; nothing was run.
        ConfigError: as for `run_job`; nothing was run.
        TransientError: `jobs.locked`.
    """
    folder = JobFolder.load(Path(job))
    project = find_place(folder, project)
    check_start(project)
    items = read_items(Path(over), folder.schema, params or {})
    if on_start is not None:
        on_start(len(items))
    place = project.state / "jobs" / folder.name
    with ExitStack() as held, stop or StopRequest() as stopping:
        hold = held.enter_context(locked_job(project, folder.name))
        hold.on_loss(stopping.request)
        fan = _Fanout(folder, project, Path(over), items, options or RunOptions(), again=again)
        publisher = Publisher.open(project, ledger)
        fan.problem = close_lost(fan.history, folder.name, place, publisher)
        if run_items is None and not fan.options.fresh_kernels:  # its imports take seconds, as MLflow's here do
            threading.Thread(target=warm_up, args=(folder, project), daemon=True).start()
        runner = run_items or _Local(workers, ledger, on_event)
        whole = fan.go(publisher, runner, on_item, stopping, with_page=page is not None)
        held.close()  # the job may run again while this run is being published
        delivered = deliver(publisher, fan.outbox, project, page=page, stop=stopping, run=fan.run)
    problem = whole.problem or delivered.problem
    return replace(whole, run_id=publisher.run_id, url=publisher.url, problem=problem)


class _Fanout:
    def __init__(
        self,
        folder: JobFolder,
        project: Project,
        over: Path,
        items: tuple[Item, ...],
        options: RunOptions,
        *,
        again: bool,
    ) -> None:
        self.folder, self.project, self.over = folder, project, over
        self.items, self.options = items, options
        self.cost: Decimal | None = None
        self.run, self.problem = new_id(FANOUT_PREFIX), ""
        self.outbox = Outbox(project.state / "jobs" / "outbox")
        self.history = History.of(project)
        self.batch = batch_of(folder, salt=self.run if again else "")
        budget = options.budget if options.budget is not None else project.manifest.budget.per_run
        self.place = project.state / "jobs" / folder.name
        self.shared = SharedBudget(self._first_run(), budget, self.place / f"{self.run}.spent")

    def _first_run(self) -> str:
        """The id of the fan-out that this one goes on with, so that a restart doesn't begin with a full purse."""
        for entry in self.history.entries(self.folder.name, limit=_LOOK_BACK, parent=""):
            known = entry.params
            if (known.get("batch"), known.get("over")) == (self.batch, self.over.name):
                return self.run if entry.outcome is Outcome.OK else str(known["first"])
        return self.run

    def go(
        self,
        publisher: Publisher,
        run_items: Callable[[list[Work], StopRequest], Iterator[ItemResult]],
        on_item: Callable[[ItemResult, int], None] | None,
        stop: StopRequest,
        *,
        with_page: bool,
    ) -> FanoutResult:
        began, started = time.monotonic(), now().isoformat()
        params = {"over": self.over.name, "items": len(self.items), "batch": self.batch, "first": self.shared.key}
        self.history.begin(self.run, self.folder.name, params=params)
        results: list[ItemResult] = []
        outcome = Outcome.FAILED
        try:
            publisher.begin(self.run, self.folder, params)
            self._try("The history of runs couldn't be written", self._note_place, publisher)
            done, missing = self._sort(publisher)
            for result in done:
                self._note(result, results, on_item)
            for result in run_items(missing, stop):
                self._note(result, results, on_item)
            whole = self._result(results, publisher, time.monotonic() - began)
            outcome = Outcome.TERMINATED if stop.asked else whole.outcome
        finally:
            todo = (RECORDS, PAGE) if with_page else (RECORDS,)
            self._end(publisher, outcome, results, Waiting(self.run, self.folder.name, started, todo, Ending("", "")))
        clean_if_due(self.project)
        return self._result(results, publisher, time.monotonic() - began)

    def _note_place(self, publisher: Publisher) -> None:
        self.history.note(self.run, run_id=publisher.run_id, url=publisher.url)

    def _end(self, publisher: Publisher, outcome: Outcome, results: list[ItemResult], waiting: Waiting) -> None:
        """Put the end on record: what is to be published first, so that a kill at any moment loses nothing of it."""
        counts, skipped = Counter(item.outcome for item in results), sum(item.skipped for item in results)
        with self.outbox.claimed(self.run):
            opened = publisher.handle.key == self.run
            waiting = replace(waiting, ending=publisher.fanout_ending(outcome, counts, len(self.items), skipped))
            if opened:
                self._try("What is to be published couldn't be kept", self.outbox.put, waiting)
            self._try("The end of the run couldn't be recorded", self.history.end, self.run, outcome)
            self.shared.spent.unlink(missing_ok=True)
            workers = close_lost(self.history, self.folder.name, self.place, publisher, parent=self.run)  # that died
            self.problem = self.problem or workers
            self._try("The items' costs couldn't be recorded", self._price, results, publisher)
            waiting = replace(waiting, ending=publisher.fanout_ending(outcome, counts, len(self.items), skipped))
            if opened:
                self.problem = write_records(publisher, self.outbox, waiting) or self.problem

    def _price(self, results: list[ItemResult], publisher: Publisher) -> None:
        """Say in each item's result, run and history what it has cost, and in those of the whole their sum."""
        costs = publisher.price_items([result.run for result in results if result.run and not result.skipped])
        for run, cost in costs.items():
            self.history.note(run, cost=None if cost is None else str(cost))
        results[:] = [replace(result, cost=costs.get(result.run, result.cost)) for result in results]
        begun = [result for result in results if not result.skipped and result.run]
        self.cost = total(result.cost for result in begun) if begun else Decimal(0)
        self.history.note(self.run, cost=None if self.cost is None else str(self.cost))

    def _try(self, what: str, act: Callable[..., object], *arguments: object) -> None:
        """Do what must not change how the items have ended; what goes wrong becomes one line."""
        try:
            act(*arguments)
        except Exception as error:
            self.problem = self.problem or told(what, error)

    def _sort(self, publisher: Publisher) -> tuple[list[ItemResult], list[Work]]:
        """The items that have succeeded before, and those that are missing."""
        done: list[ItemResult] = []
        missing: list[Work] = []
        for item in self.items:
            key = key_of(self.batch, item)
            earlier = self.history.done(self.folder.name, key)
            if earlier is not None:
                cost = None if earlier.cost is None else Decimal(earlier.cost)
                done.append(ItemResult(item.number, Outcome.OK, run=earlier.run, skipped=True, cost=cost))
                continue
            options = replace(self.options, key=key, parent=publisher.handle, resume="", shared=self.shared)
            missing.append(Work(self.folder.path, item, options, self.project))
        return done, missing

    def _note(
        self, result: ItemResult, results: list[ItemResult], on_item: Callable[[ItemResult, int], None] | None
    ) -> None:
        results.append(result)
        if on_item is not None:
            on_item(result, len(self.items))

    def _result(self, results: list[ItemResult], publisher: Publisher, seconds: float) -> FanoutResult:
        ordered = tuple(sorted(results, key=lambda result: result.number))
        return FanoutResult(
            job=self.folder.name,
            run=self.run,
            items=ordered,
            missing=len(self.items) - len(ordered),
            seconds=seconds,
            run_id=publisher.run_id,
            url=publisher.url,
            problem=self.problem,
            cost=self.cost,
        )


def run_item(
    work: Work,
    stop: StopRequest,
    ledger: Ledger | None = None,
    on_event: Callable[[int, Event], None] | None = None,
) -> ItemResult:
    """Run one item, here; whatever happens is told and not raised."""
    began = time.monotonic()
    number, shared = work.item.number, work.options.shared
    if shared is not None and shared.spent.exists():
        return ItemResult(number, Outcome.REFUSED, error="BudgetError")
    try:
        result = run_job(
            work.job,
            work.item.params,
            options=work.options,
            project=work.project,
            ledger=ledger,
            on_event=None if on_event is None else partial(on_event, number),
            stop=stop,
        )
    except ProdkitError as error:
        return ItemResult(number, by_exit_code(error.exit_code), time.monotonic() - began, error=error.code)
    except Exception as error:  # one item must not take the others with it
        return ItemResult(number, Outcome.FAILED, time.monotonic() - began, error=type(error).__name__)
    last = result.attempts[-1] if result.attempts else None
    outcome = result.outcome
    if last is not None and outcome is Outcome.BAD_INPUT and last.error_class == BudgetError.__name__:
        outcome = Outcome.REFUSED
        if shared is not None and is_spent_for_all(last.message):
            shared.spent.touch()
    return ItemResult(
        number=number,
        outcome=outcome,
        seconds=result.seconds,
        attempts=len(result.attempts),
        error=last.error_class if last is not None else "",
        run=result.run,
        skipped=result.repeated,
        run_id=result.run_id,
        cost=result.cost,
    )


def total(costs: Iterable[Decimal | None]) -> Decimal | None:
    """The sum; None when there is nothing to add up, or one of them isn't known."""
    known = list(costs)
    unknown = not known or any(cost is None for cost in known)
    return None if unknown else sum((cost for cost in known if cost is not None), Decimal(0))


class _Local:
    """Threads of this process, each with a kernel of its own."""

    def __init__(
        self, workers: int | None, ledger: Ledger | None, on_event: Callable[[int, Event], None] | None = None
    ) -> None:
        self._workers, self._ledger, self._on_event = workers or os.cpu_count() or 1, ledger, on_event

    def __call__(self, works: list[Work], stop: StopRequest) -> Iterator[ItemResult]:
        """Results as items end. No item begins after a stop, or after one for which nothing here is set up."""
        try:
            yield from self._run(works, stop)
        finally:
            close_templates()

    def _run(self, works: list[Work], stop: StopRequest) -> Iterator[ItemResult]:
        coming = iter(works)
        running: set[Future[ItemResult]] = set()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="prodkit-item") as pool:
            hopeless = False
            while True:
                while len(running) < self._workers and not (stop.asked or hopeless):
                    work = next(coming, None)
                    if work is None:
                        break
                    running.add(pool.submit(run_item, work, stop, self._ledger, self._on_event))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    hopeless = hopeless or result.outcome is Outcome.MISCONFIGURED
                    yield result
