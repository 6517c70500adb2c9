"""Finds the run that `--resume` or `--replay` means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, ParameterError
from prodkit.jobs.ends import Outcome
from prodkit.ledger.replay import kept_runs

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.jobs.history import Entry, History
    from prodkit.manifest import Project

LAST = "last"
_LOOK_BACK = 200
_OVER = frozenset({Outcome.OK, Outcome.RUNNING})


def find_resumable(history: History, job: str, which: str, params: dict[str, Any], place: Path) -> Entry:
    """The run to go on with.

    Args:
        history: what ran.
        job: the job's name.
        which: the end of a run's id, or `last`: the latest run with these parameters that didn't succeed.
        params: this run's parameters as JSON values.
        place: the folder that holds the folders of the job's runs.

    Raises:
        ConfigError: `jobs.nothing-to-resume`, or `jobs.resume-elsewhere`: what the run kept lies on another machine.
        ParameterError: `jobs.resume-params`: the run had other parameters.
    """
    entries = history.entries(job, limit=_LOOK_BACK)
    open_ = [entry for entry in entries if entry.outcome not in _OVER]
    if which == LAST:
        open_ = [entry for entry in open_ if entry.params == params]
    else:
        open_ = [entry for entry in open_ if entry.run.endswith(which)]
    if not open_:
        raise ConfigError(
            "jobs.nothing-to-resume",
            "There is no run that could be resumed"
            + (" with these parameters." if which == LAST else f" with the id `{which}`."),
            fix=f"`prodkit runs {job}` shows what ran; without --resume the job starts anew",
        )
    if open_[0].params != params:
        names = sorted(name for name in params if params[name] != open_[0].params.get(name))
        raise ParameterError(
            "jobs.resume-params",
            f"The run to resume had other values of {', '.join(names)}.",
            where=open_[0].run,
            fix="give the same parameters, or start anew without --resume",
        )
    here = [entry for entry in open_ if (place / entry.run).is_dir() or entry.is_here]
    if not here:
        raise ConfigError(
            "jobs.resume-elsewhere",
            f"The run to resume ran on {open_[0].host}, and what it kept lies there.",
            where=open_[0].run,
            fix="resume it there, give both machines the same PRODKIT_STATE folder, or start anew without --resume",
        )
    return here[0]


def find_replayable(history: History, project: Project, job: str, which: str, params: dict[str, Any]) -> str:
    """The run whose kept answers are to be used.

    Args:
        history: what ran.
        project: where its answers are kept.
        job: the job's name.
        which: the end of a run's id, or `last`: the latest run with these parameters that kept answers.
        params: this run's parameters as JSON values.

    Raises:
        ConfigError: `jobs.nothing-to-replay`.
    """
    kept = set(kept_runs(project))
    found = [entry for entry in history.entries(job, limit=_LOOK_BACK) if entry.run in kept]
    found = [one for one in found if (one.params == params if which == LAST else one.run.endswith(which))]
    if not found:
        raise ConfigError(
            "jobs.nothing-to-replay",
            "No answers are kept of a run "
            + ("with these parameters." if which == LAST else f"with the id `{which}`."),
            fix="run the job with --keep-answers first; without it, answers are removed when a run succeeds",
        )
    return found[0].run
