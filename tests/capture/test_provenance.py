"""A run's reads and writes are OpenLineage events that the official client makes too, and undeclared reads are said."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from pathlib import Path

import pandas as pd
import pytest

from prodkit.capture import close_run, open_run, run
from prodkit.capture.lineage import digests, watch
from prodkit.capture.options import RunOptions
from prodkit.fingerprints import fingerprint_file
from prodkit.ledger.audit import Audit

SOURCES = """
data_sources:
  orders: {kind: csv, location: "data/orders *.csv", owner: dev, region: eu}
"""


@pytest.fixture
def project(here):
    made = here(SOURCES)
    (made.root / "data").mkdir()
    pd.DataFrame({"a": [1, 2, 3]}).to_csv(made.root / "data" / "orders 1.csv", index=False)
    pd.DataFrame({"a": [1, 2]}).to_csv(made.root / "data" / "other.csv", index=False)
    return made


def fetched(opened, path, folder):
    import mlflow

    opened.ledger.flush()
    place = mlflow.artifacts.download_artifacts(run_id=opened.handle.run_id, artifact_path=path, dst_path=str(folder))
    return json.loads(Path(place).read_text())


def artifacts(opened):
    import mlflow

    opened.ledger.flush()
    return {one.path for one in mlflow.MlflowClient().list_artifacts(opened.handle.run_id, "lineage")}


def facets_by_client(facets):
    """The same facets, made by the official classes out of their plain values alone."""
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        datasource_dataset,
        input_statistics_input_dataset,
        output_statistics_output_dataset,
        schema_dataset,
        tags_dataset,
    )

    classes = {
        "dataSource": datasource_dataset.DatasourceDatasetFacet,
        "version": dataset_version_dataset.DatasetVersionDatasetFacet,
        "inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    }
    made = {}
    for name, facet in facets.items():
        values = {key: value for key, value in facet.items() if not key.startswith("_")}
        if name == "schema":
            fields = [schema_dataset.SchemaDatasetFacetFields(**field) for field in values["fields"]]
            made[name] = schema_dataset.SchemaDatasetFacet(fields=fields)
        elif name == "tags":
            tags = [tags_dataset.TagsDatasetFacetFields(**tag) for tag in values["tags"]]
            made[name] = tags_dataset.TagsDatasetFacet(tags=tags)
        else:
            made[name] = classes[name](**values)
    return made


def by_client(event):
    """The event as the official client writes it."""
    client = pytest.importorskip("openlineage.client.event_v2")
    from openlineage.client.serde import Serde

    def datasets(key, kind, own):
        return [
            kind(
                namespace=one["namespace"],
                name=one["name"],
                facets=facets_by_client(one["facets"]),
                **{own: facets_by_client(one[own])},
            )
            for one in event[key]
        ]

    made = client.RunEvent(
        eventType=client.RunState[event["eventType"]],
        eventTime=event["eventTime"],
        run=client.Run(runId=event["run"]["runId"], facets={}),
        job=client.Job(namespace=event["job"]["namespace"], name=event["job"]["name"], facets={}),
        producer=event["producer"],
        inputs=datasets("inputs", client.InputDataset, "inputFacets"),
        outputs=datasets("outputs", client.OutputDataset, "outputFacets"),
    )
    return json.loads(Serde.to_json(made))


def slim(value):
    """Without producers, and without what is empty: the client leaves some of it out."""
    if isinstance(value, dict):
        slimmed = {key: slim(item) for key, item in value.items() if key != "_producer"}
        return {key: item for key, item in slimmed.items() if item not in ({}, [])}
    return [slim(item) for item in value] if isinstance(value, list) else value


def test_events_are_those_of_the_official_client(project, tmp_path):
    """Start and end of a run that reads a file, a database and a frame, and writes one, equal what the client writes."""
    with sqlite3.connect("shop.db") as database:
        database.execute("create table sales (a integer)")
    database.close()
    with run("bill", inputs={"made": pd.DataFrame({"b": [1]})}) as opened:
        frame = pd.read_csv("data/orders 1.csv")
        with sqlite3.connect("shop.db") as database:
            database.execute("select * from sales").fetchall()
        database.close()
        frame.to_parquet("bills.parquet")
        opened.outputs["result"] = frame
    events = fetched(opened, "lineage/openlineage.json", tmp_path)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert events[0]["run"] == events[1]["run"]
    for event in events:
        assert slim(event) == slim(by_client(event))
    end = events[1]
    inputs = {(one["namespace"], one["name"]) for one in end["inputs"]}
    root = str(project.root)
    assert {("file", f"{root}/data/orders *.csv"), ("memory", "made")} <= inputs
    assert any(namespace.startswith("sqlite://") and name == "sales" for namespace, name in inputs)
    assert {one["name"] for one in end["outputs"]} >= {f"{root}/bills.parquet", "result"}
    [orders] = [one for one in end["inputs"] if one["name"].endswith("orders *.csv")]
    assert orders["facets"]["dataSource"]["uri"] == f"file://{root}/data/orders%20*.csv"


def read_and_fail(error, made):
    with run("bill") as opened:
        made.append(opened)
        pd.read_csv("data/orders 1.csv")
        raise error


def test_a_failed_run_ends_in_fail(project, tmp_path):
    """An error ends the run's events in FAIL, an interrupt in ABORT, with the data that was read until then."""
    for error, said in ((KeyError, "FAIL"), (KeyboardInterrupt, "ABORT")):
        made = []
        with pytest.raises(error):
            read_and_fail(error, made)
        events = fetched(made[0], "lineage/openlineage.json", tmp_path)
        assert [event["eventType"] for event in events] == ["START", said]
        assert len(events[1]["inputs"]) == 1


def test_no_data_no_events(project):
    """A run without data has no events, and one with declared data alone has no notice."""
    with run("idle") as idle:
        pass
    assert artifacts(idle) == set()
    with run("bill") as opened:
        pd.read_csv("data/orders 1.csv")
    assert artifacts(opened) == {"lineage/openlineage.json"}
    assert not [notice for notice in opened.notices if "no data source" in notice]


def test_undeclared_reads_are_said(project, tmp_path):
    """Reads that no data source covers are one notice with their number, and are listed in an artifact."""
    (project.root / "note.txt").write_text("x")
    with run("bill") as opened:
        pd.read_csv("data/orders 1.csv")
        pd.read_csv("data/other.csv")
        (project.root / "note.txt").read_text()
    [notice] = [notice for notice in opened.summary().notices if "no data source" in notice]
    assert notice.startswith("2 reads belong")
    listed = fetched(opened, "lineage/unattributed.json", tmp_path)
    assert {one["name"] for one in listed} == {"data/other.csv", "note.txt"}


def test_events_hold_no_password(here, tmp_path):
    """A data source's address with a password is without it in the events."""
    here("data_sources:\n  crm: {kind: sql, location: 'postgresql://ada:canary-pw@db:5432/shop'}\n")
    with run("bill", inputs={"crm": pd.DataFrame({"a": [1]})}) as opened:
        pass
    events = fetched(opened, "lineage/openlineage.json", tmp_path)
    assert "canary" not in json.dumps(events)
    assert events[1]["inputs"][0]["namespace"] == "postgres://db:5432"


def big(path, byte):
    path.write_bytes(byte * 1_000_000)
    return path


def test_large_files_are_read_after_the_cell(project, tmp_path):
    """The ids of large files are taken behind the user's back, and are on record, exact, in dataset and event."""
    import mlflow

    path = big(project.root / "data" / "large.bin", b"x")
    with run("bill") as opened:
        path.read_bytes()
    opened.ledger.flush()
    [dataset] = opened.datasets
    assert dataset.fingerprint == fingerprint_file(path)
    [logged] = mlflow.get_run(opened.handle.run_id).inputs.dataset_inputs
    assert logged.dataset.digest == dataset.digest
    events = fetched(opened, "lineage/openlineage.json", tmp_path)
    assert events[1]["inputs"][0]["facets"]["version"]["datasetVersion"] == dataset.fingerprint
    assert Audit(project).verify().flaws == ()


def test_a_file_that_changes_after_the_cell_has_no_id_of_other_bytes(project):
    """What is written over before it could be read keeps an id that doesn't claim to be of its content."""
    path = big(project.root / "data" / "large.bin", b"x")
    opened = open_run(RunOptions("bill"))
    path.read_bytes()
    begin, go = threading.Event(), threading.Event()
    opened.ledger._later.do(lambda: (begin.set(), go.wait(10)))
    begin.wait(10)
    close_run(opened)
    big(path, b"other")
    go.set()
    opened.ledger.flush()
    [dataset] = opened.datasets
    assert dataset.digest.startswith("st1:")
    assert dataset.fingerprint == ""


def test_the_next_run_reads_an_unchanged_file_no_more(project):
    """A file that has been the same for a while is read for its id once in a process."""
    path = big(project.root / "data" / "large.bin", b"x")
    os.utime(path, ns=(1, 1))
    with watch(project) as seen:
        path.read_bytes()
    assert not seen.look("input").settled
    state = digests.look(str(path))
    digests._remember(state, seen.reads[0].fingerprint)
    assert seen.look("input").settled
    big(path, b"y")
    assert not seen.look("input").settled
