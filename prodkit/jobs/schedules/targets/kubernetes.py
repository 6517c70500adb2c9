"""A kustomize base that a cluster with PodSecurity "restricted" admits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.jobs.schedules.needs import MLFLOW_SECRETS
from prodkit.jobs.schedules.targets.fields import plain_fields
from prodkit.templates import render

if TYPE_CHECKING:
    from prodkit.jobs.schedules.plan import Plan

FOLDER = "kubernetes"
_FIRST_WAIT, _LONGEST_WAIT = 10, 360  # seconds between a Job's pods: doubled each time, as Kubernetes has it


def render_base(plan: Plan) -> dict[str, str]:
    """The base: kustomization, service account, settings, the state's volume, and the CronJob.

    Raises:
        ConfigError: `schedule.image`: the plan names no image.
    """
    if not plan.image:
        raise ConfigError(
            "schedule.image",
            "Kubernetes needs the image that runs the job.",
            fix=f"docker build --tag REGISTRY/{plan.unit}:1 {plan.path or plan.place}, then say that name with --image "
            "or as `job.image` in prodkit.yaml",
        )
    kept = plan.needs.resources.state != "none"
    described = _described(plan, kept=kept)
    names = ["kustomization", "serviceaccount", "configmap", *(["state"] if kept else []), "cronjob"]
    return {f"{FOLDER}/{name}.yaml": render(f"schedule/kubernetes/{name}.j2", **described) for name in names}


def _described(plan: Plan, *, kept: bool) -> dict[str, Any]:
    person, retries = plan.needs.accountable, plan.how.retries if kept else 0
    waits = sum(min(_FIRST_WAIT * 2**number, _LONGEST_WAIT) for number in range(retries))
    own = ["--retries", "0"] if kept else []
    return {
        "plan": plan,
        "kept": kept,
        "when": " ".join(plain_fields(plan.cron)),
        "args": [word.replace("$", "$$") for word in plan.arguments(*own)] + ["--key", "$(TICK)"],
        "backoff": retries,
        "deadline": plan.limit + waits,
        "labels": {
            "app.kubernetes.io/name": plan.unit,
            "app.kubernetes.io/component": "job",
            "app.kubernetes.io/part-of": _label(plan.needs.service) or plan.unit,
            "app.kubernetes.io/managed-by": "prodkit",
        },
        "notes": {
            "prodkit/accountable": person.name if person else "nobody",
            "prodkit/reach": person.address if person else "",
            "prodkit/job": plan.place,
        },
        "mlflow_secrets": MLFLOW_SECRETS,
    }


def _label(text: str) -> str:
    """A value that a label may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("._-")
