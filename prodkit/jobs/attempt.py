"""One attempt: a copy of the job's notebook with its parameters, executed by papermill in a fresh kernel."""

from __future__ import annotations

import os
import time
from math import inf
from typing import TYPE_CHECKING, Any

from prodkit.errors import KernelDiedError, ProdkitError, TerminatedError, TransientError
from prodkit.jobs.attempts import AttemptResult
from prodkit.jobs.delivery import told, write_records
from prodkit.jobs.ends import Failure, Outcome, by_exit_code
from prodkit.jobs.outbox import RECORDS, Waiting
from prodkit.jobs.outputs import OutputLines
from prodkit.jobs.parameters import as_code, as_json
from prodkit.jobs.secret_values import as_line, is_reference, to_mask
from prodkit.manifest.project import SIMULATION_VARIABLE
from prodkit.records import RunHandle, now
from prodkit.redaction import redact

if TYPE_CHECKING:
    from pathlib import Path

    from nbformat import NotebookNode

    from prodkit.jobs.events import OnEvent
    from prodkit.jobs.folder import JobFolder
    from prodkit.jobs.forks import Template
    from prodkit.jobs.kept import Kept
    from prodkit.jobs.outbox import Outbox
    from prodkit.jobs.publishing import Publisher
    from prodkit.jobs.record import End
    from prodkit.jobs.runner import SharedBudget
    from prodkit.jobs.signals import StopRequest
    from prodkit.manifest import Project

_MESSAGE_LENGTH = 300
_NO_STALLS = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_MODEL_CATALOG_URI": ""}
# by default MLflow's client tries for minutes, while a job has retries of its own: a server that is away is known
# within seconds, and one that takes 10 seconds for an answer still works
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


class Attempter:
    """Runs attempts of one run of a job.

    Args:
        folder: the job.
        project: where it runs.
        values: checked parameters.
        run: the run's id, stable over its attempts.
        place: the run's folder; each attempt leaves its notebook there.
        publisher: the run's place in the ledger.
        outbox: keeps what couldn't be recorded.
        deadline: a point of `time.monotonic()` for all attempts together.
        cell_timeout: seconds for one cell.
        kept: declared outputs of cells, over attempts.
        stop: asks the attempt to end.
        on_event: told of each cell.
        replay: the run whose kept answers are the only ones that its calls get; empty: calls are sent.
        logical_date: the moment that a scheduled run is for.
        shared: the budget that it shares with other runs.
        forked: take kernels from a template that has the notebook's imports behind it.
        log_output: tell also what the notebook writes.
    """

    def __init__(
        self,
        folder: JobFolder,
        project: Project,
        values: dict[str, Any],
        *,
        run: str,
        place: Path,
        publisher: Publisher,
        outbox: Outbox,
        deadline: float,
        cell_timeout: float | None,
        kept: Kept,
        stop: StopRequest,
        on_event: OnEvent,
        replay: str = "",
        logical_date: str = "",
        shared: SharedBudget | None = None,
        forked: bool = False,
        log_output: bool = False,
    ) -> None:
        self._log_output = log_output
        self._forked, self._shared = forked, shared
        self._folder, self._project, self._values = folder, project, values
        self._run, self._place, self._publisher = run, place, publisher
        self._deadline, self._cell_timeout = deadline, cell_timeout
        self._kept, self._stop, self._on_event = kept, stop, on_event
        self._mask, self._replay, self._outbox = to_mask(values), replay, outbox
        self._logical_date = logical_date
        self.problem = ""  # what couldn't be recorded, in one line

    def run(self, number: int) -> AttemptResult:
        """Run attempt `number` and record it.

        Raises:
            ConfigError: the kernel isn't installed; another attempt wouldn't help.
        """
        began = time.monotonic()
        output = self._place / f"attempt-{number}.ipynb"
        handle = self._begin(f"{self._run}.{number}", number)
        ends: list[End] = []
        failure, cell = Failure(""), None
        try:
            outcome = self._execute(output, self._environment(handle, number), ends)
        except ProdkitError as error:
            outcome, failure = by_exit_code(error.exit_code), Failure(error.code, error.what)
            if outcome is Outcome.MISCONFIGURED:
                self._close(handle, AttemptResult(number, outcome, time.monotonic() - began, error.code, error.what))
                raise
        if ends:
            failure, cell = ends[0].failure or Failure(""), ends[0].cell
        result = AttemptResult(
            number=number,
            outcome=outcome,
            seconds=time.monotonic() - began,
            error_class=failure.name,
            message=redact(failure.message)[:_MESSAGE_LENGTH],
            cell=cell if failure.name else None,
            run_id=handle.run_id,
            output=output,
            cells=ends[0].cells if ends else (),
        )
        self._close(handle, result)
        return result

    def _begin(self, key: str, number: int) -> RunHandle:
        try:
            return self._publisher.attempt(key, number)
        except Exception as error:  # the attempt is what the job is for; its kernel says itself when it can't record
            self.problem = told("The begin of an attempt couldn't be recorded", error)
            return RunHandle(key, self._folder.name)

    def _close(self, handle: RunHandle, result: AttemptResult) -> None:
        try:
            ending = self._publisher.attempt_ending(result)
            waiting = Waiting(handle.key, self._folder.name, now().isoformat(), (RECORDS,), ending)
            self.problem = write_records(self._publisher, self._outbox, waiting) or self.problem
            self._publisher.close_killed(handle.key, result)
        except Exception as error:
            self.problem = told("The end of an attempt couldn't be recorded", error)

    def _execute(self, output: Path, environment: dict[str, str], ends: list[End]) -> Outcome:
        from papermill import execute_notebook
        from papermill.exceptions import PapermillExecutionError

        nb = with_parameters(self._folder, self._values)
        lines = OutputLines(self._on_event, self._publisher.clean) if self._log_output else None
        cwd = self._folder.working_directory(self._project.root)
        try:
            execute_notebook(
                nb,
                str(output),
                engine_name="prodkit",
                kernel_name=self._folder.index.execution.kernel,
                progress_bar=False,
                cwd=None,  # papermill's own would change the whole process's
                kernel_cwd=cwd,
                env=environment,
                cell_timeout=self._cell_timeout,
                deadline=None if self._deadline == inf else self._deadline,
                mask=self._mask,
                checkpoints=self._kept,
                template=warm_up(self._folder, self._project) if self._forked else None,
                stop=self._stop,
                on_event=self._on_event,
                on_end=ends.append,
                on_output=lines.note if lines else None,
            )
        except (PapermillExecutionError, KernelDiedError, TerminatedError, TransientError):
            if not ends:
                raise
        finally:
            if lines:
                lines.close()
        return ends[0].outcome

    def _environment(self, handle: RunHandle, number: int) -> dict[str, str]:
        """What the kernel must know, so that the runs that it captures lie under this attempt."""
        known = {
            "PRODKIT_JOB_RUN": self._run,
            "PRODKIT_ATTEMPT": str(number),
            "PRODKIT_REPLAY": self._replay,
            "PRODKIT_LOGICAL_DATE": self._logical_date,
            "PRODKIT_PARENT_KEY": handle.key,
            "PRODKIT_PARENT_RUN": handle.run_id,
            "MLFLOW_EXPERIMENT_ID": handle.experiment_id,
        }
        if self._shared is not None and self._shared.usd is not None:
            known |= {"PRODKIT_FAN_OUT": self._shared.key, "PRODKIT_FAN_OUT_USD": str(self._shared.usd)}
        return _shared_environment(self._folder, self._project) | _without_empty(known)


def warm_up(folder: JobFolder, project: Project) -> Template | None:
    """The process that kernels of this job are forked from; made at the first call, which takes as long as its imports.

    Returns:
        None where kernels must be started from nothing.
    """
    import nbformat

    from prodkit.jobs.forks import template_for

    nb = nbformat.read(folder.notebook, as_version=4)
    cwd = folder.working_directory(project.root)
    return template_for(folder.index.execution.kernel, nb, _shared_environment(folder, project), cwd)


def _shared_environment(folder: JobFolder, project: Project) -> dict[str, str]:
    """What the kernels of all attempts must know."""
    quiet = {key: value for key, value in (_NO_STALLS | _PATIENCE).items() if key not in os.environ}
    known = {"PRODKIT_PROJECT": str(project.root), "MLFLOW_TRACKING_URI": project.tracking_uri}
    known[SIMULATION_VARIABLE] = os.environ.get(SIMULATION_VARIABLE) or "off"
    if folder.modules.is_dir():  # before the notebook's own folder: the job runs what was exported and approved
        path = [str(folder.modules), os.environ.get("PYTHONPATH", "")]
        known["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    return quiet | known


def with_parameters(folder: JobFolder, values: dict[str, Any]) -> NotebookNode:
    """The job's notebook with a cell that sets the parameters after the one that declares them.

    papermill would write this cell from untyped values; this one holds the expressions of checked ones.
    """
    import nbformat

    nb = nbformat.read(folder.notebook, as_version=4)
    cells = [cell for cell in nb.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    position = next((n for n, cell in enumerate(cells, 1) if "parameters" in cell.metadata.get("tags", [])), 0)
    secrets = {name: value for name, value in values.items() if is_reference(value)}
    plain = {name: value for name, value in values.items() if name not in secrets}
    lines = [as_code(folder.schema, plain), *(as_line(name, value) for name, value in secrets.items())]
    source = "\n".join(["# Parameters of this run", *lines])
    injected = nbformat.v4.new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    nb.cells = [*cells[:position], *([injected] if values else []), *cells[position:]]
    nb.metadata["papermill"] = {
        "default_parameters": {},
        "parameters": as_json(folder.schema, values),
        "environment_variables": {},
        "version": "",
    }
    for cell in nb.cells:
        cell.metadata.setdefault("tags", [])
        cell.metadata.setdefault("papermill", {})
    return nb


def _without_empty(values: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
