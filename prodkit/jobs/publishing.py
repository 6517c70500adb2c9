"""A job's runs in the ledger: a job run, and under it one run an attempt, with notebooks and report as artifacts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prodkit.errors import ProdkitError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.outbox import Ending
from prodkit.ledger.captured import calls_of, captured_cells, cost_of
from prodkit.ledger.destinations import current_destination, is_inside
from prodkit.ledger.orphans import open_below
from prodkit.ledger.review import find_tree, roll_up, runs_tagged
from prodkit.ownership import resolve
from prodkit.records import RunHandle, RunSpec, Status, now

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path

    from prodkit.jobs.attempts import AttemptResult
    from prodkit.jobs.folder import JobFolder
    from prodkit.ledger import Ledger
    from prodkit.ledger.review import RunView
    from prodkit.manifest import Project

_OWNING_ACTIVITY = "uptime"
_PARAM_LENGTH = 500
_KEY_TAG = "prodkit.key"
_KILLED = frozenset({Outcome.KERNEL_DIED, Outcome.TERMINATED})
_KILLING = frozenset({"CellTimeout", "JobDeadline", "OutputTimeout"})  # after these the kernel may not leave by itself


class Publisher:
    """Writes a job's runs through the ledger, which keeps them safe while MLflow can't be reached.

    Args:
        project: whose experiment it is.
        ledger: where records go.
    """

    def __init__(self, project: Project, ledger: Ledger) -> None:
        self._project, self._ledger = project, ledger
        self._job = RunHandle("", "")
        self._name, self._begun, self._of_many = "", now(), False
        self._cells: tuple[RunView, ...] = ()

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
    def name(self) -> str:
        """The job's name; "" before its run has begun."""
        return self._name

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
        self._name, self._of_many = folder.name, parent is not None
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

    def attempt_ending(self, result: AttemptResult) -> Ending:
        """How an attempt's run ends; its executed notebook becomes an artifact."""
        tags = _end_tags(result.outcome) | ({"prodkit.error": result.error_class} if result.error_class else {})
        metrics = {"seconds": result.seconds, "waited_seconds": result.waited}
        output = {} if result.output is None else {result.output: f"notebook/{result.output.name}"}
        return Ending(self._name, status_of(result.outcome).value, metrics, tags, self._below_state(output))

    def close_killed(self, key: str, result: AttemptResult) -> None:
        """Close what a kernel that was killed has begun below its attempt and couldn't end."""
        if result.outcome in _KILLED or result.error_class in _KILLING:
            self._close_below([key])

    def ending(self, outcome: Outcome, attempts: tuple[AttemptResult, ...], files: Mapping[Path, str]) -> Ending:
        """How the job run ends, with what was captured in it. `files`: each with its path among the artifacts."""
        metrics = {"attempts": float(len(attempts)), "seconds": sum(a.seconds + a.waited for a in attempts)}
        if not self._of_many:  # a fan-out sums its items up itself, all in one reading
            self._cells = self._captured((self._job.key,))[self._job.key]
        return self._ending(outcome, metrics, files)

    def fanout_ending(self, outcome: Outcome, counts: Mapping[Outcome, int], total: int, skipped: int) -> Ending:
        """How the run of a fan-out ends: how many items there are, how they ended, and what `price_items` has found."""
        metrics = {"items": float(total), "items_skipped": float(skipped)}
        metrics |= {f"items_{end.value}": float(count) for end, count in counts.items()}
        return self._ending(outcome, metrics, {})

    def _ending(self, outcome: Outcome, metrics: dict[str, float], files: Mapping[Path, str]) -> Ending:
        tags, known = _end_tags(outcome), self._below_state(files)
        return Ending(self._name, status_of(outcome).value, metrics | roll_up(self._cells), tags, known)

    def _below_state(self, files: Mapping[Path, str]) -> dict[str, str]:
        """Where files lie below the state folder, which may be somewhere else when they are read again."""
        state = self._project.state
        return {path.relative_to(state).as_posix(): name for path, name in files.items() if path.is_file()}

    def write(self, run: str, ending: Ending) -> None:
        """Put the end of a run and its artifacts into the journal, from where they go to MLflow."""
        handle = self._job if run == self._job.key else RunHandle(run, ending.name)
        for path, name in ending.files.items():
            if (file := self._project.state / path).is_file():  # what is too old was removed
                self._ledger.log_file(handle, file, name)
        self._ledger.end_run(handle, status=Status(ending.status), metrics=ending.metrics, tags=ending.tags)

    def cost(self) -> Decimal | None:
        """US dollars of all calls that the job's attempts captured; None when a price isn't known."""
        return cost_of(self._cells)

    def calls(self) -> int:
        """How many calls the job's attempts captured."""
        return calls_of(self._cells)

    def clean(self, text: str) -> str:
        """A text as the ledger would write it."""
        return self._ledger.clean(text)

    def flush(self, seconds: float) -> str:
        """Wait until MLflow has everything; why it hasn't after so many seconds, "" when it has."""
        report = self._ledger.flush(seconds)
        return "" if report is None or not report.pending else self.problem or report.reason

    def find(self, run: str) -> str:
        """MLflow's id of a run of ours; "" while MLflow doesn't know it."""
        return self._ledger.run_id(run)

    def knows(self, run: str) -> bool:
        """Whether a run was recorded in this folder, and has come to whichever MLflow."""
        return bool(self.find(run) or self._ledger.url(RunHandle(run, "")))

    def learn(self) -> str:
        """MLflow's id of the job run; asks once more where it wasn't known when the run began."""
        if not self._job.run_id and self._job.key and (run_id := self.find(self._job.key)):
            self._job = replace(self._job, run_id=run_id, url=self.place_of(self._job.key))
        return self._job.run_id

    def place_of(self, run: str) -> str:
        """Where a run of ours is seen; "" while MLflow doesn't know it."""
        return self._ledger.url(RunHandle(run, ""))

    def close_lost(self, runs: Sequence[str]) -> None:
        """Close runs of jobs whose runners were killed, and all below them that was at work: attempts, cells."""
        self._close_below(runs)
        for run in runs:
            self._close(run)

    def close_lost_elsewhere(self, runs: Mapping[str, str]) -> tuple[str, ...]:
        """Close runs that were begun in other folders: what lies below them, only MLflow knows here.

        Args:
            runs: a run's id -> MLflow's id of it; "" where nobody has noted that.

        Returns:
            The runs that this project's MLflow has.
        """
        if not runs or is_inside(current_destination(self._project)):  # nobody else writes into this folder's own
            return ()
        return tuple(run for run, run_id in runs.items() if self._close_tree(run, run_id))

    def _close_tree(self, run: str, run_id: str) -> bool:
        """Close what is at work of a run in MLflow; False when MLflow has no such run."""
        run_id = run_id or next((view.run_id for view in runs_tagged(self._project, _KEY_TAG, run)), "")
        tree = find_tree(self._project, run_id) if run_id else None
        if tree is None:
            return False
        root, below = tree
        for view in (*reversed(below), root):
            key = view.tags.get(_KEY_TAG, "")
            if key and view.status == "RUNNING":
                self._ledger.adopt(key, view.run_id, view.experiment_id)
                self._close(key)
        return True

    def _close_below(self, keys: Sequence[str]) -> None:
        """Close what a process has begun below these runs that was killed before it could."""
        for key in open_below(self._project, keys):
            self._close(key)

    def _close(self, key: str) -> None:
        handle = RunHandle(key, self._name)
        self._ledger.end_run(handle, status=Status.ABORTED, metrics={}, tags=_end_tags(Outcome.LOST))

    def _captured(self, runs: Collection[str]) -> dict[str, tuple[RunView, ...]]:
        """The captured cells of runs of ours; none of them where the journal can't be read."""
        try:
            return captured_cells(self._project, runs, since=self._begun)
        except OSError:
            return dict.fromkeys(runs, ())

    def price_items(self, items: Collection[str]) -> dict[str, Decimal | None]:
        """What each item of a fan-out has cost in US dollars, None when that isn't known; its run gets its figures.

        Args:
            items: the ids of their runs.
        """
        captured = self._captured((*items, self._job.key))
        self._cells = captured.pop(self._job.key)
        for key, cells in captured.items():
            if cells:
                self._ledger.log_metrics(RunHandle(key, self._name), roll_up(cells))
        return {key: cost_of(cells) for key, cells in captured.items()}

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


def status_of(outcome: Outcome) -> Status:
    """The ledger's word for an end."""
    return {
        Outcome.OK: Status.OK,
        Outcome.TERMINATED: Status.ABORTED,
        Outcome.RUNNING: Status.RUNNING,
    }.get(outcome, Status.ERROR)


def _end_tags(outcome: Outcome) -> dict[str, str]:
    return {"prodkit.outcome": outcome.value, "prodkit.exit_code": str(outcome.exit_code)}
