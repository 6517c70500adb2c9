"""Many parameter sets: all checked first, each with its own end, and a restart runs only what is missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from prodkit.errors import ParameterError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.fanout import FanoutResult, ItemResult, run_over
from prodkit.jobs.items import read_items
from prodkit.jobs.runner import RunOptions
from prodkit.jobs.signals import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEMA = {"properties": {"n": {"type": "integer"}, "who": {"type": "string", "default": "all"}}, "required": ["n"]}


def test_both_kinds_of_file_give_the_same_items(tmp_path: Path) -> None:
    """Text of a CSV and typed columns of a Parquet file lead to the same checked parameter sets."""
    (tmp_path / "items.csv").write_text("n,who\n1,ana\n2,ben\n")
    pd.DataFrame({"n": [1, 2], "who": ["ana", "ben"]}).to_parquet(tmp_path / "items.parquet")
    text, typed = (read_items(tmp_path / name, SCHEMA, {}) for name in ("items.csv", "items.parquet"))
    assert [item.digest for item in text] == [item.digest for item in typed]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("n,who\n1,a\nx,b\ny,c\n", "items.invalid"),
        ("n,whom\n1,a\n", "items.invalid"),
        ("n\n1\n1\n", "items.twice"),
        ("n\n", "items.empty"),
        ("n,who\n1\n", "items.ragged"),
    ],
    ids=["type", "unknown", "twice", "empty", "ragged"],
)
def test_a_wrong_row_is_told_before_anything_runs(content: str, code: str, tmp_path: Path) -> None:
    """All wrong rows are one error with their numbers and without their values."""
    path = tmp_path / "items.csv"
    path.write_text(content)
    with pytest.raises(ParameterError) as caught:
        read_items(path, SCHEMA, {})
    assert caught.value.code == code
    if code == "items.invalid" and "x" in content:
        assert "2 of 3 rows" in caught.value.what
        assert "row 2" in caught.value.what


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A file that isn't there, or of a kind that isn't read, is one clear error."""
    for name, code in (("items.xlsx", "items.kind"), ("gone.csv", "items.file"), ("gone.parquet", "items.file")):
        with pytest.raises(ParameterError) as caught:
            read_items(tmp_path / name, SCHEMA, {})
        assert caught.value.code == code


def test_a_restart_runs_only_what_is_missing(make_job: Callable[..., Path], remembering_ledger: Any) -> None:
    """One item's failure leaves the others alone; the same command again runs that item only, unless told otherwise."""
    job = make_job(
        """
        from pathlib import Path
        with Path("ran.txt").open("a") as file:
            file.write(f"{n} ")
        if n == 2 and not Path("fixed").exists():
            raise ValueError("bad item")
        """,
        parameters={"n": ("int", 0)},
    )
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n3\n")
    work = job.parents[1] / "notebooks"

    def go(**options: Any) -> FanoutResult:
        return run_over(job, over, ledger=remembering_ledger, **options)

    first = go()
    assert first.outcome is Outcome.FAILED
    assert [(item.number, item.outcome.value, item.error) for item in first.items] == [
        (1, "ok", ""),
        (2, "failed", "ValueError"),
        (3, "ok", ""),
    ]
    (work / "fixed").touch()
    (work / "ran.txt").unlink()
    second = go()
    third = go()
    assert (third.cost, [item.skipped for item in third.items]) == (0, [True, True, True])
    assert (second.outcome, [item.skipped for item in second.items]) == (Outcome.OK, [True, False, True])
    assert (work / "ran.txt").read_text() == "2 "
    parents = {run["spec"].parent_key for run in remembering_ledger.of_kind("item")}
    assert parents == {first.run, second.run}
    assert remembering_ledger.runs[first.run]["metrics"] == {
        "items": 3.0,
        "items_ok": 2.0,
        "items_failed": 1.0,
        "items_skipped": 0.0,
    }
    assert remembering_ledger.runs[second.run]["metrics"]["items_skipped"] == 2.0


def test_a_stop_begins_no_more_items(make_job: Callable[..., Path], remembering_ledger: Any) -> None:
    """After a stop no item begins; what wasn't begun is counted, and the whole counts as terminated."""
    job = make_job("x = n", parameters={"n": ("int", 0)})
    over = job.parents[1] / "items.csv"
    over.write_text("n\n" + "\n".join(map(str, range(20))))
    stop = StopRequest()

    def ended(result: ItemResult, total: int) -> None:
        stop.request()

    whole = run_over(job, over, workers=1, ledger=remembering_ledger, stop=stop, on_item=ended)
    assert (whole.outcome, len(whole.items), whole.missing) == (Outcome.TERMINATED, 1, 19)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_dask_worker_costs_only_its_item(
    make_job: Callable[..., Path], mlflow_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a worker process is killed in the middle, its item runs on another one and all items succeed."""
    import shutil

    import psutil

    from prodkit.jobs.dask_workers import DaskWorkers

    job = make_job(
        """
        from pathlib import Path
        import os, time
        Path(f"kernel-{n}-{os.getpid()}").touch()
        if n == 1 and not Path("killed").exists():
            Path("kernel").write_text(str(os.getpid()))
            time.sleep(600)
        """,
        parameters={"n": ("int", 0)},
        timeout=300,
    )
    root = job.parents[1]
    (root / ".prodkit").mkdir(exist_ok=True)
    shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
    over = root / "items.csv"
    over.write_text("n\n0\n1\n2\n3\n")
    work = root / "notebooks"
    import threading

    def kill() -> None:
        while not ((work / "kernel").exists() and (work / "kernel").read_text()):
            time.sleep(0.1)
        kernel = psutil.Process(int((work / "kernel").read_text()))
        (work / "killed").touch()
        # the kernel is forked from a process of the worker's, which is forked from multiprocessing's fork server
        next(one for one in kernel.parents() if "forkserver" in " ".join(one.cmdline())).kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    whole = run_over(job, over, options=RunOptions(retries=0), run_items=DaskWorkers(workers=2))
    killer.join(1)
    assert whole.counts == {"ok": 4}
    assert len(list(work.glob("kernel-1-*"))) == 2
    assert [len(list(work.glob(f"kernel-{n}-*"))) for n in (0, 2, 3)] == [1, 1, 1]
