"""A project folder with one small table in each format."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from prodkit.manifest import find_project

FRAME = pd.DataFrame({"id": [1, 2, 3], "text": ["a", "b", "c"]})
MANIFEST = """
service: {name: lineage}
data_sources:
  tickets: {kind: csv, location: "in/*.csv", owner: ana, region: eu, classification: confidential, pii: true, contract: c.yaml}
  shop: {kind: sql, location: "sqlite:///ROOT/shop.db", owner: ben}
"""


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A folder with `data.*` in all formats; made once."""
    return make_samples(tmp_path_factory.mktemp("samples"))


def make_samples(folder):
    """One small table in each format."""
    FRAME.to_csv(folder / "data.csv", index=False)
    FRAME.to_parquet(folder / "data.parquet", index=False)
    FRAME.to_json(folder / "data.json", orient="records")
    FRAME.to_json(folder / "data.ndjson", orient="records", lines=True)
    FRAME.to_excel(folder / "data.xlsx", index=False)
    FRAME.to_feather(folder / "data.feather")
    FRAME.to_orc(folder / "data.orc")
    FRAME.to_pickle(folder / "data.pkl")
    pl.from_pandas(FRAME).write_ipc(folder / "data.arrow")
    with contextlib.closing(sqlite3.connect(folder / "data.db")) as database:
        FRAME.to_sql("data", database, index=False)
    with duckdb.connect(str(folder / "data.duckdb")) as database:
        database.execute(f"CREATE TABLE data AS FROM '{folder / 'data.parquet'}'")
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose manifest maps a folder of CSV files and a database; it is the current directory."""
    (tmp_path / "prodkit.yaml").write_text(MANIFEST.replace("ROOT", str(tmp_path).lstrip("/")))
    (tmp_path / "in").mkdir()
    for number in range(3):
        FRAME.to_csv(tmp_path / "in" / f"{number}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRODKIT_PROJECT", raising=False)
    return find_project(Path(tmp_path))
