"""Each way in which a notebook reads or writes data is seen."""
# The functions are looked up when they are called, and files are opened in all ways: that is what is tested.
# ruff: noqa: PLW0108, PTH123, S301, S608, SIM115

from __future__ import annotations

import contextlib
import gzip
import sqlite3

import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.json
import pyarrow.orc
import pyarrow.parquet
import pytest
import sqlalchemy

from prodkit.capture.lineage import watch


def _closed(handle, use=lambda handle: handle.read()):
    with contextlib.closing(handle):
        return use(handle)


READS = {
    "open": ("data.csv", lambda path: _closed(open(path))),
    "open-bytes": ("data.csv", lambda path: _closed(open(path, "rb"))),
    "Path.read_text": ("data.csv", lambda path: path.read_text()),
    "gzip": ("data.csv", lambda path: gzip.open(path).close()),
    "pandas.read_csv": ("data.csv", lambda path: pd.read_csv(path)),
    "pandas.read_csv-pyarrow": ("data.csv", lambda path: pd.read_csv(path, engine="pyarrow")),
    "pandas.read_csv-handle": ("data.csv", lambda path: _closed(path.open(), pd.read_csv)),
    "pandas.read_table": ("data.csv", lambda path: pd.read_table(path)),
    "pandas.read_parquet": ("data.parquet", lambda path: pd.read_parquet(path)),
    "pandas.read_json": ("data.json", lambda path: pd.read_json(path)),
    "pandas.read_excel": ("data.xlsx", lambda path: pd.read_excel(path, engine="openpyxl")),
    "pandas.read_excel-calamine": ("data.xlsx", lambda path: pd.read_excel(path, engine="calamine")),
    "pandas.ExcelFile": ("data.xlsx", lambda path: _closed(pd.ExcelFile(path, engine="openpyxl"), pd.read_excel)),
    "pandas.read_feather": ("data.feather", lambda path: pd.read_feather(path)),
    "pandas.read_orc": ("data.orc", lambda path: pd.read_orc(path)),
    "pandas.read_pickle": ("data.pkl", lambda path: pd.read_pickle(path)),
    "polars.read_csv": ("data.csv", lambda path: pl.read_csv(path)),
    "polars.scan_csv": ("data.csv", lambda path: pl.scan_csv(path).collect()),
    "polars.read_parquet": ("data.parquet", lambda path: pl.read_parquet(path)),
    "polars.scan_parquet": ("data.parquet", lambda path: pl.scan_parquet(path).collect()),
    "polars.read_json": ("data.json", lambda path: pl.read_json(path)),
    "polars.read_ndjson": ("data.ndjson", lambda path: pl.read_ndjson(path)),
    "polars.scan_ndjson": ("data.ndjson", lambda path: pl.scan_ndjson(path).collect()),
    "polars.read_ipc": ("data.arrow", lambda path: pl.read_ipc(path)),
    "polars.scan_ipc": ("data.arrow", lambda path: pl.scan_ipc(path).collect()),
    "polars.read_excel": ("data.xlsx", lambda path: pl.read_excel(path, engine="openpyxl")),
    "pyarrow.parquet.read_table": ("data.parquet", lambda path: pa.parquet.read_table(path)),
    "pyarrow.parquet.ParquetFile": ("data.parquet", lambda path: pa.parquet.ParquetFile(path).read()),
    "pyarrow.parquet.ParquetDataset": ("data.parquet", lambda path: pa.parquet.ParquetDataset(path).read()),
    "pyarrow.dataset": ("data.parquet", lambda path: pa.dataset.dataset(path).to_table()),
    "pyarrow.csv.read_csv": ("data.csv", lambda path: pa.csv.read_csv(path)),
    "pyarrow.json.read_json": ("data.ndjson", lambda path: pa.json.read_json(path)),
    "pyarrow.feather.read_table": ("data.feather", lambda path: pa.feather.read_table(path)),
    "pyarrow.orc.read_table": ("data.orc", lambda path: pa.orc.read_table(path)),
    "pyarrow.memory_map": ("data.arrow", lambda path: pa.ipc.open_file(pa.memory_map(str(path))).read_all()),
    "duckdb.sql": ("data.parquet", lambda path: duckdb.sql(f"SELECT * FROM '{path}'").fetchall()),
    "duckdb.read_parquet()": (
        "data.parquet",
        lambda path: duckdb.execute(f"SELECT * FROM read_parquet('{path}')").fetchall(),
    ),
    "duckdb.read_csv": ("data.csv", lambda path: duckdb.read_csv(str(path)).fetchall()),
    "duckdb-connection": ("data.csv", lambda path: duckdb.connect().sql(f"FROM read_csv('{path}')").fetchall()),
    "numpy.loadtxt": ("data.csv", lambda path: np.loadtxt(path, delimiter=",", dtype=str)),
    "numpy.genfromtxt": ("data.csv", lambda path: np.genfromtxt(path, delimiter=",", dtype=str)),
    "numpy.fromfile": ("data.csv", lambda path: np.fromfile(path, dtype=np.uint8)),
    "numpy.memmap": ("data.csv", lambda path: np.memmap(path, mode="r")),
    "fsspec": ("data.csv", lambda path: _closed(fsspec.open(f"file://{path}").open())),
}


@pytest.mark.parametrize("way", READS)
def test_read_is_seen(samples, project, way):
    """Each way of reading a file is seen, as a read of that file and of nothing else."""
    name, read = READS[way]
    with watch(project) as seen:
        read(samples / name)
    assert [record.source for record in seen.reads] == [str(samples / name)]
    assert seen.writes == ()


WRITES = {
    "open": lambda frame, path: open(path, "w").close(),
    "pandas.to_csv": lambda frame, path: frame.to_csv(path),
    "pandas.to_parquet": lambda frame, path: frame.to_parquet(path),
    "pandas.to_excel": lambda frame, path: frame.to_excel(path.with_suffix(".xlsx")),
    "pandas.to_json": lambda frame, path: frame.to_json(path),
    "polars.write_parquet": lambda frame, path: pl.from_pandas(frame).write_parquet(path),
    "polars.write_csv": lambda frame, path: pl.from_pandas(frame).write_csv(path),
    "polars.sink_parquet": lambda frame, path: pl.from_pandas(frame).lazy().sink_parquet(path),
    "pyarrow.write_table": lambda frame, path: pa.parquet.write_table(pa.Table.from_pandas(frame), path),
    "pyarrow.csv.write_csv": lambda frame, path: pa.csv.write_csv(pa.Table.from_pandas(frame), path),
    "duckdb.copy": lambda frame, path: duckdb.sql(f"COPY (SELECT 1) TO '{path}' (FORMAT csv)"),
    "numpy.save": lambda frame, path: np.save(path.with_suffix(".npy"), np.arange(3)),
    "numpy.savetxt": lambda frame, path: np.savetxt(path, np.arange(3)),
}


@pytest.mark.parametrize("way", WRITES)
def test_write_is_seen(project, way):
    """Each way of writing a file is seen as an output."""
    frame = pd.DataFrame({"a": [1, 2]})
    with watch(project) as seen:
        WRITES[way](frame, project.root / "out.data")
    assert [record.source.rsplit(".", 1)[0] for record in seen.writes] == [str(project.root / "out")]
    assert [record.context for record in seen.writes] == ["output"]


def test_safe_writes(project):
    """A file that is written under another name and renamed is one output, under its last name."""
    with watch(project) as seen:
        (project.root / "tmp123").write_text("x")
        (project.root / "tmp123").rename(project.root / "report.txt")
    assert [record.name for record in seen.writes] == ["report.txt"]


def _sqlite(path, use):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return use(connection)


def _engine(path, use):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return use(connection)
    finally:
        engine.dispose()


def _duckdb(path, use):
    with duckdb.connect(str(path)) as connection:
        return use(connection)


ALL = "SELECT * FROM data"
STATEMENTS = {
    "sqlite3": ("data.db", lambda path: _sqlite(path, lambda c: c.execute(ALL).fetchall())),
    "sqlite3-cursor": ("data.db", lambda path: _sqlite(path, lambda c: c.cursor().execute(ALL).fetchall())),
    "pandas.read_sql-sqlite3": ("data.db", lambda path: _sqlite(path, lambda c: pd.read_sql(ALL, c))),
    "pandas.read_sql-sqlalchemy": (
        "data.db",
        lambda path: _engine(path, lambda c: pd.read_sql(sqlalchemy.text(ALL), c)),
    ),
    "pandas.read_sql-url": ("data.db", lambda path: pd.read_sql(ALL, f"sqlite:///{path}")),
    "pandas.read_sql_table": ("data.db", lambda path: _engine(path, lambda c: pd.read_sql_table("data", c))),
    "sqlalchemy": ("data.db", lambda path: _engine(path, lambda c: c.execute(sqlalchemy.text(ALL)).all())),
    "polars.read_database": ("data.db", lambda path: _sqlite(path, lambda c: pl.read_database(ALL, c))),
    "duckdb-table": ("data.duckdb", lambda path: _duckdb(path, lambda c: c.execute(ALL).fetchall())),
    "duckdb-sql": ("data.duckdb", lambda path: _duckdb(path, lambda c: c.sql(ALL).fetchall())),
    "duckdb.table()": ("data.duckdb", lambda path: _duckdb(path, lambda c: c.table("data").fetchall())),
    "duckdb-frame": ("data.duckdb", lambda path: _duckdb(path, lambda c: c.sql("SELECT d.* FROM data d").df())),
}


@pytest.mark.filterwarnings("ignore:unclosed database")  # pandas leaves the engine that it makes of a URL open
@pytest.mark.parametrize("way", STATEMENTS)
def test_statement_is_seen(samples, project, way):
    """Each way of asking a database is seen, as a read of that table and of nothing else."""
    name, read = STATEMENTS[way]
    with watch(project) as seen:
        read(samples / name)
    dialect = "duckdb" if name.endswith(".duckdb") else "sqlite"
    assert [record.source for record in seen.reads] == [f"{dialect}://{samples / name}#data"]
    assert seen.writes == ()


FRAME = pd.DataFrame({"a": [1]})


@pytest.mark.parametrize("watched", [True, False])
def test_duckdb_finds_the_users_frames(project, watched):
    """DuckDB finds the variables of the code that calls it, local and global, whether a watch is open or not."""
    with watch(project) as seen:
        pass
    with watch(project) if watched else contextlib.nullcontext():
        local = pd.DataFrame({"a": [2]})
        assert duckdb.sql("SELECT * FROM local").fetchall() == [(2,)]
        assert duckdb.query("SELECT * FROM FRAME").fetchall() == [(1,)]
        assert duckdb.execute("SELECT * FROM local").fetchall() == [(2,)]
        with duckdb.connect() as connection:
            assert connection.sql("SELECT * FROM local, FRAME").fetchall() == [(2, 1)]
            assert connection.execute("SELECT * FROM FRAME").fetchall() == [(1,)]
    assert len(local) == 1
    assert seen.reads == ()


def test_frames_in_duckdb_are_no_tables(samples, project):
    """A frame that a statement names like a table is no dataset, and a table that is made is an output."""
    frame = pd.DataFrame({"a": [1]})
    with watch(project) as seen, duckdb.connect(str(project.root / "new.duckdb")) as connection:
        connection.sql("SELECT * FROM frame").fetchall()
        connection.execute("CREATE TABLE kept AS SELECT * FROM frame")
    assert len(frame) == 1
    assert seen.reads == ()
    assert [record.source for record in seen.writes] == [f"duckdb://{project.root / 'new.duckdb'}#kept"]


def test_sqlite(samples, project):
    """Statements on SQLite are seen with their tables, also on a connection that was opened before."""
    with contextlib.closing(sqlite3.connect(samples / "data.db")) as early, watch(project) as seen:
        pd.read_sql("SELECT * FROM data", early)
    assert [record.source for record in seen.reads] == [f"sqlite://{samples / 'data.db'}#data"]
    with watch(project) as seen, contextlib.closing(sqlite3.connect("new.db")) as database:
        database.execute("CREATE TABLE notes (text)")
        database.execute("INSERT INTO notes VALUES ('canary-7')")
        database.execute("SELECT text FROM notes").fetchall()
    assert [record.name for record in seen.reads] == ["new.db#notes"]
    assert [record.name for record in seen.writes] == ["new.db#notes"]
    assert "canary" not in repr(seen.reads + seen.writes)


def test_sqlalchemy(samples, project):
    """Statements through SQLAlchemy are seen with their tables."""
    engine = sqlalchemy.create_engine(f"sqlite:///{samples / 'data.db'}")
    with watch(project) as seen:
        pd.read_sql("SELECT * FROM data", engine)
    engine.dispose()
    assert [record.source for record in seen.reads] == [f"sqlite://{samples / 'data.db'}#data"]
