"""Run events, checked with the official client."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from prodkit.capture.lineage import run_event
from prodkit.records import DatasetRecord

WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
READ = DatasetRecord(
    "tickets", "/data/tickets.csv", "pf1:0", "pf1:00", rows=3, columns=(("id", "int64"),), attributes={"owner": "ana"}
)
WRITTEN = DatasetRecord("sales", "postgresql://db:5432/shop#public.sales", "na1:0", context="output", rows=1)


def event(**changes):
    options = {"run": "cell-1", "namespace": "triage", "job": "classify", "when": WHEN, "datasets": (READ, WRITTEN)}
    return run_event("COMPLETE", **{**options, **changes})


def test_official_client():
    """The official client builds the same event out of its own classes."""
    client = pytest.importorskip("openlineage.client.event_v2")
    from openlineage.client.facet_v2 import dataset_version_dataset, datasource_dataset, schema_dataset, tags_dataset
    from openlineage.client.generated.base import InputDataset
    from openlineage.client.serde import Serde

    ours = json.loads(json.dumps(event()))
    theirs = client.RunEvent(
        eventType=client.RunState.COMPLETE,
        eventTime=ours["eventTime"],
        run=client.Run(runId=ours["run"]["runId"]),
        job=client.Job(namespace="triage", name="classify"),
        producer=ours["producer"],
        inputs=[
            InputDataset(
                namespace="file",
                name="/data/tickets.csv",
                facets={
                    "dataSource": datasource_dataset.DatasourceDatasetFacet(
                        name="file", uri="file:///data/tickets.csv"
                    ),
                    "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion="pf1:00"),
                    "schema": schema_dataset.SchemaDatasetFacet(
                        fields=[schema_dataset.SchemaDatasetFacetFields(name="id", type="int64")]
                    ),
                    "tags": tags_dataset.TagsDatasetFacet(
                        tags=[tags_dataset.TagsDatasetFacetFields(key="owner", value="ana", source="prodkit")]
                    ),
                },
            )
        ],
    )
    expected = json.loads(Serde.to_json(theirs))

    dropped = {"_producer", "inputFacets"}

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key not in dropped and item != []}
        return [plain(item) for item in value] if isinstance(value, list) else value

    assert plain(ours["inputs"]) == plain(expected["inputs"])
    assert {key: ours[key] for key in ("eventType", "eventTime", "job", "run")} == {
        key: expected[key] for key in ("eventType", "eventTime", "job", "run")
    }
    assert ours["schemaURL"] == expected["schemaURL"]


def test_names():
    """Datasets are named after the specification's rules."""
    written = event()["outputs"][0]
    assert (written["namespace"], written["name"]) == ("postgres://db:5432", "shop.public.sales")


def test_one_run_one_id():
    """The run's id is a UUID that follows from our key."""
    assert event()["run"] == event()["run"] != event(run="cell-2")["run"]


def test_wrong_events():
    """An unknown event or a time without zone is an error."""
    with pytest.raises(ValueError, match="START"):
        run_event("DONE", run="r", namespace="n", job="j", when=WHEN)
    with pytest.raises(ValueError, match="zone"):
        event(when=WHEN.replace(tzinfo=None))
