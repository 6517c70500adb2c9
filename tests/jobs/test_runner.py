"""A job runs to its end: checked before anything is spent, retried only where that helps, told as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from prodkit.errors import ConfigError, ParameterError, TransientError
from prodkit.jobs.ends import Outcome
from prodkit.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLAKY = """
from pathlib import Path
marker = Path("tries.txt")
tries = int(marker.read_text()) if marker.exists() else 0
marker.write_text(str(tries + 1))
if tries < {failures}:
    raise {error}
"""


def outputs(path: Path) -> str:
    """All text that the executed notebook shows."""
    cells = nbformat.read(path, 4).cells
    texts = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for c in cells for o in c.get("outputs", [])]
    return "".join(texts)


def test_parameters_arrive_typed(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """A parameter that is given as text arrives in the notebook as the type that it declares."""
    job = make_job("print(type(n).__name__, n + 1, flag)", parameters={"n": ("int", 1), "flag": ("bool", True)})
    result = run_here(job, {"n": "41", "flag": "false"})
    assert result.exit_code == 0
    assert outputs(result.output) == "int 42 False\n"


@pytest.mark.parametrize(
    ("params", "code"),
    [({"nn": "1"}, "parameters.unknown"), ({"n": "01x"}, "parameters.type")],
    ids=["unknown", "type"],
)
def test_wrong_parameters_start_nothing(
    params: dict[str, str],
    code: str,
    make_job: Callable[..., Path],
    run_here: Callable[..., Any],
    remembering_ledger: Any,
) -> None:
    """Unknown names and wrong types are refused with exit code 65 before a kernel starts or a run is recorded."""
    with pytest.raises(ParameterError) as caught:
        run_here(make_job("print(n)", parameters={"n": ("int", 1)}), params)
    assert (caught.value.code, caught.value.exit_code) == (code, 65)
    assert remembering_ledger.runs == {}


def test_a_transient_error_gets_a_fresh_kernel(
    make_job: Callable[..., Path], run_here: Callable[..., Any], remembering_ledger: Any
) -> None:
    """After a connection error the job is tried again in a new kernel, and both attempts are on record."""
    job = make_job(FLAKY.format(failures=1, error="ConnectionError('down')"), retries=2)
    result = run_here(job)
    assert [attempt.outcome for attempt in result.attempts] == [Outcome.TRANSIENT, Outcome.OK]
    assert result.attempts[0].error_class == "ConnectionError"
    assert result.attempts[1].waited >= 0.05
    attempts = remembering_ledger.of_kind("attempt")
    assert [run["status"] for run in attempts] == [Status.ERROR, Status.OK]
    (parent,) = remembering_ledger.of_kind("job")
    assert {run["spec"].parent_key for run in attempts} == {parent["spec"].key}
    assert parent["status"] is Status.OK


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        ("ValueError('no')", 1),
        ("__import__('prodkit.errors', fromlist=['x']).DataError('a.b', 'bad rows')", 65),
        ("__import__('prodkit.errors', fromlist=['x']).BudgetError('a.b', 'spent')", 65),
        ("__import__('prodkit.errors', fromlist=['x']).ConfigError('a.b', 'no key')", 78),
        ("__import__('prodkit.errors', fromlist=['x']).TransientError('a.b', 'down')", 75),
    ],
)
def test_the_exit_code_tells_the_end(
    error: str, exit_code: int, make_job: Callable[..., Path], run_here: Callable[..., Any]
) -> None:
    """Each kind of error ends with its exit code, and only a transient one is tried again."""
    job = make_job(FLAKY.format(failures=9, error=error), retries=1, retry_wait=0.01)
    result = run_here(job)
    assert result.exit_code == exit_code
    assert len(result.attempts) == (2 if exit_code == 75 else 1)


def test_the_kernel_knows_its_run(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """The kernel gets the ids under which its own captured runs nest, and its folder is the notebook's."""
    job = make_job(
        """
        import json, os
        names = ("PRODKIT_PROJECT", "PRODKIT_PARENT_RUN", "PRODKIT_PARENT_KEY", "PRODKIT_JOB_RUN", "MLFLOW_EXPERIMENT_ID")
        print(json.dumps([os.environ.get(name) for name in names] + [os.getcwd()]))
        """
    )
    result = run_here(job)
    root = job.parents[1]
    expected = [str(root), f"mlflow-{result.run}.1", f"{result.run}.1", result.run, "7", str(root / "notebooks")]
    assert json.loads(outputs(result.output)) == expected


def test_what_is_left_on_disk(
    make_job: Callable[..., Path], run_here: Callable[..., Any], remembering_ledger: Any
) -> None:
    """Notebook, report and record lie in the run's folder and in the ledger, with the owner's address as a tag."""
    result = run_here(make_job("print('hi')", parameters={"n": ("int", 3)}))
    record = json.loads((result.output.parent / "run.json").read_text())
    assert (record["outcome"], record["params"], len(record["attempts"])) == ("ok", {"n": 3}, 1)
    (job,) = remembering_ledger.of_kind("job")
    assert {"notebook", "report.html", "run.json"} <= set(job["files"])
    assert job["spec"].tags["prodkit.owner"] == "ana@northwind.test"
    assert job["spec"].params == {"n": "3"}


def test_a_key_runs_once(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """A run that succeeded under an idempotency key isn't run again; one that failed is."""
    job = make_job(FLAKY.format(failures=1, error="ValueError('first')"))
    first, second, third = (run_here(job, key="tick-1") for _ in range(3))
    assert (first.exit_code, second.exit_code, third.exit_code) == (1, 0, 0)
    assert (second.repeated, third.repeated, third.run) == (False, True, second.run)


def test_a_held_lock_names_its_holder(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """While a run goes on, a second one is refused with the holder's process id and exit code 75."""
    import os

    from prodkit.jobs.exclusion import locked

    job = make_job("x = 1")
    with (
        locked(job.parents[1] / ".prodkit" / "jobs" / "sample" / "lock", "The job"),
        pytest.raises(TransientError, match=f"in process {os.getpid()}") as caught,
    ):
        run_here(job)
    assert (caught.value.code, caught.value.exit_code) == ("jobs.locked", 75)


def test_the_lock_of_a_dead_process_is_free(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """A lock file that a killed process left behind keeps nobody out."""
    job = make_job("x = 1")
    lock = job.parents[1] / ".prodkit" / "jobs" / "sample" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text('{"pid": 1, "since": "2026-01-01T00:00:00+00:00"}')
    assert run_here(job).exit_code == 0


def test_nobody_accountable_starts_nothing(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """A job whose ownership review is long past refuses to start with exit code 78."""
    with pytest.raises(ConfigError) as caught:
        run_here(make_job("x = 1", review_by="2020-01-01"))
    assert (caught.value.code, caught.value.exit_code) == ("jobs.ownership", 78)


def test_the_kill_switch_stops_starts(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """While the manifest's kill switch file exists, no job starts."""
    job = make_job("x = 1", manifest="kill_switch: STOP\n")
    (job.parents[1] / "STOP").touch()
    with pytest.raises(ConfigError) as caught:
        run_here(job)
    assert caught.value.code == "jobs.switched-off"


def test_a_kernel_that_is_not_there(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """A kernel spec that isn't installed is one error with exit code 78, and the run is on record as misconfigured."""
    from prodkit.jobs.history import History

    job = make_job("x = 1", kernel="python-from-elsewhere")
    with pytest.raises(ConfigError) as caught:
        run_here(job)
    assert caught.value.code == "jobs.no-kernel"
    (entry,) = History(job.parents[1] / ".prodkit" / "jobs" / "history.db").entries()
    assert entry.outcome is Outcome.MISCONFIGURED
