"""A run's data is checked before any money is spent, set aside where it is bad, and recorded by content."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from prodkit.capture import RunOptions, close_run, inputs, open_run, run
from prodkit.contracts import infer
from prodkit.errors import DataError, ParameterError
from prodkit.fingerprints import fingerprint
from prodkit.records import Status

SOURCES = """
data_sources:
  tickets:
    kind: excel
    location: data/*.xlsx
    contract: tickets.yaml
    owner: dev
    region: eu
    classification: confidential
    pii: true
    retention_days: 30
    data_source: crm
"""


@pytest.fixture(autouse=True)
def _forget_checks():
    yield
    inputs._checked.clear()


@pytest.fixture
def tickets(here):
    """A project with a contract, and tickets of which two break it."""
    project = here(SOURCES)
    good = pd.DataFrame(
        {"ticket": [f"T-{number:04d}" for number in range(40)], "priority": ["low", "high"] * 20, "size": range(40)}
    )
    text = infer(good, name="tickets").to_yaml()
    (project.root / "tickets.yaml").write_text(text)
    bad = good.copy()
    bad.loc[[3, 7], "priority"] = "whenever"
    return bad


def test_bad_rows_are_set_aside(tickets, here):
    """In mode quarantine the variable is rebound to the valid rows, and the bad ones lie in a file with their reasons."""
    namespace = {"tickets": tickets}
    opened = open_run(RunOptions("classify", inputs=("tickets",), namespace=namespace))
    summary = close_run(opened)
    assert len(namespace["tickets"]) == len(opened.inputs["tickets"]) == 38
    assert summary.rows_checked == 40
    assert summary.rows_quarantined == 2
    assert any("priority" in finding.rule for finding in summary.findings)
    [place] = (opened.project.state / "quarantine" / opened.key).iterdir()
    rows = pq.read_table(place).to_pandas()
    assert list(rows["ticket"]) == ["T-0003", "T-0007"]
    assert rows["prodkit_reason"].str.contains("priority").all()
    assert "whenever" not in " ".join(summary.notices)


def test_refused_data_starts_nothing(tickets, client, ask):
    """In mode refuse no line of the cell runs, and the refused run is on record."""
    namespace = {"tickets": tickets}
    with pytest.raises(DataError) as caught:
        open_run(RunOptions("classify", inputs=("tickets",), mode="refuse", namespace=namespace))
    assert caught.value.code == "contract.broken"
    assert namespace["tickets"] is tickets


def test_warned_data_is_used(tickets):
    """In mode warn all rows go on, and the card says how many break the contract."""
    with run("classify", inputs={"tickets": tickets}, mode="warn") as opened:
        assert len(opened.inputs["tickets"]) == 40
    assert opened.summary().rows_quarantined == 0
    assert any("break their contract" in notice for notice in opened.notices)


def test_the_dataset_is_recorded(tickets, client, ask):
    """The input is a dataset of the run with source, digest, owner and classification, and each call names it."""
    import mlflow

    with run("classify", inputs={"tickets": tickets}) as opened:
        ask(client)
    [dataset] = opened.datasets
    assert dataset.fingerprint == fingerprint(opened.inputs["tickets"])
    assert len(dataset.digest) <= 36
    assert dataset.rows == 38
    assert dataset.rows_failed == 2
    assert dataset.attributes["owner"] == "dev"
    assert dataset.attributes["classification"] == "confidential"
    assert opened.calls[0].datasets == (dataset.digest,)
    opened.ledger.flush()
    logged = mlflow.get_run(opened.handle.run_id)
    assert logged.inputs.dataset_inputs[0].dataset.digest == dataset.digest
    assert logged.data.params["fingerprint.tickets"] == dataset.fingerprint
    assert logged.data.metrics["rows_checked"] == 40
    assert logged.data.metrics["rows_failed"] == 2
    assert any(name.startswith("failed.priority") for name in logged.data.metrics)
    found = {one.path for one in mlflow.MlflowClient().list_artifacts(opened.handle.run_id, "validation")}
    assert found == {"validation/tickets.html", "validation/tickets.md"}


def test_strict_runs_refuse_unchecked_frames(tickets):
    """A strict cell that uses a dataframe nobody has checked is refused by the frame's name; a checked one passes."""
    namespace = {"tickets": tickets, "sample": tickets.head(5)}
    code = "total = len(tickets) + len(sample)"
    options = {"inputs": ("tickets",), "namespace": namespace, "code": code, "strict": True}
    with pytest.raises(DataError) as caught:
        open_run(RunOptions("strict", **options))
    assert caught.value.code == "capture.unchecked-data"
    assert "`sample`" in caught.value.what
    assert "`tickets`" not in caught.value.what
    options["code"] = "total = len(tickets)"
    assert close_run(open_run(RunOptions("strict", **options))).status is Status.OK
    del options["inputs"]  # it was checked by the run before, and hasn't changed since
    assert close_run(open_run(RunOptions("strict", **options))).status is Status.OK
    namespace["tickets"].loc[0, "size"] = 99
    with pytest.raises(DataError):
        open_run(RunOptions("strict", **options))


def test_strict_with_statements_read_their_own_body(tickets):
    """`with run(..., strict=True)` sees the dataframes that its body uses."""
    frame = tickets
    with pytest.raises(DataError) as caught, run("strict", strict=True):
        len(frame)
    assert "`frame`" in caught.value.what
    other = 1
    with run("strict", strict=True):
        other += 1


@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_other_tables_are_checked_alike(tickets, kind):
    """Polars frames and Arrow tables are checked like pandas frames and stay what they are."""
    frame = pl.from_pandas(tickets) if kind == "polars" else pl.from_pandas(tickets).to_arrow()
    with run("classify", inputs={"tickets": frame}) as opened:
        valid = opened.inputs["tickets"]
    assert type(valid) is type(frame)
    assert opened.datasets[0].rows == 38
    assert [name for name, _ in opened.datasets[0].columns] == ["ticket", "priority", "size"]


def test_wrong_inputs_are_said_at_once(here):
    """A name that isn't there, and a variable that is no dataframe, are refused by name with the nearest fix."""
    here()
    namespace = {"tickets": pd.DataFrame({"a": [1]}), "number": 3}
    with pytest.raises(ParameterError) as caught:
        open_run(RunOptions("x", inputs=("tikets",), namespace=namespace))
    assert caught.value.code == "capture.unknown-input"
    assert "`tickets`" in caught.value.fix
    with pytest.raises(DataError) as caught:
        open_run(RunOptions("x", inputs=("number",), namespace=namespace))
    assert caught.value.code == "capture.not-a-frame"


def test_outputs_are_recorded(here):
    """Dataframes that the run makes are recorded by content; one that wasn't made is said."""
    here()
    with run("make", outputs=("missing",)) as opened:
        opened.outputs["result"] = pd.DataFrame({"a": [1, 2]})
    [dataset] = opened.datasets
    assert dataset.context == "output"
    assert dataset.rows == 2
    assert any("missing" in notice for notice in opened.notices)
