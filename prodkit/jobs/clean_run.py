"""The only proof that a notebook runs from top to bottom: run it, in a kernel that remembers nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.errors import KernelDiedError, TransientError
from prodkit.jobs.bundle import write_notebook
from prodkit.jobs.ends import Outcome
from prodkit.jobs.engine import ProdkitEngine
from prodkit.jobs.lint import Problem
from prodkit.manifest.project import ROOT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prodkit.jobs.reading import Notebook
    from prodkit.jobs.record import End
    from prodkit.manifest import Project


def run_clean(
    notebook: Notebook,
    project: Project,
    *,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> tuple[Problem, ...]:
    """Execute the cells that go into the job, with the parameters' defaults, in a fresh kernel.

    It runs for real: what the cells call is called, and what they cost is spent. Nothing is written to the notebook.

    Args:
        notebook: the notebook.
        project: its project; captured cells are recorded in its ledger.
        timeout: seconds for one cell; the manifest's `job.cell_timeout` by default.
        env: more variables for the kernel.
        directory: where it runs; the notebook's own folder by default.

    Returns:
        No problem, or the one that ended the run. It names the error's class, not its text, which may hold data.

    Raises:
        ConfigError: the kernel isn't installed.
        TerminatedError: it was told to stop.
    """
    node = _prepare(notebook)
    ends: list[End] = []
    try:
        ProdkitEngine.execute_notebook(
            node,
            notebook.kernel,
            progress_bar=False,
            kernel_cwd=directory or notebook.path.absolute().parent,
            env={ROOT_VARIABLE: str(project.root), **(env or {})},
            cell_timeout=timeout or project.manifest.job.cell_timeout,
            on_end=ends.append,
        )
    except (KernelDiedError, TransientError):
        if not ends:
            raise
    end = ends[0]
    if end.outcome is Outcome.OK:
        return ()
    number = node.cells[end.cell].metadata.get("prodkit", {}).get("cell", 0) if end.cell is not None else 0
    return (_problem(notebook, number, end),)


def _prepare(notebook: Notebook) -> Any:
    """The job's notebook with the places that papermill's manager writes to."""
    import nbformat

    node = nbformat.reads(write_notebook(notebook, name=notebook.path.stem), as_version=4)
    node.metadata["papermill"] = {
        "default_parameters": {},
        "parameters": {},
        "environment_variables": {},
        "version": "",
    }
    for cell in node.cells:
        cell.metadata.setdefault("tags", [])
        cell.metadata["papermill"] = {}
    return node


def _problem(notebook: Notebook, number: int, end: End) -> Problem:
    why = {
        Outcome.KERNEL_DIED: "The kernel dies in this cell.",
        Outcome.TRANSIENT: f"The cell doesn't get through: {end.error or 'its time is up'}.",
    }.get(end.outcome, f"The cell fails in a fresh kernel: {end.error or end.outcome}.")
    where = f"{notebook.path.name}, cell {number}" if number else notebook.path.name
    fix = "run all cells in a fresh kernel in Jupyter to see the error, and correct the cell"
    return Problem("lint.clean-run", "error", why, where, fix, number)
