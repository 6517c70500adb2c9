"""MLflow's ids of runs that began while MLflow took too long to say them: they are noted once it has.

A run begins without its id then, and shipping makes it in MLflow later. The ids come from the files beside the journal;
MLflow isn't asked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from prodkit.jobs.saving import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.jobs.history import History
    from prodkit.jobs.publishing import Publisher

_MOST = 200  # runs that are looked up at a time; some never come to MLflow


def note_ids(history: History, publisher: Publisher, jobs: Path) -> None:
    """Note ids and addresses in the history, and ids in `run.json`, of runs that MLflow has by now.

    Args:
        history: what ran; entries of other folders, whose ids nobody knows here, stay as they are.
        publisher: knows the ids.
        jobs: the state's folder of jobs.
    """
    for entry in history.without_id(_MOST):
        if run_id := publisher.find(entry.run):
            history.note(entry.run, run_id=run_id, url=publisher.place_of(entry.run))
            fill_record(jobs / entry.job / entry.run / "run.json", publisher)


def fill_record(path: Path, publisher: Publisher) -> None:
    """Fill MLflow's ids into a `run.json` whose attempts lack them."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        lacking = [one for one in record["attempts"] if not one["mlflow_run_id"]]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for attempt in lacking:
        attempt["mlflow_run_id"] = publisher.find(f"{record['run']}.{attempt['number']}")
    if any(attempt["mlflow_run_id"] for attempt in lacking):
        write_atomically(path, json.dumps(record, indent=2) + "\n")
