"""`prodkit.run_job`: a job that is run from Python leaves what `prodkit run` leaves, its reviewer's page too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.jobs.runner import RunOptions, run_job as run_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from prodkit.jobs.attempts import AttemptResult
    from prodkit.jobs.events import OnEvent
    from prodkit.jobs.runner import JobResult
    from prodkit.manifest import Project


def run_job(
    job: Path | str,
    params: Mapping[str, object] | None = None,
    *,
    options: RunOptions | None = None,
    project: Project | None = None,
    on_event: OnEvent | None = None,
    on_attempt: Callable[[AttemptResult], None] | None = None,
) -> JobResult:
    """Run a job folder to its end.

    Args:
        job: the folder that `prodkit export` wrote.
        params: parameter -> value; text is parsed by the parameter's type.
        options: how it is run.
        project: the project that it runs in; default: the one around the folder.
        on_event: called as cells and attempts begin and end.
        on_attempt: called with each attempt that has ended.

    Returns:
        How it ended; the notebook's own failures are told here and not raised, nor is what fails in publishing.

    Raises:
        ParameterError: the parameters are wrong; nothing was run.
        DataError: the data that it reads breaks a contract; no kernel was started, and the refusal is on record.
        ConfigError: the folder, the manifest, the ownership or a secret is wrong, the kill switch is on, or there is
            nothing to resume; nothing was run.
        TransientError: another run of this job goes on (`jobs.locked`).
    """
    from prodkit.review import publish

    how = options or RunOptions()
    return run_folder(job, params, options=how, project=project, on_event=on_event, on_attempt=on_attempt, page=publish)
