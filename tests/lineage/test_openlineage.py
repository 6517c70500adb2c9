"""Run events, checked with the official client and against the official JSON Schemas."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import referencing

from prodkit.capture.lineage import run_event
from prodkit.records import DatasetRecord

WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
READ = DatasetRecord(
    "tickets", "/data/tickets.csv", "pf1:0", "pf1:00", rows=3, columns=(("id", "int64"),), attributes={"owner": "ana"}
)
WRITTEN = DatasetRecord("sales", "postgresql://db:5432/shop#public.sales", "na1:0", context="output", rows=1)

EVERYTHING = (
    READ,
    WRITTEN,
    DatasetRecord("made", "memory:made", "pk1:0", rows=0, columns=(("a", "list[struct[2]]"),)),
    DatasetRecord("page", "https://example.org/data/a b.csv", "na1:0"),
    DatasetRecord("shop.db#sales", "sqlite:///data/shop.db#sales", "na1:0", context="output"),
    DatasetRecord("many", "/data/orders *.csv", "pm1:0", context="output", columns=(("x", "str"),)),
)
KINDS = ("START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER")


def event(kind="COMPLETE", **changes):
    options = {"run": "cell-1", "namespace": "triage", "job": "classify", "when": WHEN, "datasets": (READ, WRITTEN)}
    return run_event(kind, **{**options, **changes})


@pytest.fixture(scope="module")
def errors():
    """What the official schemas say against an event; each facet is held against the schema that it names itself."""
    schemas = [json.loads(path.read_text()) for path in (Path(__file__).parent / "openlineage").glob("*.json")]
    registry = referencing.Registry().with_contents((schema["$id"], schema) for schema in schemas)

    def against(address, value):
        validator = jsonschema.Draft202012Validator(
            {"$ref": address}, registry=registry, format_checker=jsonschema.FormatChecker()
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def find(found):
        said = against(found["schemaURL"], found)
        for dataset in found["inputs"] + found["outputs"]:
            own = dataset.get("inputFacets", {}) | dataset.get("outputFacets", {})
            for facet in [*dataset["facets"].values(), *own.values()]:
                said += against(facet["_schemaURL"], facet)
        return said

    return find


@pytest.mark.parametrize("kind", KINDS)
def test_official_schemas(errors, kind):
    """Every kind of event, with every facet that is written, is valid against the official schemas."""
    made = json.loads(json.dumps(event(kind, datasets=EVERYTHING)))
    assert errors(made) == []
    written = {name for dataset in made["inputs"] + made["outputs"] for name in dataset["facets"]}
    assert written == {"dataSource", "version", "schema", "tags"}


def test_the_schemas_are_strict(errors):
    """The check of the schemas sees a wrong kind, time, run id, address and column."""
    right = event(datasets=EVERYTHING)
    for path, wrong in {
        ("eventType",): "DONE",
        ("eventTime",): "yesterday",
        ("run", "runId"): "cell-1",
        ("job",): {"namespace": "triage"},
        ("inputs", 0, "facets", "dataSource", "uri"): "a b",
        ("inputs", 0, "facets", "schema", "fields"): [{"type": "int64"}],
        ("outputs", 0, "outputFacets", "outputStatistics", "rowCount"): "many",
    }.items():
        broken = copy.deepcopy(right)
        inner = broken
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = wrong
        assert errors(broken), path


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
