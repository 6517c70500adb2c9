"""Publishing never changes what happened: what fails is told in one line, kept, and done at the next chance."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.errors import ConfigError
from prodkit.jobs.attempt import Attempter
from prodkit.jobs.delivery import deliver_waiting
from prodkit.jobs.ends import Outcome
from prodkit.jobs.fanout import run_over
from prodkit.jobs.history import History
from prodkit.jobs.outbox import PAGE, RECORDS, Ending, Outbox, Waiting
from prodkit.jobs.runner import run_job
from prodkit.manifest import find_project
from prodkit.records import RunHandle, Status
from tests.jobs.conftest import RememberingLedger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.jobs.runner import JobResult
    from prodkit.manifest import Project
    from prodkit.records import RunSpec


@dataclass
class BrokenLedger(RememberingLedger):
    """A ledger whose methods fail as long as they are named."""

    broken: set[str] = field(default_factory=set)
    wrong: Exception = field(default_factory=lambda: OSError(28, "No space left on device"))

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "__dict__").get("broken", ()):
            raise object.__getattribute__(self, "wrong")
        return object.__getattribute__(self, name)


@dataclass
class LateLedger(RememberingLedger):
    """A ledger whose MLflow says no id while a run begins, and until `known` is set."""

    known: bool = False

    def start_run(self, spec: RunSpec) -> RunHandle:
        super().start_run(spec)
        return RunHandle(spec.key, spec.name)

    def run_id(self, key: str) -> str:
        return super().run_id(key) if self.known else ""


@dataclass
class Pages:
    """Stands for the review's page: remembers for which runs it was written."""

    runs: list[str] = field(default_factory=list)
    wrong: Exception | None = None

    def __call__(self, project: Project, run_id: str) -> None:
        if self.wrong is not None:
            raise self.wrong
        self.runs.append(run_id)


@pytest.fixture(autouse=True)
def _no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel does isn't the question here: each attempt succeeds at once and leaves a notebook."""

    def execute(self: Attempter, output: Path, environment: dict[str, str], ends: list[Any]) -> Outcome:
        output.write_text("{}")
        return Outcome.OK

    monkeypatch.setattr(Attempter, "_execute", execute)


def outbox_of(job: Path) -> Outbox:
    return Outbox(find_project(job.parents[1]).state / "jobs" / "outbox")


@pytest.mark.parametrize("broken", ["end_run", "log_file", "flush", "run_id", "problem", "run_id flush end_run"])
@pytest.mark.parametrize("wrong", [OSError(28, "No space left"), ConfigError("ledger.unwritable", "It is full.")])
def test_a_job_that_succeeded_has_succeeded(broken: str, wrong: Exception, make_job: Callable[..., Path]) -> None:
    """Whatever breaks after the job: it ends with 0 and one line, and the next run publishes both, pages too."""
    job, pages = make_job("pass"), Pages()
    ledger = BrokenLedger(broken=set(broken.split()), wrong=wrong)
    first = run_job(job, ledger=ledger, page=pages)  # type: ignore[arg-type]
    assert (first.exit_code, len(first.problem.splitlines())) == (0, broken != "problem")
    ledger.broken.clear()
    second = run_job(job, ledger=ledger, page=pages)  # type: ignore[arg-type]
    assert (second.exit_code, second.problem) == (0, "")
    assert {run["status"] for run in ledger.runs.values()} == {Status.OK}
    for run in (first.run, second.run):
        assert {"notebook/attempt-1.ipynb", "run.json", "report.html"} <= set(ledger.runs[run]["files"])
    assert sorted(set(pages.runs)) == sorted(f"mlflow-{run}" for run in (first.run, second.run))
    assert outbox_of(job).runs() == ()


def test_a_page_that_cannot_be_written_waits(make_job: Callable[..., Path]) -> None:
    """While the reviewer's page fails, runs end as they do; all pages are written once it works again, each once."""
    job, ledger = make_job("pass"), RememberingLedger()
    down = Pages(wrong=ConnectionError("refused, with something private"))
    runs = [run_job(job, ledger=ledger, page=down) for _ in range(2)]  # type: ignore[arg-type]
    assert [run.exit_code for run in runs] == [0, 0]
    assert "ConnectionError" in runs[0].problem
    assert "private" not in runs[0].problem
    assert sorted(outbox_of(job).runs()) == [run.run for run in runs]
    up = Pages()
    last = run_job(job, ledger=ledger, page=up)  # type: ignore[arg-type]
    assert up.runs[0] == f"mlflow-{last.run}"
    assert sorted(up.runs) == [f"mlflow-{run.run}" for run in (*runs, last)]


def test_a_page_that_never_comes_doesnt_hold_the_run(
    make_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that takes longer than there is time is left to the next chance."""
    import threading

    monkeypatch.setattr("prodkit.jobs.delivery._SECONDS", 0.5)
    never = threading.Event()
    job, ledger = make_job("pass"), RememberingLedger()
    result = run_job(job, ledger=ledger, page=lambda *_: never.wait(60))  # type: ignore[arg-type]
    never.set()
    assert (result.exit_code, "in time" in result.problem) == (0, True)
    assert outbox_of(job).runs() == (result.run,)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_before_publishing_loses_nothing(
    moment: str, make_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that is killed between its job's end and publishing leaves it to the next run of any job."""
    job, other = make_job("pass"), make_job("pass", name="other")
    child = os.fork()
    if child == 0:
        name = "prodkit.jobs.runner.write_records" if moment == "before" else "prodkit.jobs.runner.deliver"
        monkeypatch.setattr(name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        run_job(job, ledger=RememberingLedger(), page=Pages())  # type: ignore[arg-type]
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    project, ledger, pages = find_project(job.parents[1]), RememberingLedger(), Pages()
    [killed] = History.of(project).entries("sample")
    assert killed.outcome is Outcome.OK
    ledger.runs[killed.run] = {"files": {}}  # MLflow has had it since it began
    run_job(other, ledger=ledger, page=pages)  # type: ignore[arg-type]
    assert f"mlflow-{killed.run}" in pages.runs
    assert (ledger.runs[killed.run].get("status") is Status.OK) == (moment == "before")
    assert outbox_of(job).runs() == ()


def test_a_lost_run_keeps_nobody_from_work(make_job: Callable[..., Path]) -> None:
    """A killed run of before that can't be closed is told in one line, and closed by the run after."""
    job, ledger = make_job("pass"), BrokenLedger()
    history = History.of(find_project(job.parents[1]))
    child = os.fork()
    if child == 0:
        history.begin("job-lost", "sample", params={})
        os._exit(0)
    os.waitpid(child, 0)
    ledger.runs["job-lost"] = {"files": {}}
    ledger.broken = {"end_run"}
    first = run_job(job, ledger=ledger)  # type: ignore[arg-type]
    assert (first.exit_code, "killed" in first.problem or "recorded" in first.problem) == (0, True)
    ledger.broken.clear()
    assert run_job(job, ledger=ledger).problem == ""  # type: ignore[arg-type]
    assert ledger.runs["job-lost"]["status"] is Status.ABORTED


def test_the_run_of_a_fan_out_gets_its_page(make_job: Callable[..., Path], tmp_path: Path) -> None:
    """The whole of a fan-out has a page, its items have none, and a page that fails changes no end."""
    job, ledger, pages = make_job("pass", parameters={"n": ("int", 1)}), RememberingLedger(), Pages()
    (tmp_path / "rows.csv").write_text("n\n1\n2\n")
    down = Pages(wrong=ConnectionError())
    options = {"ledger": ledger, "workers": 2}
    failed = run_over(job, tmp_path / "rows.csv", page=down, **options)  # type: ignore[arg-type]
    assert (failed.outcome, "review page" in failed.problem) == (Outcome.OK, True)
    whole = run_over(job, tmp_path / "rows.csv", page=pages, again=True, **options)  # type: ignore[arg-type]
    assert (whole.outcome, whole.problem) == (Outcome.OK, "")
    assert pages.runs == [f"mlflow-{whole.run}", f"mlflow-{failed.run}"]
    assert {ledger.runs[run]["status"] for run in (whole.run, failed.run)} == {Status.OK}
    assert ledger.runs[whole.run]["metrics"]["items_ok"] == 2
    assert outbox_of(job).runs() == ()


def ids_in(result: JobResult) -> list[str]:
    """What the run's `run.json` says of its attempts."""
    assert result.output is not None
    record = json.loads((result.output.parent / "run.json").read_text())
    return [attempt["mlflow_run_id"] for attempt in record["attempts"]]


def test_an_id_that_comes_late_is_told(make_job: Callable[..., Path]) -> None:
    """A run that begins before MLflow says its id ends with id and address, in its result, history and `run.json`."""
    job, ledger = make_job("pass"), LateLedger(known=True)
    result = run_job(job, ledger=ledger, page=Pages())  # type: ignore[arg-type]
    assert (result.run_id, result.url, result.problem) == (f"mlflow-{result.run}", f"http://x/{result.run}", "")
    [entry] = History.of(find_project(job.parents[1])).entries("sample")
    assert (entry.run_id, entry.url) == (result.run_id, result.url)
    assert ids_in(result) == [f"mlflow-{result.run}.1"]


@pytest.mark.parametrize("way", ["run", "sync", "fan-out"])
def test_an_id_that_never_came_is_filled_in_later(
    way: str, make_job: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While MLflow's id isn't known, one line says so; the next run, fan-out or sync fills it in, and the address."""
    job, ledger, pages = make_job("pass", parameters={"n": ("int", 1)}), LateLedger(), Pages()
    first = run_job(job, ledger=ledger, page=None)  # type: ignore[arg-type]
    assert (first.exit_code, first.run_id, len(first.problem.splitlines())) == (0, "", 1)
    assert "id of the run isn't known yet" in first.problem
    paged = run_job(job, ledger=ledger, page=pages)  # type: ignore[arg-type]
    assert (paged.run_id, "known" in paged.problem) == ("", True)
    ledger.known, project = True, find_project(job.parents[1])
    if way == "run":
        run_job(job, ledger=ledger, page=pages)  # type: ignore[arg-type]
    elif way == "sync":
        monkeypatch.setattr("prodkit.ledger.Ledger.open", lambda *_, **__: ledger)
        assert deliver_waiting(project, pages, seconds=60.0).problem == ""
    else:
        (tmp_path / "rows.csv").write_text("n\n1\n")
        whole = run_over(job, tmp_path / "rows.csv", ledger=ledger, page=pages)  # type: ignore[arg-type]
        assert (whole.run_id, whole.problem) == (f"mlflow-{whole.run}", "")
    for entry in History.of(project).entries("sample"):
        assert (entry.run_id, entry.url) == (f"mlflow-{entry.run}", f"http://x/{entry.run}")
    assert [ids_in(one) for one in (first, paged)] == [[f"mlflow-{one.run}.1"] for one in (first, paged)]


def test_what_another_process_publishes_is_left_to_it(tmp_path: Path) -> None:
    """A run whose file somebody else holds is not published a second time; a file that nobody can read harms nobody."""
    outbox = Outbox(tmp_path / "outbox")
    waiting = Waiting("job-1", "sample", "2026-01-01T00:00:00+00:00", (RECORDS, PAGE), Ending("sample", "ok"))
    outbox.put(waiting)
    with outbox.claimed("job-1") as mine, outbox.claimed("job-1") as again:
        assert (mine, again) == (True, False)
    assert outbox.get("job-1") == waiting
    (tmp_path / "outbox" / "job-0.json").write_text("{")
    assert outbox.get("job-0") is None
    outbox.put(waiting.without(RECORDS).without(PAGE))
    assert outbox.runs() == ("job-0",)


def test_a_project_without_jobs_has_nothing_to_publish(make_project: Callable[..., Project]) -> None:
    """`prodkit audit sync` in a project that has never run a job says nothing of runs."""
    done = deliver_waiting(make_project(), Pages(), seconds=1.0)
    assert (done.published, done.waiting, done.problem) == (0, 0, "")
