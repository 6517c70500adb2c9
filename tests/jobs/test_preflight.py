"""Data that breaks its contract is refused before a kernel starts; what the notebook allows for is only told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prodkit.errors import DataError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.history import History
from prodkit.jobs.preflight import find_readings
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCES = """\
data_sources:
  tickets: {kind: csv, location: 'notebooks/data/tickets_{batch}.csv', contract: tickets.yaml, owner: ana}
  people: {kind: csv, location: notebooks/data/people.csv, contract: tickets.yaml, owner: ana}
  notes: {kind: csv, location: notebooks/data/notes.csv, owner: ana}
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: tickets
name: tickets
version: 1.0.0
status: active
schema:
  - name: tickets
    logicalType: object
    properties:
      - {name: id, logicalType: string, required: true}
      - {name: priority, logicalType: string, required: true}
"""
GOOD, MIXED, BAD = "id,priority\na,high\nb,low\n", "id,priority\na,high\nb,\n", "id,priority\na,\nb,\n"
READ = "import prodkit\ntickets = prodkit.read('tickets', batch=batch)"
BEGAN = "from pathlib import Path\nPath('began').touch()"
TAKEN = "#| prodkit: name=sort input=tickets{}\nprint(len(tickets))"


@pytest.fixture
def job(make_job: Callable[..., Path]) -> Callable[..., Path]:
    """A job whose first cell shows that a kernel started: `job(READ, data={"11": BAD})`."""

    def make(*cells: str, data: dict[str, str]) -> Path:
        made = make_job(BEGAN, *cells, parameters={"batch": ("str", "11")}, manifest=SOURCES)
        root = made.parents[1]
        (root / "tickets.yaml").write_text(CONTRACT)
        (root / "notebooks" / "data").mkdir()
        for name, text in data.items():
            (root / "notebooks" / "data" / f"{name}.csv").write_text(text)
        return made

    return make


def began(job: Path) -> bool:
    return (job.parents[1] / "notebooks" / "began").exists()


def test_bad_data_starts_no_kernel(
    job: Callable[..., Path], run_here: Callable[..., Any], remembering_ledger: Any
) -> None:
    """Data of the batch that is asked for ends the job with 65 and one message before any kernel; the refusal is on record."""
    made = job(READ, data={"tickets_11": GOOD, "tickets_12": MIXED})
    with pytest.raises(DataError) as caught:
        run_here(made, {"batch": "12"}, retries=2)
    assert (caught.value.exit_code, caught.value.code, began(made)) == (65, "contract.broken", False)
    assert "`tickets`: The data breaks the contract `tickets` in 1 of 2 rows: priority.required" in caught.value.what
    assert "`--input tickets` and mode `quarantine`" in caught.value.fix
    (entry,) = History(made.parents[1] / ".prodkit" / "jobs" / "history.db").entries("sample")
    assert (entry.outcome, entry.error, entry.attempts) == (Outcome.BAD_INPUT, "contract.broken", 0)
    (run,) = remembering_ledger.runs.values()
    assert "priority" in run["files"]["validation/tickets.html"].decode()
    assert b"Refused before a kernel started: contract.broken" in run["files"]["report.html"]
    assert run_here(made).exit_code == 0
    assert began(made)


@pytest.mark.parametrize(
    ("mode", "text", "says"),
    [
        ("", MIXED, "1 of 2 rows of `tickets` break its contract and are set aside."),
        (" mode=warn", BAD, "2 of 2 rows of `tickets` break its contract and are used all the same."),
        ("", BAD, "jobs.no-data"),
        (" mode=refuse", MIXED, "contract.broken"),
        ("", "id\na\n", "contract.missing-column"),
    ],
    ids=["set aside", "warned", "nothing left", "refused", "a column is missing"],
)
def test_the_notebook_says_what_becomes_of_bad_rows(
    mode: str, text: str, says: str, job: Callable[..., Path], run_here: Callable[..., Any], monkeypatch: Any
) -> None:
    """The mode of the cell that takes the data decides, as it would in the cell itself; but nothing is spent before."""
    from prodkit.jobs import runner
    from prodkit.jobs.attempts import AttemptResult

    result = AttemptResult(1, Outcome.OK, 0.1)
    monkeypatch.setattr(runner, "run_attempts", lambda *_: (result,))  # what a kernel does then isn't asked here
    made = job(READ, TAKEN.format(mode), data={"tickets_11": text})
    if says.startswith(("jobs.", "contract.")):
        with pytest.raises(DataError) as caught:
            run_here(made)
        assert caught.value.code == says
    else:
        assert says in run_here(made).notices


def test_all_refusals_come_at_once(job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """Two sources that are wrong are told together: one breaks its contract, of the other there is no file."""
    made = job(READ, "people = prodkit.read('people')", data={"tickets_11": BAD})
    with pytest.raises(DataError, match=r"`tickets`: The data breaks .* `people`: No file matches"):
        run_here(made)
    assert not began(made)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ((READ,), [("tickets", {"batch": "11"}, "refuse")]),
        (("d = prodkit.read('tickets', batch='07')",), [("tickets", {"batch": "07"}, "refuse")]),
        (("d = prodkit.read('tickets', batch=batch[:2])",), [("tickets", None, "refuse")]),
        (("d = prodkit.read('people')", "#| prodkit: name=x input=d\nd"), [("people", {}, "quarantine")]),
        (("d = prodkit.read('people')\nwith prodkit.run('x', inputs=['d'], mode='warn'):\n    d",), [("people", {}, "warn")]),
        (("d = prodkit.read('people')\nwith prodkit.run('x', inputs={'p': d}):\n    d",), [("people", {}, "quarantine")]),
        (("prodkit.read('notes')",), []),
        (("read = 1",), []),
    ],
)  # fmt: skip
def test_what_the_notebook_reads_is_found(
    cells: tuple[str, ...],
    expected: list[tuple[str, dict[str, object] | None, str]],
    job: Callable[..., Path],
) -> None:
    """Sources with a contract are found in the code, with the parameters and the mode that they are read with."""
    folder = JobFolder.load(job(*cells, data={}))
    found = find_readings(folder, find_project(folder.project_root()), {"batch": "11"})
    assert [(one.source, one.params, one.mode) for one in found] == expected
