"""What jobs have captured, read from the journal: it is known at once, whether or not MLflow can be reached.

A job's cells are written by its kernels, each into a stream of its own. Only segments that were written to since the
job began are read, and of those only the few lines that tell of runs and of data.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.ledger import events
from prodkit.ledger.chain import Entry, decode
from prodkit.ledger.places import Places
from prodkit.ledger.review import DatasetView, RunView
from prodkit.ledger.segments import list_segments, read_lines
from prodkit.records import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from prodkit.manifest import Project

_CLOCKS_DIFFER = 5.0  # seconds between a file's time and ours
_RUNS = (events.RUN_START, events.RUN_UPDATE, events.RUN_END, events.DATASET)


def captured_cells(project: Project, keys: Collection[str], *, since: datetime) -> dict[str, tuple[RunView, ...]]:
    """The captured cells below some runs, at any depth, with their figures.

    Args:
        project: whose journal is read.
        keys: the keys of the runs, e.g. those of the items of a fan-out.
        since: when the first of them began.

    Returns:
        Key -> its cells; `run_id` and `parent` hold keys of ours. A cell that was killed has the figures of its calls.

    Raises:
        OSError: the journal can't be read.
    """
    folder, began = Places(project.state).journal, since.timestamp() - _CLOCKS_DIFFER
    runs = _runs(_entries(folder, began, _RUNS))
    below: dict[str, list[str]] = {key: [] for key in keys}
    for key, run in runs.items():
        if run.kind == "cell":
            for above in _above(run, runs):
                if above in below:
                    below[above].append(key)
    unsaid = {key for cells in below.values() for key in cells if "cost_usd" not in runs[key].metrics}
    if unsaid:
        runs |= _from_calls(runs, unsaid, _entries(folder, began, (events.CALL,)))
    return {key: tuple(runs[cell] for cell in cells) for key, cells in below.items()}


def cost_of(cells: Collection[RunView]) -> Decimal | None:
    """US dollars of captured cells together; None when a call has no known price."""
    if any(run.metrics.get("llm_calls_unpriced") for run in cells):
        return None
    return sum((Decimal(repr(run.metrics.get("cost_usd", 0.0))) for run in cells), Decimal(0))


def calls_of(cells: Collection[RunView]) -> int:
    """How many model calls the cells have sent."""
    return int(sum(run.metrics.get("llm_calls", 0.0) for run in cells))


def _entries(folder: Path, began: float, kinds: tuple[str, ...]) -> Iterator[Entry]:
    marks = [f'"kind":"{kind}","public":'.encode() for kind in kinds]
    for segment in list_segments(folder):
        if segment.path.stat().st_mtime < began:
            continue
        for _, line in read_lines(segment.path):
            if any(mark in line for mark in marks):
                try:
                    entry = decode(line)
                except ValueError:  # `prodkit audit verify` says what is wrong with it
                    continue
                if entry.kind in kinds:
                    yield entry


def _runs(entries: Iterator[Entry]) -> dict[str, RunView]:
    runs: dict[str, RunView] = {}
    metrics: defaultdict[str, dict[str, float]] = defaultdict(dict)
    datasets: defaultdict[str, list[DatasetView]] = defaultdict(list)
    for entry in entries:
        public = entry.public
        if entry.kind == events.RUN_START:
            runs[public["key"]] = _view(public, entry.time)
        elif entry.kind == events.DATASET:
            told = public["dataset"]
            datasets[public["run_key"]].append(DatasetView(told["name"], told["digest"], told["source"]))
        else:
            metrics[public["run_key"]] |= public["metrics"]
    return {
        key: dataclasses.replace(run, metrics=metrics[key], datasets=tuple(datasets[key])) for key, run in runs.items()
    }


def _view(public: Mapping[str, str], time: str) -> RunView:
    return RunView(
        run_id=public["key"],
        name=public["name"],
        status="",
        started=datetime.fromisoformat(time).astimezone(UTC),
        parent=public.get("parent_key", ""),
        tags={"prodkit.kind": public["kind"]},
    )


def _above(run: RunView, runs: Mapping[str, RunView]) -> list[str]:
    """The keys of the runs that a run lies under, the nearest first."""
    found: list[str] = []
    parent = run.parent
    while parent and parent not in found:
        found.append(parent)
        parent = runs[parent].parent if parent in runs else ""
    return found


def _from_calls(runs: Mapping[str, RunView], keys: set[str], entries: Iterator[Entry]) -> dict[str, RunView]:
    """Runs that nobody was left to sum up, with the figures of the calls that they have recorded."""
    costs: dict[str, Decimal] = dict.fromkeys(keys, Decimal(0))
    calls, unpriced = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    for entry in entries:
        key = entry.public["run_key"]
        if key not in keys:
            continue
        call = events.read_call(entry.public, None)
        if call.status is Status.REFUSED:
            continue
        calls[key] += 1
        costs[key] += call.cost.usd or 0
        never_billed = call.status is Status.ERROR and call.usage.input_tokens is None
        unpriced[key] += call.cost.usd is None and not never_billed
    return {
        key: dataclasses.replace(
            runs[key],
            metrics={
                **runs[key].metrics,
                "cost_usd": float(costs[key]),
                "llm_calls": float(calls[key]),
                "llm_calls_unpriced": float(unpriced[key]),
            },
        )
        for key in keys
    }
