"""What runs leave behind goes again: one act for the journal, MLflow, and all that lies in the project's state folder.

How long things stay is `compliance.retention_days`; kept outputs and kept answers only serve a run that is resumed, and
stay 30 days at most. The list of runs stays, without parameters and error texts: idempotency keys hold for good. It
runs with the next job, once a day, and with `prodkit runs --clean`.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prodkit.errors import ProdkitError, TransientError
from prodkit.jobs.exclusion import locked
from prodkit.jobs.history import History
from prodkit.ledger import Ledger, cache
from prodkit.ledger.growth import keep_sample, weigh
from prodkit.ledger.replay import forget_old
from prodkit.ledger.retention import act
from prodkit.ledger.retention.act import Removed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodkit.manifest import Project

KEPT_DAYS = 30.0  # a failed run that nobody has resumed by then; answers that were kept go at the same age
MOST_AT_ONCE = 20_000
"""Traces that a job removes from MLflow on its way; the next one goes on."""

STAMP = "retention.stamp"
_DAY = 86_400.0
_FOLDERS = ("quarantine", "spool")
_LOGS = ("*.log", "*.log.1")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed: whole runs, kept outputs of runs, other files, and the bytes; `busy` are jobs that run now."""

    runs: int = 0
    kept: int = 0
    bytes: int = 0
    busy: tuple[str, ...] = ()
    files: int = 0
    ledger: Removed = field(default_factory=Removed)

    def __add__(self, other: Cleaned) -> Cleaned:
        return Cleaned(
            self.runs + other.runs,
            self.kept + other.kept,
            self.bytes + other.bytes,
            (*self.busy, *other.busy),
            self.files + other.files,
            other.ledger if other.ledger != Removed() else self.ledger,
        )


def clean_job(place: Path, project: Project, *, days: float | None = None) -> Cleaned:
    """Remove what is too old of one job's runs.

    Args:
        place: the folder that holds the folders of the job's runs; the job's lock must be held.
        project: whose manifest says how long runs stay.
        days: an age for everything instead; what is younger stays.
    """
    stays = _period(project, days)
    kept_stays = min(KEPT_DAYS, stays) if days is None else days
    done = Cleaned()
    for run in _runs(place):
        age = _age(run)
        if age > stays:
            done += Cleaned(runs=1, bytes=_remove(run))
        elif age > kept_stays and (run / "kept").is_dir():
            done += Cleaned(kept=1, bytes=_remove(run / "kept"))
    return done


def clean_project(project: Project, *, days: float | None = None, most: int | None = None) -> Cleaned:
    """Remove all that is too old, everywhere; jobs that run just now are left alone.

    Args:
        project: whose.
        days: an age for everything instead of the manifest's; what is younger stays.
        most: traces and runs to remove from MLflow at most; the others follow next time.
    """
    stays = _period(project, days)
    forget_old(project, stays)
    cache.forget_old(project, stays)
    shipped = Ledger.open(project).pending == 0  # else what lies in the spool may be part of what waits
    done = Cleaned(ledger=act.clean(project, days=days, most=most))
    done += _files(project, stays, _FOLDERS if shipped else _FOLDERS[:1])
    if (project.state / "jobs").is_dir():
        History.of(project).forget(stays)
    for place in sorted(path for path in (project.state / "jobs").glob("*") if path.is_dir()):
        try:
            with locked(place / "lock", f"The job `{place.name}`"):
                done += clean_job(place, project, days=days)
        except TransientError:
            done += Cleaned(busy=(place.name,))
    return done


def would_free(project: Project, *, days: float | None = None) -> int:
    """About how many bytes `clean_project` would free now; MLflow's own as its share of the journal's records."""
    stays = _period(project, days)
    ledger = act.preview(project, days=days)
    folders = [run for place in (project.state / "jobs").glob("*") for run in _runs(place)]
    files = [entry for entry in [*folders, *_loose(project, _FOLDERS)] if _age(entry) > stays]
    parts = weigh(project.state)
    share = ledger.bytes / parts["journal"] if ledger.bytes else 0.0
    of_mlflow = share * (parts.get("mlflow", 0) + parts.get("artifacts", 0))
    return ledger.bytes + int(of_mlflow) + sum(map(_size, files))


def clean_if_due(project: Project) -> Cleaned | None:
    """As `clean_project`, where nobody has done it for a day. What fails waits for the next day; nothing raises."""
    stamp = project.state / STAMP
    with contextlib.suppress(FileNotFoundError):
        if time.time() - stamp.stat().st_mtime < _DAY:
            return None
    with contextlib.suppress(OSError, ProdkitError):
        stamp.touch()  # first: what fails isn't tried again by each run
        keep_sample(project.state)
        return clean_project(project, most=MOST_AT_ONCE)
    return None


def _period(project: Project, days: float | None) -> float:
    return float(project.manifest.compliance.retention_days if days is None else days)


def _files(project: Project, days: float, folders: tuple[str, ...]) -> Cleaned:
    """Quarantined rows, files that nothing ships any more, and logs."""
    old = [entry for entry in _loose(project, folders) if _age(entry) > days]
    return Cleaned(files=len(old), bytes=sum(map(_remove, old)))


def _loose(project: Project, folders: tuple[str, ...]) -> list[Path]:
    found = [entry for folder in folders for entry in (project.state / folder).glob("*")]
    return found + [log for pattern in _LOGS for log in project.state.glob(pattern)]


def _runs(place: Path) -> Iterator[Path]:
    return (path for path in sorted(place.glob("job-*")) if path.is_dir() and not path.is_symlink())


def _age(run: Path) -> float:
    """Days since a file in the folder was written; the folder's own time moves when something is taken out of it."""
    files = [path.lstat().st_mtime for path in run.rglob("*") if not path.is_dir()] if run.is_dir() else []
    latest = max(files, default=run.lstat().st_mtime)
    return (time.time() - latest) / _DAY


def _remove(entry: Path) -> int:
    size = _size(entry)
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
    return size


def _size(entry: Path) -> int:
    if not entry.is_dir() or entry.is_symlink():
        return entry.lstat().st_size
    return sum(path.lstat().st_size for path in entry.rglob("*") if path.is_file())
