"""What a run was seen to read and write: as its datasets, as OpenLineage events, and what nobody has declared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from prodkit.capture.lineage import places, run_event
from prodkit.records import Status

if TYPE_CHECKING:
    from prodkit.capture.lineage.attribution import Sighting
    from prodkit.capture.runs import OpenRun
    from prodkit.manifest import Project
    from prodkit.records import DatasetRecord

EVENTS = "lineage/openlineage.json"
UNATTRIBUTED = "lineage/unattributed.json"
_MEMORY = "memory:"
_ENDS = {Status.OK: "COMPLETE", Status.ABORTED: "ABORT"}


def look(run: OpenRun) -> tuple[Sighting, ...]:
    """What the code was seen to read and write, beside the inputs that it declared; the card can show it at once."""
    try:
        seen = (run.sight.look("input"), run.sight.look("output"))
    except Exception as error:  # what was seen is a help; it must not take a run's figures away
        run.note(f"What the run read and wrote couldn't be told: {type(error).__name__}.", error=error)
        return ()
    found = [record for sighting in seen for record in _undeclared(run, sighting.provisional)]
    run.datasets = (*run.datasets, *found)
    if count := len(_unattributed(found)):
        belong = "1 read belongs" if count == 1 else f"{count} reads belong"
        run.note(f"{belong} to no data source of the manifest; see the artifact {UNATTRIBUTED}.")
    return seen


def log(run: OpenRun, seen: tuple[Sighting, ...]) -> None:
    """What was seen, with the ids of its content, as the run's datasets and as its OpenLineage events."""
    try:
        places_of = {id(record): place for place, record in enumerate(run.datasets)}
        datasets = list(run.datasets)
        found = []
        for sighting in seen:
            for provisional, record in zip(sighting.provisional, sighting.records(), strict=True):
                if (place := places_of.get(id(provisional))) is not None:
                    datasets[place] = record
                    found.append(record)
        run.datasets = tuple(datasets)
    except Exception as error:
        run.note(f"The files that the run used couldn't be told by their content: {type(error).__name__}.", error=error)
        found = [record for sighting in seen for record in _undeclared(run, sighting.provisional)]
    for record in found:
        run.ledger.log_dataset(run.handle, record)
    _list_unattributed(run, _unattributed(found))
    _log_events(run)


def _undeclared(run: OpenRun, records: tuple[DatasetRecord, ...]) -> list[DatasetRecord]:
    declared = {one.record.attributes.get("data_source_name", one.name) for one in run.checked}
    return [one for one in records if one.context != "input" or one.name not in declared]


def _unattributed(found: list[DatasetRecord]) -> list[DatasetRecord]:
    return [one for one in found if one.context == "input" and one.attributes.get("attributed") == "no"]


def _list_unattributed(run: OpenRun, found: list[DatasetRecord]) -> None:
    if not found:
        return
    listed = [
        {"name": one.name, "source": one.source, "kind": one.kind, "digest": one.digest, **one.attributes}
        for one in found
    ]
    run.ledger.log_text(run.handle, json.dumps(listed), UNATTRIBUTED)


def _log_events(run: OpenRun) -> None:
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
