"""A job's runs in the ledger: a job run, and under it one run an attempt, with notebooks and report as artifacts."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit.errors import ProdkitError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.report import to_html
from prodkit.ledger.orphans import open_below
from prodkit.ledger.review import roll_up, runs_since
from prodkit.ownership import resolve
from prodkit.records import RunHandle, RunSpec, Status, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from prodkit.jobs.attempts import AttemptResult
    from prodkit.jobs.folder import JobFolder
    from prodkit.ledger import Ledger
    from prodkit.ledger.review import RunView
    from prodkit.manifest import Project

_OWNING_ACTIVITY = "uptime"
_PARAM_LENGTH = 500
_KILLED = frozenset({Outcome.KERNEL_DIED, Outcome.TERMINATED})
_KILLING = frozenset({"CellTimeout", "JobDeadline", "OutputTimeout"})  # after these the kernel may not leave by itself
_FLUSH_SECONDS, _FLUSH_SECONDS_WHEN_STOPPED = 20.0, 3.0  # what isn't shipped by then waits in the journal


class Publisher:
    """Writes a job's runs through the ledger, which keeps them safe while MLflow can't be reached.

    Args:
        project: whose experiment it is.
        ledger: where records go.
    """

    def __init__(self, project: Project, ledger: Ledger) -> None:
        self._project, self._ledger = project, ledger
        self._job = RunHandle("", "")
        self._name, self._begun = "", now()

    @classmethod
    def open(cls, project: Project, ledger: Ledger | None) -> Publisher:
        """With the given ledger, else the project's own."""
        if ledger is None:
            from prodkit.ledger import Ledger as Own

            ledger = Own.open(project)
        return cls(project, ledger)

    @property
    def run_id(self) -> str:
        """MLflow's id of the job run; "" until MLflow has answered."""
        return self._job.run_id

    @property
    def handle(self) -> RunHandle:
        """The job run, for runs that lie under it."""
        return self._job

    @property
    def url(self) -> str:
        """Where the job run is seen."""
        return self._job.url

    @property
    def problem(self) -> str:
        """Why records haven't reached MLflow; "" when they have."""
        return self._ledger.problem

    def begin(self, run: str, folder: JobFolder, params: Mapping[str, Any], parent: RunHandle | None = None) -> None:
        """Open the job run, with typed params, owner and source as tags."""
        self._name = folder.name
        self._job = self._ledger.start_run(
            RunSpec(
                name=folder.name,
                kind="item" if parent else "job",
                key=run,
                parent_key=parent.key if parent else "",
                parent_run_id=parent.run_id if parent else "",
                params={name: str(value)[:_PARAM_LENGTH] for name, value in params.items()},
                tags=self._tags(run, folder),
            )
        )

    def data_checked(self, source: str, report: str) -> None:
        """Keep the report of a source's check, which was made before anything was spent."""
        self._ledger.log_text(self._job, report, f"validation/{source}.html")

    def attempt(self, key: str, number: int) -> RunHandle:
        """Open the run of one attempt under the job run."""
        return self._ledger.start_run(
            RunSpec(
                name=f"{self._name} attempt {number}",
                kind="attempt",
                key=key,
                parent_key=self._job.key,
                parent_run_id=self._job.run_id,
                tags={"prodkit.job": self._name, "prodkit.job_run": self._job.key, "prodkit.attempt": str(number)},
            )
        )

    def attempt_ended(self, handle: RunHandle, result: AttemptResult) -> None:
        """Close an attempt's run; its executed notebook becomes an artifact."""
        if result.output is not None and result.output.is_file():
            self._ledger.log_file(handle, result.output, f"notebook/{result.output.name}")
        tags = _end_tags(result.outcome) | ({"prodkit.error": result.error_class} if result.error_class else {})
        metrics = {"seconds": result.seconds, "waited_seconds": result.waited}
        if result.outcome in _KILLED or result.error_class in _KILLING:
            self._close_below([handle.key])
        self._ledger.end_run(handle, status=status_of(result.outcome), metrics=metrics, tags=tags)

    def end(
        self,
        outcome: Outcome,
        attempts: tuple[AttemptResult, ...],
        record: Path,
        *,
        flush: bool = True,
        refused: str = "",
    ) -> None:
        """Close the job run: last notebook, report and record become artifacts. `refused`: why nothing ran."""
        if not self._job.key:
            return  # it couldn't be opened, and that error is on its way
        for attempt in attempts[-1:]:
            if attempt.output is not None and attempt.output.is_file():
                self._ledger.log_file(self._job, attempt.output, f"notebook/{attempt.output.name}")
        if record.is_file():
            self._ledger.log_file(self._job, record)
        self._ledger.log_text(self._job, to_html(self._name, outcome, attempts, refused), "report.html")
        metrics = {"attempts": float(len(attempts)), "seconds": sum(a.seconds + a.waited for a in attempts)}
        self._ledger.end_run(self._job, status=status_of(outcome), metrics=metrics, tags=_end_tags(outcome))
        if flush:
            self._ledger.flush(_FLUSH_SECONDS_WHEN_STOPPED if outcome is Outcome.TERMINATED else _FLUSH_SECONDS)
            self._roll_up()

    def close_lost(self, run: str) -> None:
        """Close the run of a job whose runner was killed, and all below it that was at work: attempts, cells."""
        self._close_below([run])
        self._close(run)

    def _close_below(self, keys: Sequence[str]) -> None:
        """Close what a process has begun below these runs that was killed before it could."""
        for key in open_below(self._project, keys):
            self._close(key)

    def _close(self, key: str) -> None:
        handle = RunHandle(key, self._name)
        self._ledger.end_run(handle, status=Status.ABORTED, metrics={}, tags=_end_tags(Outcome.LOST))

    def end_fanout(self, outcome: Outcome, counts: Mapping[Outcome, int], total: int) -> None:
        """Close the run of a fan-out: how many items there are and how they ended."""
        metrics = {"items": float(total)} | {f"items_{end.value}": float(count) for end, count in counts.items()}
        self._ledger.end_run(self._job, status=status_of(outcome), metrics=metrics, tags=_end_tags(outcome))
        self._ledger.flush(_FLUSH_SECONDS)

    def price_items(self, items: Mapping[str, str]) -> dict[str, Decimal | None]:
        """What each item of a fan-out has cost in US dollars, None when that isn't known.

        Each item's run gets its figures and the fan-out's run their sums, as far as MLflow has the captured cells.

        Args:
            items: an item's run -> MLflow's id of it.
        """
        if not items or not self.run_id or self.problem:
            return {}
        runs = {run.run_id: run for run in runs_since(self._project, self._begun)}
        cells = [run for run in runs.values() if run.kind == "cell" and "cost_usd" in run.metrics]
        by_item: dict[str, list[RunView]] = {}
        for cell in cells:
            for above in _above(cell, runs):
                by_item.setdefault(above, []).append(cell)
        for key, run_id in items.items():
            if by_item.get(run_id):
                self._ledger.log_metrics(RunHandle(key, self._name), roll_up(by_item[run_id]))
        if by_item.get(self.run_id):
            self._ledger.log_metrics(self._job, roll_up(by_item[self.run_id]))
        self._ledger.flush(_FLUSH_SECONDS)
        return {key: _cost(by_item.get(run_id, [])) for key, run_id in items.items()}

    def cost(self) -> Decimal | None:
        """US dollars of all calls that the job's attempts captured; None when that isn't known."""
        return _cost(self._cells())

    def _roll_up(self) -> None:
        """Give the job run the figures of all its attempts' cells, so that a reviewer can sort jobs by them."""
        figures = roll_up(self._cells())
        if figures:
            self._ledger.log_metrics(self._job, figures)
            self._ledger.flush(_FLUSH_SECONDS)

    def _cells(self) -> list[RunView]:
        """The captured cells under the job run, as far as MLflow has them."""
        if not self.run_id or self.problem:
            return []
        runs = {run.run_id: run for run in runs_since(self._project, self._begun)}
        mine = [run for run in runs.values() if "cost_usd" in run.metrics and self._is_mine(run, runs)]
        return [run for run in mine if run.kind == "cell"]

    def _is_mine(self, run: RunView, runs: Mapping[str, RunView]) -> bool:
        """Whether the run lies under the job run, at any depth."""
        return self.run_id in _above(run, runs)

    def _tags(self, run: str, folder: JobFolder) -> dict[str, str]:
        index = folder.index
        return {
            "prodkit.job": folder.name,
            "prodkit.job_run": run,
            "prodkit.service": index.service,
            "prodkit.source_notebook": index.source.notebook,
            "prodkit.source_digest": index.source.digest,
            "prodkit.job_digest": folder.digest,
            "prodkit.version": index.prodkit,
        } | self._owner()

    def _owner(self) -> dict[str, str]:
        try:
            contact = resolve(self._project.manifest, _OWNING_ACTIVITY)
        except ProdkitError:
            return {}  # a waiver let the job start without; there is nobody to name
        # the name, because an address would be redacted like any other
        return {"prodkit.owner": contact.name, "prodkit.page": contact.address}


def _above(run: RunView, runs: Mapping[str, RunView]) -> list[str]:
    """The ids of the runs that a run lies under, the nearest first."""
    found: list[str] = []
    parent = run.parent
    while parent and parent not in found:
        found.append(parent)
        parent = runs[parent].parent if parent in runs else ""
    return found


def _cost(cells: Sequence[RunView]) -> Decimal | None:
    if not cells or any(run.metrics.get("llm_calls_unpriced") for run in cells):
        return None
    return sum((Decimal(repr(run.metrics["cost_usd"])) for run in cells), Decimal(0))


def status_of(outcome: Outcome) -> Status:
    """The ledger's word for an end."""
    return {
        Outcome.OK: Status.OK,
        Outcome.TERMINATED: Status.ABORTED,
        Outcome.RUNNING: Status.RUNNING,
    }.get(outcome, Status.ERROR)


def _end_tags(outcome: Outcome) -> dict[str, str]:
    return {"prodkit.outcome": outcome.value, "prodkit.exit_code": str(outcome.exit_code)}
