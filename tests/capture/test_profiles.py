"""Each checked input's profile is kept and logged, and the next run says what has moved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from prodkit.capture import inputs, profiles, run

SOURCES = """
data_sources:
  orders: {kind: csv, location: data/orders.csv, contract: orders.yaml, owner: dev, pii: true, data_source: crm}
"""
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    properties:
      - {name: number, logicalType: integer, unique: true, classification: internal}
      - {name: customer, logicalType: string, classification: confidential, tags: [pii]}
      - {name: salary, logicalType: number, classification: restricted}
      - {name: channel, logicalType: string, classification: internal}
      - {name: priority, logicalType: string, classification: public}
      - {name: amount, logicalType: number, classification: internal}
      - {name: at, logicalType: timestamp, classification: internal}
"""


@pytest.fixture(autouse=True)
def _forget_checked_content():
    yield
    inputs._checked.clear()


@pytest.fixture
def project(here):
    made = here(SOURCES)
    (made.root / "orders.yaml").write_text(CONTRACT)
    return made


def orders(seed=0, shift=0.0, rows=1000):
    dice = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": np.arange(rows) + seed * 10_000,
            "customer": dice.choice(["canary-ada", "canary-bob", "canary-cyd"], rows),
            "salary": dice.choice([71234.5, 81234.5], rows),
            "channel": dice.choice(["canary-mail", "canary-shop"], rows),
            "priority": dice.choice(["low", "high", "urgent"], rows, p=[0.6, 0.3, 0.1]),
            "amount": dice.normal(100 + shift, 10, rows),
            "at": pd.Timestamp("2026-01-01") + pd.to_timedelta(seed * 10**7 + dice.integers(0, 10**6, rows), unit="s"),
        }
    )


def once(frame, name="bill", variable="orders"):
    with run(name, inputs={variable: frame}) as opened:
        pass
    opened.ledger.flush()
    return opened


def metrics_of(opened):
    import mlflow

    found = mlflow.get_run(opened.handle.run_id).data.metrics
    return {name: value for name, value in found.items() if name.startswith("drift.")}


def moved(opened):
    return [notice for notice in opened.notices if "has moved" in notice]


def artifact(opened, folder, variable="orders"):
    import mlflow

    place = mlflow.artifacts.download_artifacts(
        run_id=opened.handle.run_id, artifact_path=f"profile/{variable}.json", dst_path=str(folder)
    )
    return Path(place)


def test_same_data_has_not_moved(project):
    """The first run has nothing to compare with; the same data again has moved by nothing."""
    first, second = once(orders()), once(orders())
    assert metrics_of(first) == {}
    found = metrics_of(second)
    assert found["drift.orders.shifts"] == 0
    assert found["drift.orders.psi_max"] == 0
    assert moved(first) == moved(second) == []


def test_data_of_the_same_kind_has_not_moved(project):
    """Other rows of the same distributions, with later times and higher numbers, raise no notice."""
    once(orders())
    second = once(orders(seed=1))
    found = metrics_of(second)
    assert found["drift.orders.shifts"] == 0
    assert 0 < found["drift.orders.psi.amount"] < 0.1
    assert moved(second) == []


def test_shifted_data_is_told(project):
    """A column that has moved is a metric above the usual bound and one notice, in this run and in the same one again."""
    once(orders())
    later = orders(seed=1, shift=15)
    later["channel"] = "canary-shop"
    for opened in (once(later), once(later)):
        found = metrics_of(opened)
        assert found["drift.orders.psi.amount"] > 0.25
        assert found["drift.orders.shifts"] == 2
        [notice] = moved(opened)
        assert "`amount`" in notice
        assert "`channel`" in notice
        assert "`priority`" not in notice
        assert "canary" not in notice


def test_personal_values_stay_away(project, tmp_path):
    """No value of a personal or confidential column is in artifact or history; names of public categories are."""
    once(orders())
    opened = once(orders(seed=1))
    kept = [artifact(opened, tmp_path).read_bytes()]
    kept += [file.read_bytes() for file in (project.state / "profiles").iterdir()]
    assert len(kept) == 2
    for content in kept:
        assert b"canary" not in content
        assert b"71234" not in content
        assert b"81234" not in content
        assert b"urgent" in content


def test_columns_without_a_contract_are_guarded(project, tmp_path):
    """A column that the contract doesn't know, of a source with personal data, has counts alone."""
    frame = orders().assign(note_on_debt="canary-in-debt")
    opened = once(frame)
    content = artifact(opened, tmp_path).read_text()
    assert "canary" not in content
    [column] = [one for one in json.loads(content)["profile"]["columns"] if one["name"] == "note_on_debt"]
    assert column["kind"] == "personal"


def test_undeclared_tables(here, tmp_path):
    """Of a table that no source declares no text is kept, and it is compared with runs of the same name alone."""
    here()
    frame = orders()[["customer", "channel", "amount"]].assign(order_id=range(1000))
    once(frame, variable="frame")
    other = once(frame.assign(amount=0.0), name="another", variable="frame")
    assert metrics_of(other) == {}
    again = once(frame.assign(amount=frame["amount"] + 15, order_id=range(1000, 2000)), variable="frame")
    assert metrics_of(again)["drift.frame.shifts"] == 1  # the amount; ids are expected to grow
    assert metrics_of(again)["drift.frame.psi.amount"] > 0.25
    assert b"canary" not in artifact(again, tmp_path, "frame").read_bytes()


@pytest.mark.parametrize(
    "kind", [pl.from_pandas, pa.RecordBatch.from_pandas, lambda frame: pl.from_pandas(frame).lazy()]
)
def test_other_tables_have_profiles(project, kind):
    """polars, lazy and Arrow tables are followed like pandas ones."""
    once(kind(orders()))
    assert metrics_of(once(kind(orders(seed=1, shift=15))))["drift.orders.psi.amount"] > 0.25


def test_the_artifact_names_its_data(project, tmp_path):
    """The artifact is JSON with the fingerprint of the data that it describes, and a profile that can be read back."""
    from prodkit.profile import Profile

    opened = once(orders())
    content = json.loads(artifact(opened, tmp_path).read_text())
    assert content["fingerprint"] == opened.datasets[0].fingerprint
    assert Profile.from_json(content["profile"]).rows == 1000


def test_a_broken_history_is_told(project):
    """A broken file of profiles doesn't stop the run: it is one notice with the fix."""
    once(orders())
    [file] = (project.state / "profiles").iterdir()
    file.write_text("[{]")
    opened = once(orders(seed=1))
    assert opened.summary().status == "ok"
    assert [notice for notice in opened.notices if "broken" in notice and "remove the file" in notice]


@pytest.mark.parametrize(
    "kind", [lambda frame: frame, lambda frame: pl.from_pandas(frame).lazy()], ids=["pandas", "lazy"]
)
def test_too_large_tables_are_told(project, monkeypatch, kind):
    """Above the limit there is no profile, and a notice says so, for a lazy table too."""
    monkeypatch.setattr(profiles, "_MOST_CELLS", 6999)
    opened = once(kind(orders()))
    assert [notice for notice in opened.notices if "7,000 cells" in notice]
    assert not (project.state / "profiles").exists()
