"""MLflow's active run is the cell's, where the user has started none: patches of `mlflow.active_run` and `start_run`.

What of MLflow's insides this leans on is listed in `insides`.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.records import RunHandle


class _Asked:
    """Who knows our current run."""

    handle: Callable[[], RunHandle | None]


def install(handle: Callable[[], RunHandle | None]) -> None:
    """Put the patches in place, once per process.

    Args:
        handle: gives our current run, or None where MLflow's own answer stands.
    """
    from mlflow.tracking import fluent

    _Asked.handle = staticmethod(handle)
    for name in ("active_run", "_get_or_start_run"):
        wrapt.wrap_function_wrapper(fluent, name, _ours_when_none)
    wrapt.wrap_function_wrapper(fluent, "start_run", _nest)
    root = sys.modules["mlflow"]
    root.active_run, root.start_run = fluent.active_run, fluent.start_run  # type: ignore[attr-defined]


def _ours_when_none(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """MLflow's active run is ours where the user has started none, in every thread and task of the cell."""
    from mlflow.tracking import fluent

    if fluent._active_run_stack.get() or (handle := _Asked.handle()) is None:  # noqa: SLF001
        return wrapped(*args, **kwargs)
    return _as_run(handle)


def _nest(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """A run that the user starts inside ours becomes its child."""
    from mlflow.tracking import fluent

    handle = _Asked.handle()
    if handle is None or fluent._active_run_stack.get() or args or kwargs.get("run_id"):  # noqa: SLF001
        return wrapped(*args, **kwargs)
    kwargs.setdefault("parent_run_id", handle.run_id)
    if fluent._active_experiment_id is None and "MLFLOW_EXPERIMENT_ID" not in os.environ:  # noqa: SLF001
        kwargs.setdefault("experiment_id", handle.experiment_id)
    return wrapped(*args, **kwargs)


@functools.lru_cache(maxsize=16)
def _as_run(handle: RunHandle) -> Any:
    from mlflow.entities import Run, RunData, RunInfo
    from mlflow.tracking.fluent import ActiveRun

    info = RunInfo(
        run_id=handle.run_id,
        experiment_id=handle.experiment_id,
        user_id="",
        status="RUNNING",
        start_time=0,
        end_time=None,
        lifecycle_stage="active",
        run_name=handle.name,
    )
    return ActiveRun(Run(info, RunData()))
