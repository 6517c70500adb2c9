"""The way in: sources by name, parameters, and one clear error for each mistake."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from prodkit.errors import ConfigError, DataError, ParameterError
from prodkit.sources import ORIGIN, read
from prodkit.sources.reading import unannounced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.manifest import Project

HEAD = ["Nr.", "Datum", "Betrag", "Kanal"]


def test_an_unknown_source_names_the_nearest(sources: Callable[..., Project]) -> None:
    """A misspelt source is a ConfigError with the right spelling."""
    with pytest.raises(ConfigError, match=r"did you mean `orders`"):
        read("ordres", project=sources())


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"kind": "sql", "location": "postgresql://db/x"}, "sources.kind"),
        ({"kind": "frame", "location": ""}, "sources.kind"),
        ({"location": ""}, "sources.location"),
        ({"options": {"colums": {}}}, "sources.option"),
        ({"options": {"types": {"a": "money"}}}, "sources.option"),
        ({"options": {"timezone": "Berlin"}}, "sources.option"),
    ],
)
def test_a_wrong_entry_is_one_clear_error(sources: Callable[..., Project], entry: dict[str, Any], code: str) -> None:
    """What the manifest says wrongly about a source is refused before anything is read."""
    with pytest.raises(ConfigError) as caught:
        read("orders", project=sources(**entry))
    assert caught.value.code == code
    assert "data_sources.orders" in caught.value.where


def test_parameters_select_files(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """A parameter fills its place in the location; one that isn't given matches anything."""
    sheet("2026-10 a.xlsx", [HEAD, ["A1", "2026-10-03", 1, "x"]])
    sheet("2026-11 b.xlsx", [HEAD, ["B1", "2026-11-03", 1, "x"]])
    project = sources(location="data/*{batch}*.xlsx")
    assert read("orders", project=project, batch="2026-11")["id"].tolist() == ["B1"]
    assert read("orders", project=project)["id"].tolist() == ["A1", "B1"]
    assert read("orders", project=project, batch="2026-11").attrs["prodkit"].parameters == (("batch", "2026-11"),)


def test_wrong_parameters_are_refused(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """An unknown parameter, a value that would leave the folder, and a batch that nobody has, are three errors."""
    sheet("2026-10 a.xlsx", [HEAD, ["A1", "2026-10-03", 1, "x"]])
    project = sources(location="data/*{batch}*.xlsx")
    with pytest.raises(ParameterError, match=r"did you mean `batch`"):
        read("orders", project=project, bacth="2026-11")
    with pytest.raises(ParameterError, match=r"sources\.value"):
        read("orders", project=project, batch="../../etc/x")
    with pytest.raises(DataError, match=r"holds 1 other files"):
        read("orders", project=project, batch="2031-01")


def test_files_of_folders_are_told_apart(sheet: Callable[..., Path], sources: Callable[..., Project]) -> None:
    """Two workbooks of one name in two folders are two files of the report; a folder as location means its workbooks."""
    sheet("north/a.xlsx", [HEAD, ["A1", "2026-10-03", 1, "x"]])
    sheet("south/a.xlsx", [HEAD, ["A2", "2026-10-03", 1, "x"]])
    frame = read("orders", project=sources(location="data/*/*.xlsx"))
    assert frame[ORIGIN].tolist() == ["north/a.xlsx#Sheet1!2", "south/a.xlsx#Sheet1!2"]
    assert len(read("orders", project=sources(location="data/north"))) == 1
    assert len(read("orders", project=sources(location="data/south/a.xlsx"))) == 1


def test_csv_finds_separator_encoding_and_types(tmp_path: Path, sources: Callable[..., Project]) -> None:
    """A csv as a German spreadsheet saves it is read like a workbook."""
    (tmp_path / "data").mkdir()
    text = "Nr.;Datum;Betrag;Kanal\nA1;25.11.2026;1.234,50 €;Gespräch\n;;;\n"
    (tmp_path / "data" / "a.csv").write_bytes(text.encode("cp1252"))
    frame = read("orders", project=sources(kind="csv", location="data/*.csv"))
    assert frame.loc[0, ["id", "amount", "channel"]].tolist() == ["A1", 1234.5, "Gespräch"]
    assert frame[ORIGIN].tolist() == ["a.csv!2"]
    assert "Windows-1252" in frame.attrs["prodkit"].sheets[0].notes[0]


def test_parquet_keeps_its_types(tmp_path: Path, sources: Callable[..., Project]) -> None:
    """Parquet is renamed and joined, never re-interpreted; a broken file is reported."""
    (tmp_path / "data").mkdir()
    pd.DataFrame({"Nr.": ["A1"], "Betrag": [1.5], "x": [0]}).to_parquet(tmp_path / "data" / "a.parquet")
    pd.DataFrame({"id": ["A2"], "amount": [2.5]}).to_parquet(tmp_path / "data" / "b.parquet")
    (tmp_path / "data" / "c.parquet").write_bytes(b"PAR1 broken")
    frame = read("orders", project=sources(kind="parquet", location="data/*.parquet"))
    assert frame["amount"].tolist() == [1.5, 2.5]
    assert frame["amount"].dtype == "float64"
    report = frame.attrs["prodkit"]
    assert report.sheets[0].ignored == ("x",)
    assert report.sheets[0].missing == ("channel", "day")
    assert [s.file for s in report.unreadable] == ["c.parquet"]


def test_without_a_face_problems_go_to_the_log(
    tmp_path: Path,
    sheet: Callable[..., Path],
    sources: Callable[..., Project],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In a plain script nobody misses that a file was unreadable, unless who reads says that somebody else will tell."""
    sheet("a.xlsx", [HEAD, ["A1", "2026-10-03", 1, "x"]])
    (tmp_path / "data" / "b.xlsx").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "prodkit.sources"):
        read("orders", project=sources())
    assert "b.xlsx" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "prodkit.sources"), unannounced():
        found = read("orders", project=sources())
    assert caplog.text == ""
    assert not found.attrs["prodkit"].ok


def test_without_the_extra_one_sentence_says_what_to_install(
    sheet: Callable[..., Path], sources: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package is a line that one can paste."""
    sheet("a.xlsx", [HEAD])
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(ConfigError, match=r"pip install .*python-calamine"):
        read("orders", project=sources())


def test_importing_the_room_is_light() -> None:
    """Neither pandas nor the workbook reader is loaded before something is read."""
    code = "import sys, prodkit.sources; print(sorted({'pandas', 'python_calamine', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
