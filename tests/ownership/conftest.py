"""A manifest that is right, and a way to make it wrong in one place."""

from __future__ import annotations

import copy
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from prodkit.manifest import parse
from prodkit.manifest.loading import read_document
from prodkit.ownership import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.ownership import Violation

    Checked = Callable[..., tuple[Violation, ...]]

TODAY = date(2026, 11, 23)
RIGHT = """\
service: {name: triage, purpose: Sorts tickets., tier: critical}
owners:
  people:
    ana: {name: Ana Ruiz, email: ana@northwind.test, chat: "@ana", pager: "https://pager.northwind.test/ana", backup: ben}
    ben: {name: Ben Okafor, email: ben@northwind.test, chat: "@ben", pager: "https://pager.northwind.test/ben", backup: ana}
    chloe: {name: Chloe Lang, email: chloe@northwind.test, chat: "@chloe", backup: ana}
  teams:
    science: {name: Data Science, lead: ana, members: [ana, chloe]}
    platform: {name: Platform, lead: ben, members: [ben]}
  raci:
    model_performance: {R: [science], A: ana, C: [platform], I: []}
    uptime: {R: [platform], A: ben, C: [science], I: []}
    latency_page: {R: [platform], A: [ben], C: [], I: []}
    retraining: {R: [science], A: ana}
    data_pipeline_change: {R: [science], A: science}
    cost_spike: {R: [science], A: ana}
    prompt_change: {R: [science], A: ana}
    security_review: {R: [chloe], A: chloe}
    incident: {R: [platform], A: ben}
    rollback: {R: [platform], A: ben}
    retirement: {R: [science], A: ana}
  escalation: [ben, ana]
  review_by: 2027-03-01
data_sources:
  tickets: {kind: csv, location: tickets.csv, owner: science}
budget: {per_day: 20}
slo: [{metric: accuracy, objective: 0.8}]
alerts:
  - {name: slow, metric: p95_seconds, threshold: 5, activity: latency_page}
compliance: {oversight: chloe}
kill_switch: .prodkit/STOP
"""

_GONE = object()


@pytest.fixture
def today() -> date:
    """The day that the manifests are checked for."""
    return TODAY


@pytest.fixture
def right() -> str:
    """The text of a manifest that breaks no rule."""
    return RIGHT


@pytest.fixture
def checked() -> Checked:
    """Checks the right manifest with one place changed: `checked("owners.review_by", None)`; no value takes it out."""

    def run(place: str = "", value: Any = _GONE, *, today: date = TODAY, start: bool = False) -> tuple[Violation, ...]:
        content = changed(place, value) if place else yaml.safe_load(RIGHT)
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=False)
        return check(parse(text), today=today, document=read_document(text, "prodkit.yaml"), start=start)

    return run


def changed(place: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(yaml.safe_load(RIGHT))
    *path, last = place.split(".")
    part: Any = content
    for key in path:
        part = part[int(key)] if isinstance(part, list) else part.setdefault(key, {})
    key = int(last) if isinstance(part, list) else last
    if value is _GONE:
        del part[key]
    else:
        part[key] = value
    return content
