"""What a run was seen to read and write: as its datasets, as OpenLineage events, and what nobody has declared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.capture.lineage import places, run_event
from prodkit.records import Status

if TYPE_CHECKING:
    from prodkit.capture.runs import OpenRun
    from prodkit.manifest import Project
    from prodkit.records import DatasetRecord

EVENTS = "lineage/openlineage.json"
UNATTRIBUTED = "lineage/unattributed.json"
_MEMORY = "memory:"
_ENDS = {Status.OK: "COMPLETE", Status.ABORTED: "ABORT"}


def log_seen(run: OpenRun) -> None:
    """What the code was seen to read and write, beside the inputs that it declared."""
    try:
        seen = [*run.sight.reads, *run.sight.writes]
    except Exception as error:  # what was seen is a help; it must not take a run's figures away
        run.note(f"What the run read and wrote couldn't be told: {type(error).__name__}.", error=error)
        return
    declared = {one.attributes.get("data_source_name", one.name) for one in run.datasets}
    for record in seen:
        if record.context == "input" and record.name in declared:
            continue
        run.datasets = (*run.datasets, record)
        run.ledger.log_dataset(run.handle, record)
    _tell_unattributed(
        run, [one for one in seen if one.context == "input" and one.attributes.get("attributed") == "no"]
    )


def _tell_unattributed(run: OpenRun, found: list[DatasetRecord]) -> None:
    """One notice with a count, and the list as an artifact."""
    if not found:
        return
    listed = [
        {"name": one.name, "source": one.source, "kind": one.kind, "digest": one.digest, **one.attributes}
        for one in found
    ]
    run.ledger.log_text(run.handle, json.dumps(listed), UNATTRIBUTED)
    belong = "1 read belongs" if len(found) == 1 else f"{len(found)} reads belong"
    run.note(f"{belong} to no data source of the manifest; see the artifact {UNATTRIBUTED}.")


def log_events(run: OpenRun) -> None:
    """The run's start and end as OpenLineage events, when it has used data.

    The specification wants a START and one terminal event for each run; an OpenLineage backend takes them one by one.
    """
    if not run.datasets:
        return
    datasets = [replace(one, source=_place(one.source, run.project)) for one in run.datasets]
    said = {"run": run.key, "namespace": run.manifest.service.name, "job": run.name}
    ended = run.ended or run.started
    events = [
        run_event("START", when=run.started, datasets=[one for one in datasets if one.context == "input"], **said),
        run_event(_ENDS.get(run.status, "FAIL"), when=ended, datasets=datasets, **said),
    ]
    run.ledger.log_text(run.handle, json.dumps(events), EVENTS)


def _place(source: str, project: Project) -> str:
    """A source's absolute place without credentials; a table in memory has none."""
    if source.startswith(_MEMORY):
        return source
    if "://" not in source:
        return places.normalise(str(project.path(source)))
    address, mark, table = source.partition("#")
    return f"{places.normalise(address)}{mark}{table}"
