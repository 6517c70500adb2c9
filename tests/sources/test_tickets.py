"""The made-up tickets: as the script makes them, and as the example project reads them."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.manifest import find_project
from prodkit.sources import read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    from pathlib import Path

    return runpy.run_path(str(Path(__file__).parents[2] / "notebooks" / "data" / "make_tickets.py"))


def test_the_script_makes_the_committed_workbooks(script: dict[str, Any], repository: Path) -> None:
    """The 47 workbooks in the repository are what the script makes, cell by cell."""
    folder = repository / "notebooks" / "data" / "tickets"
    made = dict(script["workbooks"]())
    assert {path.name for path in folder.glob("*.xlsx")} == set(made)
    assert len(made) == 47
    different = [name for name, content in made.items() if not script["_same"]((folder / name).read_bytes(), content)]
    assert different == []


def test_writing_again_changes_nothing(script: dict[str, Any], tmp_path: Path) -> None:
    """A second run leaves every file as it is, the locked one with its fresh salt too."""
    first = {path: path.read_bytes() for path in script["write_all"](tmp_path)}
    assert {path: path.read_bytes() for path in script["write_all"](tmp_path)} == first


def test_the_example_reads_its_tickets(repository: Path) -> None:
    """Of 47 workbooks 44 give rows; the corrupt, the locked and the empty one are named, and so are undecidable dates."""
    tickets = read("tickets", project=find_project(repository))
    report = tickets.attrs["prodkit"]
    assert report.files == 44
    assert 1000 <= len(tickets) <= 1400
    assert {s.reason for s in report.unreadable} == {
        "the workbook is locked with a password",
        "the file can't be opened (ZipError)",
    }
    assert report.copies > 0
    assert not any(sheet.missing for sheet in report.sheets)
    assert any(m.values == 11 and "nothing in the file decides it" in m.reason for m in report.misread)
    assert tickets["created_at"].dropna().between("2026-09-01", "2026-12-01").all()
    assert set(tickets["label"]) == {"billing", "bug", "access", "shipping", "other"}


def test_every_batch_holds_what_a_contract_finds(repository: Path) -> None:
    """Each month has unknown channels or priorities, negative amounts or empty bodies, and repeated ids."""
    project = find_project(repository)
    for batch in ("2026-09", "2026-10", "2026-11"):
        month = read("tickets", project=project, batch=batch)
        assert len(month) > 250
        assert not set(month["channel"]) <= {"email", "chat", "phone", "web"}
        assert not set(month["priority"]) <= {"low", "normal", "high", "urgent"}
        assert month["ticket_id"].duplicated().any()
        assert month["created_at"].isna().any()


def test_what_was_read_is_what_was_made(script: dict[str, Any], repository: Path) -> None:
    """Amounts survive every way of writing them: each amount that was read is one that the script drew."""
    month = read("tickets", project=find_project(repository), batch="2026-11")
    cents = (month["amount_eur"].dropna() * 100).round(6)
    assert (cents == cents.round()).all()
    assert cents.max() < 190_000
