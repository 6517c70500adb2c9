"""A schedule as the files that other timekeepers read: systemd, cron, GitHub Actions, Airflow, Kubernetes.

Each failure is tried again by one layer only, so that attempts never multiply:

| timekeeper | who tries again | how often | what isn't tried again |
|---|---|---|---|
| systemd, cron, GitHub | `prodkit run` itself | `job.retries` | everything but transient ends |
| Airflow | Airflow, `prodkit run --retries 0` | `job.retries` | 1, 2, 65, 78 |
| Kubernetes with a state volume | the Job, `prodkit run --retries 0` | `job.retries` | 1, 2, 65, 78 |
| Kubernetes without | `prodkit run` itself, in its pod | `job.retries` | everything but transient ends |

Where another system tries again, all tries have one idempotency key: what an earlier one has paid for isn't paid again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.jobs.schedules.targets import airflow, crontab, github, kubernetes, systemd

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.jobs.schedules.plan import Plan

TARGETS: dict[str, Callable[[Plan], dict[str, str]]] = {
    "systemd": systemd.render_units,
    "cron": crontab.render_crontab,
    "github": github.render_workflow,
    "airflow": airflow.render_dag,
    "kubernetes": kubernetes.render_base,
}


def render_target(target: str, plan: Plan) -> dict[str, str]:
    """The files of a target: path below the folder that they are written to -> text.

    Raises:
        ConfigError: the target can't express this schedule.
    """
    return TARGETS[target](plan)
