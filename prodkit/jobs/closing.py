"""Runs whose runner was killed: the next run of the job writes down for them what nobody was left to write.

Projects in several folders may share one history, each with an MLflow of its own. So that a run is lost is known to all
of them, and it is closed by the one that has its records, or by any that finds it in its MLflow.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from prodkit.errors import TransientError
from prodkit.jobs.delivery import told
from prodkit.jobs.ends import Outcome
from prodkit.jobs.saving import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prodkit.jobs.history import Entry, History
    from prodkit.jobs.publishing import Publisher
    from prodkit.manifest import Project

_CLOSED = "RunnerKilled"


def close_lost(history: History, job: str, place: Path, publisher: Publisher, *, parent: str | None = None) -> str:
    """Close the lost runs of a job in the ledger and in their notebooks, each once.

    Args:
        history: what ran. A run that only another folder can close stays as it is there, and is no problem here.
        job: the job's name; its lock must be held.
        place: the folder that holds the folders of the job's runs.
        publisher: where runs are closed.
        parent: close the items of this fan-out only.

    Returns:
        What couldn't be closed, in one line; the next run tries again.
    """
    try:
        lost = history.not_closed(job, parent=parent)
        if not lost:
            return ""
        ours = [entry.run for entry in lost if _is_ours(entry, history, place, publisher)]
        if ours:
            publisher.close_lost(ours)
            _note_closed(history, ours, place)
        theirs = {entry.run: entry.run_id for entry in lost if entry.run not in ours}
        _note_closed(history, publisher.close_lost_elsewhere(theirs), place)
    except Exception as error:  # of an earlier run: it mustn't keep this one from its work
        return told("A run that was killed couldn't be closed", error)
    return ""


def _is_ours(entry: Entry, history: History, place: Path, publisher: Publisher) -> bool:
    """Whether the journal of this folder has the run. A shared history has runs of other folders on this host, too."""
    if not history.shared and entry.is_here:
        return True
    return (place / entry.run).is_dir() or publisher.knows(entry.run)


def _note_closed(history: History, runs: Iterable[str], place: Path) -> None:
    for run in runs:
        for notebook in sorted((place / run).glob("attempt-*.ipynb")):
            tell_lost(notebook)
        history.note(run, error=_CLOSED, closed=1)


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
