"""Reading back what MLflow holds of a project's runs, for faces that show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.manifest import Project

MOST = 1000


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as MLflow shows it. `status` is MLflow's word (RUNNING, FINISHED, FAILED, KILLED)."""

    run_id: str
    name: str
    status: str
    started: datetime
    parent: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def runs_since(project: Project, since: datetime) -> list[RunView]:
    """The project's runs that began at or after `since`, oldest first, at most 1000."""
    from mlflow import MlflowClient

    client = MlflowClient(project.tracking_uri)
    experiment = client.get_experiment_by_name(project.experiment)
    if experiment is None:
        return []
    found = client.search_runs(
        [experiment.experiment_id],
        f"attributes.start_time >= {int(since.timestamp() * 1000)}",
        max_results=MOST,
        order_by=["attributes.start_time ASC"],
    )
    return [
        RunView(
            run.info.run_id,
            run.info.run_name,
            run.info.status,
            datetime.fromtimestamp(run.info.start_time / 1000, UTC),
            run.data.tags.get("mlflow.parentRunId", ""),
            dict(run.data.metrics),
            dict(run.data.params),
            dict(run.data.tags),
        )
        for run in found
    ]
