"""Runs whose runner was killed: the next run of the job writes down for them what nobody was left to write."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from prodkit.errors import TransientError
from prodkit.jobs.delivery import told
from prodkit.jobs.ends import Outcome
from prodkit.jobs.saving import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.jobs.history import History
    from prodkit.jobs.publishing import Publisher
    from prodkit.manifest import Project

_CLOSED = "RunnerKilled"


def close_lost(history: History, job: str, place: Path, publisher: Publisher, *, parent: str | None = None) -> str:
    """Close the lost runs of a job in the ledger and in their notebooks, each once.

    Args:
        history: what ran.
        job: the job's name; its lock must be held.
        place: the folder that holds the folders of the job's runs.
        publisher: where runs are closed.
        parent: close the items of this fan-out only.

    Returns:
        What couldn't be closed, in one line; the next run tries again.
    """
    try:
        lost = [entry for entry in history.lost(job, parent=parent) if entry.error != _CLOSED]
        if not lost:
            return ""
        publisher.close_lost([entry.run for entry in lost if entry.is_here])
        publisher.close_lost_elsewhere([entry.run_id for entry in lost if entry.run_id and not entry.is_here])
        for entry in lost:
            for notebook in sorted((place / entry.run).glob("attempt-*.ipynb")):
                tell_lost(notebook)
            history.note(entry.run, error=_CLOSED)
    except Exception as error:  # of an earlier run: it mustn't keep this one from its work
        return told("A run that was killed couldn't be closed", error)
    return ""


def tell_lost(path: Path) -> bool:
    """Say in an executed notebook that its run was lost; True when it still said `running`."""
    try:
        nb: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    run = nb.get("metadata", {}).get("prodkit", {}).get("run", {})
    if run.get("outcome") != Outcome.RUNNING.value:
        return False
    run.update(outcome=Outcome.LOST.value, exit_code=Outcome.LOST.exit_code, error=_CLOSED)
    for cell in nb["cells"]:
        status = cell["metadata"].get("papermill", {})
        if status.get("status") == "running":
            status.update(status="failed", exception=True)
    write_atomically(path, json.dumps(nb, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    return True


def close_all_lost(project: Project, publisher: Publisher) -> str:
    """Close the lost runs of all jobs of a project that nobody runs just now; what couldn't be closed, in one line."""
    from prodkit.jobs.exclusion import locked
    from prodkit.jobs.history import History

    jobs, problem = project.state / "jobs", ""
    history = History.of(project)
    for place in sorted(path for path in jobs.glob("*") if (path / "lock").is_file()):
        with contextlib.suppress(TransientError), locked(place / "lock", f"The job `{place.name}`"):
            problem = close_lost(history, place.name, place, publisher) or problem
    return problem
