"""Rules about what goes into the job folder beside the notebook: the manifest and the contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.jobs.lint import Problem
from prodkit.redaction import secrets_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prodkit.jobs.lint import Case
    from prodkit.manifest import Project

FIX = (
    "take it out, and make a new one: this one is known now. A location needs neither user nor password to be "
    "recognised; code reads them from the environment"
)


def no_secrets_beside(case: Case) -> Iterator[Problem]:
    """Neither the manifest nor a contract holds a key or a password: both are copied into the job folder."""
    yield from secrets_beside(case.project)


def secrets_beside(project: Project) -> Iterator[Problem]:
    """The secrets in a project's manifest and contracts, each with its file and line."""
    for path in _files(project):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # said by whoever needs the file
        for line, kind in secrets_in(text):
            what = f"The line looks like it holds a secret ({kind})."
            yield Problem("lint.secret", "error", what, f"{path.name}:{line}", FIX)


def _files(project: Project) -> dict[Path, None]:
    contracts = [source.contract for source in project.manifest.data_sources.values() if source.contract]
    manifest = [project.manifest_path] if project.manifest_path is not None else []
    return dict.fromkeys([*manifest, *map(project.path, contracts)])


RULES: tuple[Callable[[Case], Iterator[Problem]], ...] = (no_secrets_beside,)
