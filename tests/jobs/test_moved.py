"""What jobs keep is found by its place in the project, and so wherever the project is moved or copied to."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.jobs.ends import Outcome
from prodkit.jobs.history import History
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Callable

CELLS = (
    ("from pathlib import Path\nfound = Path('found').read_text()", ["outputs=found"]),
    "from pathlib import Path\nif not Path('ready').exists():\n    raise ValueError('not yet')\nPath('result').write_text(found)",
)


def kept_in_databases(state: Path) -> list[str]:
    """Every text in the databases of jobs."""
    texts = []
    for path in (state / "jobs").glob("*.db"):
        with closing(sqlite3.connect(path)) as db:
            texts += db.iterdump()
    return texts


def test_a_moved_run_is_listed_resumed_and_repeated_where_it_is_now(
    make_job: Callable[..., Path], run_here: Callable[..., Any], tmp_path: Path
) -> None:
    """A failed run of a copied project is resumed from the copy's kept outputs; the original stays as it was."""
    job = make_job(*CELLS)
    original, copy = job.parents[1], tmp_path / "copy"
    (original / "notebooks" / "found").write_text("before")
    failed = run_here(job)
    assert failed.outcome is Outcome.FAILED
    shutil.copytree(original, copy)
    before = {path: path.stat().st_mtime_ns for path in original.rglob("*") if path.is_file()}
    (copy / "notebooks" / "found").unlink()  # what was kept is all that knows it
    (copy / "notebooks" / "ready").touch()
    history = History.of(find_project(copy))
    (entry,) = history.entries()
    assert entry.output == str(copy / ".prodkit" / "jobs" / "sample" / failed.run / "attempt-1.ipynb")
    assert Path(entry.output).is_file()

    resumed = run_here(copy / "jobs" / "sample", resume="last", key="once")
    assert resumed.outcome is Outcome.OK
    assert (copy / "notebooks" / "result").read_text() == "before"
    assert {path: path.stat().st_mtime_ns for path in original.rglob("*") if path.is_file()} == before
    shutil.rmtree(original)
    copy.rename(original)
    again = run_here(job, key="once")
    assert again.repeated
    assert again.output == original / ".prodkit" / "jobs" / "sample" / resumed.run / "attempt-1.ipynb"
    assert again.output.is_file()
    assert not [text for text in kept_in_databases(original / ".prodkit") if str(tmp_path) in text]


def test_what_waits_to_be_published_names_files_by_their_place(
    make_job: Callable[..., Path], run_here: Callable[..., Any], remembering_ledger: Any, tmp_path: Path
) -> None:
    """The end of a run that is kept for later has no path of where the project is in it."""
    remembering_ledger.end_run = lambda *_, **__: (_ for _ in ()).throw(OSError("the journal is full"))
    job = make_job("x = 1")
    run_here(job)
    waiting = [
        json.loads(path.read_text()) for path in (job.parents[1] / ".prodkit" / "jobs" / "outbox").glob("*.json")
    ]
    assert any(one["ending"]["files"] for one in waiting)
    assert str(tmp_path) not in json.dumps([one["ending"] for one in waiting])
