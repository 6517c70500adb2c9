"""What is checked before a job starts, so that nothing is spent on a run that must not be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, DataError
from prodkit.jobs.packing.machine import check_machine
from prodkit.manifest import find_project
from prodkit.manifest.project import MANIFEST, ROOT_VARIABLE, STATE_VARIABLE
from prodkit.ownership import check, upcoming
from prodkit.records import now

if TYPE_CHECKING:
    from prodkit.jobs.folder import JobFolder
    from prodkit.manifest import Project


_KEPT_AT_HOME = {"IPYTHONDIR": "ipython", "MPLCONFIGDIR": "matplotlib", "XDG_CACHE_HOME": "cache"}


def find_place(folder: JobFolder, project: Project | None = None) -> Project:
    """The project that a job runs in, once the machine, the data and the place for state are found to be there.

    Raises:
        ConfigError: `job.machine`, `job.project`, `job.state`, or the manifest is wrong.
        DataError: `job.data-missing` names all that isn't there.
    """
    check_machine(folder.index.execution)
    project = project or _found(folder.project_root())
    check_needs(folder, project)
    _check_state(project)
    _give_home(project)
    return project


def _found(root: Path) -> Project:
    project = find_project(root)
    if project.manifest_path is None:
        what = f"{ROOT_VARIABLE} names a folder that no {MANIFEST} is for."
        fix = (
            f"set it to a project's root, or unset it: a job folder that stands alone has a {MANIFEST} of its own and "
            "expects its data below itself"
        )
        raise ConfigError("job.project", what, where=str(root), fix=fix)
    return project


def check_needs(folder: JobFolder, project: Project) -> None:
    """Refuse a start without the data that doesn't come along with the folder.

    Raises:
        DataError: `job.data-missing`: all that is missing, each with who reads it.
    """
    missing = [
        f"{need.path} ({need.who}{', not readable' if project.path(need.path).exists() else ''})"
        for need in folder.index.needs
        if not os.access(project.path(need.path), os.R_OK)
    ]
    if not missing:
        return
    raise DataError(
        "job.data-missing",
        f"The job reads what isn't there: {'; '.join(missing)}.",
        where=str(project.root),
        fix="put it there or mount it; in another project, set PRODKIT_PROJECT to its root",
    )


def _give_home(project: Project) -> None:
    """Where the user has no home that can be written, what libraries keep in one goes to the state.

    In this process and the kernels that it starts; what somebody has set already stays.
    """
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and a user that the system doesn't know
        home = Path()
    if home.is_absolute() and os.access(home, os.W_OK):
        return
    for name, part in _KEPT_AT_HOME.items():
        if not os.environ.get(name):
            place = project.state / "home" / part
            place.mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(place)


def _check_state(project: Project) -> None:
    state = project.state
    try:
        state.mkdir(parents=True, exist_ok=True)
        writable = os.access(state, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise ConfigError(
            "job.state",
            "The place for the run's state can't be written.",
            where=str(state),
            fix=f"set {STATE_VARIABLE} to a folder that this user can write; the same one each time, as history and "
            "journal live there",
        )


def check_start(project: Project) -> tuple[str, ...]:
    """Refuse to start while the kill switch is on or nobody answers for the service.

    Returns:
        Warnings, one sentence each: what runs out soon.

    Raises:
        ConfigError: `jobs.switched-off`, `jobs.empty-key` or `jobs.ownership`.
    """
    switch = project.manifest.kill_switch
    if switch and project.path(switch).exists():
        raise ConfigError(
            "jobs.switched-off",
            "The kill switch of this service is on: no job starts.",
            where=str(project.path(switch)),
            fix="ask who switched it off; removing the file switches it on again",
        )
    _refuse_empty_keys(project)
    today = now().date()
    blocking = [violation for violation in check(project.manifest, today=today, start=True) if violation.blocks]
    if blocking:
        more = f" ({len(blocking) - 1} more)" if len(blocking) > 1 else ""
        raise ConfigError(
            "jobs.ownership",
            f"{blocking[0].what}{more}",
            where=str(project.manifest_path or project.root),
            fix=blocking[0].fix or "`prodkit owners` shows the matrix and what is wrong with it",
        )
    return upcoming(project.manifest, today=today)


def _refuse_empty_keys(project: Project) -> None:
    """A scheduler hands over a secret that it doesn't have as an empty text, which providers answer with anything."""
    if os.environ.get("PRODKIT_SIMULATED_URL"):
        return
    for variable in sorted({model.key_variable for model in project.manifest.models}):
        if os.environ.get(variable) == "":
            raise ConfigError(
                "jobs.empty-key",
                f"{variable} is set, and empty.",
                where="models in prodkit.yaml",
                fix="give the scheduler a secret of this name, or unset the variable",
            )
