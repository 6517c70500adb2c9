"""A saved view of MLflow's runs table, with the columns that a reviewer sorts by: MLflow itself shows no metric there.

MLflow keeps a view in a tag of the experiment, in a form that isn't documented; a browser test opens it. A form that a
later MLflow doesn't know is a view that isn't listed, and harms nothing.
"""

from __future__ import annotations

import base64
import json
import time
import zlib

KEY = "prodkit"
TAG = f"mlflow.sharedViewState.{KEY}"
NAME = "prodkit: cost, data, latency"
COLUMNS = ("cost_usd", "llm_calls", "llm_calls_unpriced", "llm_calls_degraded", "rows_failed", "p95_seconds")
_STATE = {
    "searchFilter": "",
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "selectedColumns": [*(f"metrics.`{name}`" for name in COLUMNS), "tags.`prodkit.review`", "tags.`prodkit.status`"],
    "columnOrder": [],
    "columnWidths": {},
}


def saved_view() -> str:
    """The value of the tag: the newest runs first, with these columns."""
    packed = base64.b64encode(zlib.compress(json.dumps(_STATE).encode())).decode()
    now = int(time.time() * 1000)
    return json.dumps({"name": NAME, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"})


def place_of_runs(experiment_id: str) -> str:
    """Where MLflow's UI shows the runs in this view."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"
