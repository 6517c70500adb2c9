"""A job runs to its end: checked before anything is spent, retried only where that helps, told as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from click.testing import CliRunner

from prodkit.cli import cli
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


def test_bad_data_is_not_tried_again(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """Data that breaks its contract ends the job with 65 after one attempt, however many are allowed."""
    error = "__import__('prodkit.errors', fromlist=['x']).DataError('a.b', 'bad rows')"
    result = run_here(make_job(FLAKY.format(failures=9, error=error), retries=3))
    assert (result.exit_code, len(result.attempts), result.attempts[0].error_class) == (65, 1, "DataError")


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
    assert {"notebook/attempt-1.ipynb", "report.html", "run.json"} <= set(job["files"])
    assert job["spec"].tags["prodkit.owner"] == "Ana Ruiz"
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


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    """A lock file that a killed process left behind keeps nobody out."""
    from prodkit.jobs.exclusion import locked

    path = tmp_path / "lock"
    path.write_text('{"pid": 1, "since": "2026-01-01T00:00:00+00:00"}')
    with locked(path, "The job"):
        assert '"pid": 1,' not in path.read_text()


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


def test_a_resumed_run_pays_once(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """A resumed run gets the declared outputs of the failed run's cells back; a cell that sets none of its own says so."""
    job = make_job(
        "from pathlib import Path\npaid = Path('paid.txt')",
        ("labels = {'a': n}\npaid.open('a').write('call ')", ["outputs=labels"]),
        "if not Path('fixed').exists(): raise ValueError('crash')\nprint(labels, paid.read_text())",
        ("x = 1", ["outputs=scores"]),
        parameters={"n": ("int", 1)},
    )
    assert run_here(job, {"n": 5}).exit_code == 1
    (job.parents[1] / "notebooks" / "fixed").touch()
    with pytest.raises(ConfigError, match="nothing-to-resume"):
        run_here(job, {"n": 6}, resume="last")
    resumed = run_here(job, {"n": 5}, resume="last")
    assert resumed.exit_code == 0
    assert outputs(resumed.output) == "{'a': 5} call \n[prodkit] not kept: the cell sets no scores\n"
    assert not list(job.parents[1].rglob("kept"))  # nothing is kept of a run that succeeded


def test_a_secret_is_never_written(
    make_job: Callable[..., Path],
    run_here: Callable[..., Any],
    remembering_ledger: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A secret arrives in the kernel; notebook, record, history and ledger hold only its reference, outputs a mask."""
    job = make_job("print(token[::-1])\nprint('token is ' + token)", parameters={"token": ("str", "")})
    with pytest.raises(ConfigError, match=r"jobs\.secret"):
        run_here(job, {"token": "secret:env:SAMPLE_TOKEN"})
    monkeypatch.setenv("SAMPLE_TOKEN", "hush-hush-1")
    result = run_here(job, {"token": "secret:env:SAMPLE_TOKEN"})
    assert outputs(result.output) == "1-hsuh-hsuh\ntoken is [secret]\n"
    kept = [path.read_bytes() for path in job.parents[1].rglob("*") if path.is_file()]
    kept += [content for run in remembering_ledger.runs.values() for content in run["files"].values()]
    assert not [content for content in kept if b"hush-hush-1" in content]
    (run,) = remembering_ledger.of_kind("job")
    assert run["spec"].params == {"token": "secret:env:SAMPLE_TOKEN"}


KILLED = """
import os, sys
from pathlib import Path
from prodkit.jobs.history import History
History(Path(sys.argv[1])).begin(sys.argv[2], "sample", params={})
os.kill(os.getpid(), 9)
"""


def test_a_lost_run_is_told_by_the_next(
    make_job: Callable[..., Path], run_here: Callable[..., Any], remembering_ledger: Any
) -> None:
    """A run whose process was killed is shown as lost; the next run closes it in the ledger and in its notebook."""
    import subprocess
    import sys

    from prodkit.jobs.history import History

    job = make_job("x = 1")
    place = job.parents[1] / ".prodkit" / "jobs"
    history = History(place / "history.db")
    subprocess.run([sys.executable, "-c", KILLED, str(place / "history.db"), "job-1"], check=False)
    (entry,) = history.entries("sample")
    assert (entry.outcome, entry.seconds) == (Outcome.LOST, None)
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x = 1", metadata={"papermill": {"status": "running"}})]
    )
    nb.metadata["prodkit"] = {"run": {"outcome": "running"}}
    (place / "sample" / "job-1").mkdir(parents=True)
    nbformat.write(nb, place / "sample" / "job-1" / "attempt-1.ipynb")
    remembering_ledger.runs |= {"job-1": {}}
    assert run_here(job).exit_code == 0
    saved = nbformat.read(place / "sample" / "job-1" / "attempt-1.ipynb", 4)
    assert (saved.metadata.prodkit.run.outcome, saved.cells[0].metadata.papermill.status) == ("lost", "failed")
    assert remembering_ledger.runs["job-1"]["status"] is Status.ABORTED
    assert [entry.outcome for entry in history.entries("sample")] == [Outcome.OK, Outcome.LOST]


@pytest.mark.parametrize(
    ("pairs", "file", "code"),
    [
        (["n"], None, "parameters.pair"),
        (["n=1", "n=2"], None, "parameters.twice"),
        ([], "- 1\n", "parameters.file"),
        ([], "{", "parameters.file"),
        ([], "", ""),
    ],
)
def test_parameters_of_the_command_line(pairs: list[str], file: str | None, code: str, tmp_path: Path) -> None:
    """`-p` and `--params` that can't be read are refused before anything else happens; an empty file is none."""
    from prodkit.cli.runner import read_file, read_pairs

    path = tmp_path / "params.yaml"
    path.write_text(file or "")
    if not code:
        assert read_file(path) == {}
        return
    with pytest.raises(ParameterError) as caught:
        (read_pairs(tuple(pairs)), read_file(path))
    assert caught.value.code == code


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_ends_with_143_on_sigterm(make_job: Callable[..., Path], mlflow_template: Path) -> None:
    """`prodkit run` that gets SIGTERM interrupts its cell, records the end in MLflow and exits with 143."""
    import os
    import shutil
    import signal
    import subprocess
    import sys
    import time

    job = make_job("from pathlib import Path\nimport time\nPath('began').touch()\ntime.sleep(600)")
    root = job.parents[1]
    (root / ".prodkit").mkdir()
    shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
    command = [sys.executable, "-m", "prodkit", "run", str(job), "--json"]
    environment = {**os.environ, "PRODKIT_SHIPPER": "inline"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root) as process:
        while not (root / "notebooks" / "began").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = json.loads(process.communicate(timeout=120)[0])
    assert (process.returncode, said["outcome"], said["exit_code"]) == (143, "terminated", 143)
    assert [attempt["outcome"] for attempt in said["attempts"]] == ["terminated"]
    listed = subprocess.run(
        [sys.executable, "-m", "prodkit", "runs", "--json"], capture_output=True, text=True, check=True, cwd=root
    )
    assert json.loads(listed.stdout)[0]["outcome"] == "terminated"


def test_a_file_with_an_unknown_name_starts_nothing(make_job: Callable[..., Path], tmp_path: Path) -> None:
    """A parameters file with a name that the job doesn't have is refused with the nearest one; nothing has run."""
    job = make_job("print(number)", parameters={"number": ("int", 1)})
    params = tmp_path / "params.yaml"
    params.write_text("numbr: 3\n")
    with pytest.raises(ParameterError) as caught:
        CliRunner().invoke(cli, ["run", str(job), "--params", str(params)], catch_exceptions=False)
    assert caught.value.code == "parameters.unknown"
    assert "number" in caught.value.fix
    assert not list((tmp_path / "project").rglob("attempt-*.ipynb"))


def test_a_budget_for_items_needs_items(make_job: Callable[..., Path]) -> None:
    """`--budget` holds for all items of `--over`; without them it is refused, and never silently ignored."""
    with pytest.raises(ParameterError) as caught:
        CliRunner().invoke(cli, ["run", str(make_job("print(1)")), "--budget", "0.5"], catch_exceptions=False)
    assert caught.value.code == "parameters.budget-over"
