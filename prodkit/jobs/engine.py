"""`prodkit` as a papermill engine: `papermill --engine prodkit`, Airflow's operator and our own runner come in here.

What it does that papermill's own engine doesn't: a run record that is true after every end (cell error, dead kernel,
timeouts, SIGTERM, SIGINT, kill -9), saves that are whole and at most one a second, `retry=N` on cells that may run
twice, a deadline for the job, a cap on outputs, kernels over IPC, and a current directory that is the kernel's alone.

papermill loads its engines while it is itself being imported, so nothing of papermill is imported up here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.errors import KernelDiedError, TerminatedError, TransientError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.signals import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbformat import NotebookNode

    from prodkit.jobs.execution import Options
    from prodkit.jobs.record import End, Record

_PASSED_ON = frozenset(
    {"env", "cell_timeout", "deadline", "grace", "exit_grace", "output_cap", "mask", "checkpoints", "template"}
)


class ProdkitEngine:
    """The engine: a namespace of class methods, as papermill asks for."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        **kwargs: Any,
    ) -> NotebookNode:
        """Run a notebook that papermill has prepared.

        Args:
            nb: the notebook; it is changed in place.
            kernel_name: the kernel spec.
            output_path: where it is saved while it runs and at the end.
            progress_bar: papermill's.
            log_output: papermill's.
            **kwargs: papermill's `start_timeout`, `execution_timeout`, `autosave_cell_every`, `stdout_file`,
                `stderr_file`, and ours: `job_timeout` (seconds), `kernel_cwd`, `on_event`, `on_end`, `stop`, and the
                fields of `Options` (`on_output` instead of papermill's logging). Unknown ones are ignored, as
                papermill's engine does.

        Returns:
            The executed notebook. A cell's error is in it, for papermill to raise.

        Raises:
            KernelDiedError: the kernel's process ended in a cell.
            TransientError: a cell's or the job's time was up, or the notebook can't be saved.
            TerminatedError: SIGTERM or SIGINT.
            ConfigError: the kernel isn't installed.
        """
        from prodkit.jobs.record import Record
        from prodkit.jobs.whole_files import make_local_writes_whole

        make_local_writes_whole()
        record = Record(
            nb,
            output_path,
            on_event=kwargs.get("on_event"),
            every=float(min(kwargs.get("autosave_cell_every") or 1, 1)),
            progress_bar=progress_bar,
            log_output=log_output,
        )
        record.notebook_start()
        end = _execute(record, kernel_name, _options(log_output, kwargs), kwargs.get("stop"))
        on_end: Callable[[End], None] | None = kwargs.get("on_end")
        if on_end is not None:
            on_end(end)
        _raise_for(end, output_path or "")
        return nb

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """The kernel that the notebook asks for, unless `name` says another."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """The notebook's language, unless `language` says another."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))


def _execute(record: Record, kernel_name: str, options: Options, stop: StopRequest | None) -> End:
    """With the caller's request to stop, or with signal handlers of our own."""
    from prodkit.jobs.execution import execute

    if stop is not None:
        return execute(record, kernel_name, options, stop)
    with StopRequest() as own:
        return execute(record, kernel_name, options, own)


def _options(log_output: bool, kwargs: dict[str, Any]) -> Options:
    from prodkit.jobs.execution import Options

    given = {name: value for name, value in kwargs.items() if name in _PASSED_ON and value is not None}
    options = Options(
        on_output=kwargs.get("on_output")
        or _output_logger(log_output, kwargs.get("stdout_file"), kwargs.get("stderr_file")),
        **given,
    )
    if kwargs.get("execution_timeout"):
        options = replace(options, cell_timeout=float(kwargs["execution_timeout"]))
    if kwargs.get("start_timeout"):
        options = replace(options, start_timeout=float(kwargs["start_timeout"]))
    if kwargs.get("kernel_cwd"):
        options = replace(options, cwd=Path(kwargs["kernel_cwd"]))
    if kwargs.get("job_timeout"):
        options = replace(options, deadline=time.monotonic() + float(kwargs["job_timeout"]))
    return options


def _raise_for(end: End, where: str) -> None:
    """Raise what papermill can't see in the notebook's outputs; cell errors are left to it."""
    if end.failure is None:
        return
    name, what = end.failure.name, end.failure.message
    if end.outcome is Outcome.KERNEL_DIED:
        raise KernelDiedError(
            "jobs.kernel-died",
            f"Cell {end.cell}: {what}.",
            where=where,
            fix="look for the kernel's memory use and native crashes; `dmesg` shows what the system killed",
        )
    if end.outcome is Outcome.TERMINATED:
        raise TerminatedError("jobs.terminated", f"Cell {end.cell}: {what}.", where=where, fix="run it again")
    if name in {"CellTimeout", "JobDeadline", "OutputTimeout"}:
        code = {"CellTimeout": "jobs.cell-timeout", "JobDeadline": "jobs.deadline"}.get(name, "jobs.output-timeout")
        raise TransientError(code, f"Cell {end.cell}: {what}.", where=where, fix="give it more time, or less to do")


def _output_logger(log_output: bool, stdout: Any, stderr: Any) -> Callable[[NotebookNode | None], None] | None:
    """For papermill's `log_output`, `stdout_file` and `stderr_file`."""
    if not (log_output or stdout or stderr):
        return None

    from papermill.log import logger

    def log(output: NotebookNode | None) -> None:
        if output is None:
            return
        if output.output_type != "stream":
            if log_output and "text/plain" in output.get("data", {}):
                logger.info("".join(output.data["text/plain"]))
            return
        file, level = (stderr, logger.warning) if output.name == "stderr" else (stdout, logger.info)
        if log_output:
            level("".join(output.text))
        if file:
            file.write("".join(output.text))
            file.flush()

    return log
