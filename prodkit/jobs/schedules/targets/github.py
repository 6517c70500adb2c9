"""A workflow for GitHub Actions: pinned actions, secrets by name, state and results kept."""

from __future__ import annotations

import json
import math
import shlex
from typing import TYPE_CHECKING

from prodkit.jobs.schedules.needs import MLFLOW_SECRETS
from prodkit.jobs.schedules.targets.fields import plain_fields
from prodkit.templates import render

if TYPE_CHECKING:
    from prodkit.jobs.schedules.plan import Plan

ACTIONS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup_python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "restore": "actions/cache/restore@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "save": "actions/cache/save@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5",
    "upload": "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1",
}
"""Each action by the commit of a release: a tag can be moved to other code after it was looked at."""

_LONGEST_JOB = 360  # minutes, on GitHub's own machines
_AROUND = 20  # minutes, for installing and for keeping the results


def render_workflow(plan: Plan) -> dict[str, str]:
    """The workflow."""
    place = f"{plan.below}/{plan.place}" if plan.below else plan.place
    address = _literal(plan.needs.tracking_uri.replace("'", "''"))
    text = render(
        "schedule/github.j2",
        plan=plan,
        actions=ACTIONS,
        when=" ".join(plain_fields(plan.cron)),
        minutes=min(math.ceil(plan.limit / 60) + _AROUND, _LONGEST_JOB),
        place=_literal(shlex.quote(place)),
        place_yaml=_literal(json.dumps(place)),
        arguments=_literal("".join(f"{shlex.quote(word)} " for word in plan.arguments())),
        data=[f"{plan.below}/{path}" if plan.below else path for _, path in plan.needs.data if path.isprintable()],
        title=_literal(json.dumps(plan.name)),
        python=_literal(json.dumps(plan.how.python)),
        secrets=[*plan.needs.secrets, *MLFLOW_SECRETS],
        mlflow=MLFLOW_SECRETS,
        fallback=f" || '{address}'" if address else "",
    )
    return {f"{plan.unit}.github.yml": text}


def _literal(text: str) -> str:
    """Text in which GitHub finds no expression of its own, e.g. `${{ secrets.KEY }}` in a parameter's value."""
    return text.replace("${{", "${{ '${{' }}")
