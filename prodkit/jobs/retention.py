"""What runs leave on the disk goes again: kept outputs and answers after 30 days, notebooks when the manifest says.

Kept outputs only serve a resumed run, and are the raw data of the job. Executed notebooks and records stay as long as
`compliance.retention_days`; MLflow has its own copies. The history of runs stays: it holds no data.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import TransientError
from prodkit.jobs.exclusion import locked
from prodkit.ledger.replay import forget_old

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodkit.manifest import Project

KEPT_DAYS = 30.0  # a failed run that nobody has resumed by then; answers that were kept go at the same age
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed: whole runs, kept outputs of runs, and their bytes; `busy` are jobs that run just now."""

    runs: int = 0
    kept: int = 0
    bytes: int = 0
    busy: tuple[str, ...] = ()

    def __add__(self, other: Cleaned) -> Cleaned:
        return Cleaned(
            self.runs + other.runs, self.kept + other.kept, self.bytes + other.bytes, (*self.busy, *other.busy)
        )


def clean_job(place: Path, project: Project, *, days: float | None = None) -> Cleaned:
    """Remove what is too old of one job's runs.

    Args:
        place: the folder that holds the folders of the job's runs; the job's lock must be held.
        project: whose manifest says how long runs stay.
        days: an age for everything instead; what is younger stays.
    """
    stays = project.manifest.compliance.retention_days if days is None else days
    kept_stays = KEPT_DAYS if days is None else days
    done = Cleaned()
    for run in _runs(place):
        age = _age(run)
        if age > stays:
            done += Cleaned(runs=1, bytes=_remove(run))
        elif age > kept_stays and (run / "kept").is_dir():
            done += Cleaned(kept=1, bytes=_remove(run / "kept"))
    return done


def clean_project(project: Project, *, days: float | None = None) -> Cleaned:
    """Remove what is too old of all jobs' runs, and answers that were kept; jobs that run just now are left alone."""
    forget_old(project)
    done = Cleaned()
    for place in sorted(path for path in (project.state / "jobs").glob("*") if path.is_dir()):
        try:
            with locked(place / "lock", f"The job `{place.name}`"):
                done += clean_job(place, project, days=days)
        except TransientError:
            done += Cleaned(busy=(place.name,))
    return done


def _runs(place: Path) -> Iterator[Path]:
    return (path for path in sorted(place.glob("job-*")) if path.is_dir() and not path.is_symlink())


def _age(run: Path) -> float:
    """Days since a file in the folder was written; the folder's own time moves when something is taken out of it."""
    files = [path.lstat().st_mtime for path in run.rglob("*") if not path.is_dir()]
    latest = max(files, default=run.lstat().st_mtime)
    return (time.time() - latest) / _DAY


def _remove(folder: Path) -> int:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder, ignore_errors=True)
    return size
