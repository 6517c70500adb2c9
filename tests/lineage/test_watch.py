"""What a watch makes of what it sees."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from prodkit.capture.lineage import watch
from prodkit.manifest import find_project


def test_attribution(project):
    """Files that match a data source of the manifest are one dataset of that name, with what the manifest says."""
    with watch(project) as seen:
        for path in sorted((project.root / "in").iterdir()):
            pd.read_csv(path)
    (record,) = seen.reads
    assert (record.name, record.kind, record.rows, record.contract) == ("tickets", "csv", 9, "c.yaml")
    assert record.columns == (("id", "int64"), ("text", "str"))
    said = {name: record.attributes[name] for name in ("attributed", "files", "owner", "region", "pii")}
    assert said == {"attributed": "yes", "files": "3", "owner": "ana", "region": "eu", "pii": "yes"}
    assert seen.unattributed == ()


def test_undeclared_reads(samples, project):
    """A read of something that the manifest doesn't name is reported as such."""
    with watch(project) as seen:
        pd.read_parquet(samples / "data.parquet")
    assert [record.attributes["attributed"] for record in seen.unattributed] == ["no"]


def test_writing_is_not_reading(project):
    """A Parquet file that pandas writes, over an old one too, is an output alone, and no undeclared read."""
    for _ in range(2):
        with watch(project) as seen:
            pd.DataFrame({"a": [1]}).to_parquet(project.root / "out.parquet")
        assert seen.reads == seen.unattributed == ()
        assert [record.name for record in seen.writes] == ["out.parquet"]


@pytest.mark.parametrize(("mode", "reads", "writes"), [((), 1, 0), (("rb",), 1, 0), (("wb",), 0, 1), (("ab",), 0, 1)])
def test_arrow_files_by_mode(project, mode, reads, writes):
    """What an `OSFile` of pyarrow is opened for says whether it is read or written."""
    import pyarrow as pa

    path = project.root / "some.bin"
    path.write_bytes(b"x")
    with watch(project) as seen:
        pa.OSFile(str(path), *mode).close()
    assert (len(seen.reads), len(seen.writes)) == (reads, writes)


def test_digest_follows_content(project):
    """The digest of a dataset is short enough for MLflow, the same for the same bytes, and another for others."""
    path = project.root / "in" / "0.csv"
    digests = []
    for text in ("a\n1\n", "a\n1\n", "a\n2\n"):
        path.write_text(text)
        with watch(project) as seen:
            pd.read_csv(path)
        digests.append(seen.reads[0].digest)
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) <= 36
    assert seen.reads[0].fingerprint.startswith(seen.reads[0].digest)


def test_looking_is_not_reading(project):
    """Asking a watch for its records, which reads files for their ids, adds no records."""
    with watch(project) as seen:
        (project.root / "out.csv").write_text("a")
        assert len(seen.writes) == 1
        assert seen.reads == ()
        assert seen.reads == ()


def test_nothing_outside(project):
    """What is read while no watch is open is in none."""
    with watch(project) as seen:
        pass
    pd.read_csv(project.root / "in" / "0.csv")
    assert seen.reads == ()


def test_nested_watches(project):
    """An outer watch sees what an inner one sees, and the inner one only its own."""
    with watch(project) as outer:
        pd.read_csv("in/0.csv")
        with watch(project) as inner:
            pd.read_csv("in/1.csv")
    assert inner.reads[0].attributes.get("files") is None
    assert outer.reads[0].attributes["files"] == "2"


def test_threads(project):
    """Reads in threads are seen."""
    with watch(project) as seen:
        thread = threading.Thread(target=pd.read_csv, args=("in/0.csv",))
        thread.start()
        thread.join()
    assert [record.name for record in seen.reads] == ["tickets"]


def test_internal_reads(project):
    """Imports, libraries' own files, system files and prodkit's state are no datasets."""
    with watch(project) as seen:
        from zoneinfo import ZoneInfo

        ZoneInfo("Europe/Berlin")
        Path("/proc/self/status").read_text()
        Path(pd.__file__).read_text()
        project.state.mkdir()
        (project.state / "x.json").write_text("{}")
    assert seen.reads == ()
    assert seen.writes == ()


def test_temporary_files(project):
    """A file that is gone when the watch is asked isn't an output."""
    with watch(project) as seen:
        (project.root / "part.tmp").write_text("x")
        (project.root / "part.tmp").unlink()
    assert seen.writes == ()


def test_crowds(project):
    """Many alike files of one folder that nobody declared are one record."""
    (project.root / "images").mkdir()
    for number in range(20):
        (project.root / "images" / f"{number}.txt").write_text("x")
    with watch(project) as seen:
        for path in (project.root / "images").iterdir():
            path.read_text()
    (record,) = seen.reads
    assert (record.name, record.attributes["files"]) == ("images/*.txt", "20")


def test_failed_reads(project):
    """A read that fails raises the library's own error, and nothing is seen for a file that isn't there."""
    with watch(project) as seen, pytest.raises(FileNotFoundError):
        pd.read_parquet("missing.parquet")
    assert seen.reads == ()


def test_wrapped_functions_pickle(project):
    """A wrapped function can still be sent to another process."""
    with watch(project):
        assert pickle.loads(pickle.dumps(pd.read_parquet)) is pd.read_parquet  # noqa: S301
        assert pd.read_parquet.__name__ == "read_parquet"


def test_libraries_imported_later(project):
    """A library that is imported while a watch is open is seen too."""
    code = (
        "from prodkit.capture.lineage import watch\n"
        "with watch() as seen:\n"
        "    import polars as pl\n"
        "    pl.read_csv('in/0.csv')\n"
        "print([record.name for record in seen.reads])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project.root)
    assert done.stdout == "['tickets']\n"


def test_light_import():
    """Importing the module loads no reader."""
    code = (
        "import sys, prodkit.capture.lineage\n"
        "print(sorted({'pandas', 'polars', 'pyarrow', 'duckdb', 'numpy', 'wrapt'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_sources_of_the_manifest(project):
    """A database of the manifest is attributed with its tables."""
    import contextlib
    import sqlite3

    with watch(find_project(project.root)) as seen, contextlib.closing(sqlite3.connect("shop.db")) as database:
        database.execute("CREATE TABLE sales (price)")
        database.execute("SELECT * FROM sales")
    assert [record.name for record in seen.reads] == ["shop"]
