"""What is checked before a job starts, so that nothing is spent on a run that must not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.ownership import check, upcoming
from prodkit.records import now

if TYPE_CHECKING:
    from prodkit.manifest import Project


def check_start(project: Project) -> tuple[str, ...]:
    """Refuse to start while the kill switch is on or nobody answers for the service.

    Returns:
        Warnings, one sentence each: what runs out soon.

    Raises:
        ConfigError: `jobs.switched-off` or `jobs.ownership`.
    """
    switch = project.manifest.kill_switch
    if switch and project.path(switch).exists():
        raise ConfigError(
            "jobs.switched-off",
            "The kill switch of this service is on: no job starts.",
            where=str(project.path(switch)),
            fix="ask who switched it off; removing the file switches it on again",
        )
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
