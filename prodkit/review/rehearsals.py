"""The newest rehearsal of what a run ran: how many faults it survived, when, and in which state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.ledger.review import runs_tagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.ledger.review import RunView
    from prodkit.manifest import Project

_OF, _DIGEST, _FAILED = "prodkit.rehearsal.of", "prodkit.rehearsal.digest", "prodkit.rehearsal.failed"
_MOST = 20  # names of faults in a tag


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A rehearsal.

    Attributes:
        current: whether just this state of the job or notebook was rehearsed.
        failed: faults that weren't survived, separated by commas.
    """

    passed: int
    scenes: int
    started: str
    digest: str
    run_id: str
    failed: str
    current: bool


def tags_of(notebook: str, digest: str, failed: Sequence[str]) -> dict[str, str]:
    """The tags of a rehearsal's run, by which it is found.

    Args:
        notebook: the notebook's path in the project, with forward slashes; a job's source.
        digest: of the job folder or the notebook's file.
        failed: names of the faults that weren't survived.
    """
    named = ", ".join(failed[:_MOST]) + (f" and {len(failed) - _MOST} more" if len(failed) > _MOST else "")
    return {_OF: notebook, _DIGEST: digest, _FAILED: named}


def newest(project: Project, run: RunView) -> Rehearsed | None:
    """The latest rehearsal of a run's notebook or job; None when there was none."""
    notebook = run.tags.get("prodkit.source_notebook") or run.tags.get("prodkit.notebook")
    found = runs_tagged(project, _OF, notebook) if notebook else []
    done = [one for one in found if "faults_passed" in one.metrics]
    if not done:
        return None
    last = done[-1]
    passed, failed = int(last.metrics["faults_passed"]), int(last.metrics.get("faults_failed", 0))
    states = {run.tags.get("prodkit.job_digest"), run.tags.get("prodkit.notebook_sha256")}
    return Rehearsed(
        passed,
        passed + failed,
        last.started.strftime("%Y-%m-%d %H:%M UTC"),
        last.tags.get(_DIGEST, ""),
        last.run_id,
        last.tags.get(_FAILED, ""),
        current=last.tags.get(_DIGEST, "-") in states,
    )
