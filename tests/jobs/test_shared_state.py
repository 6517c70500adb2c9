"""Locks, history and idempotency keys, over processes of one folder and over machines that share a database."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.errors import TransientError
from prodkit.jobs.closing import close_lost
from prodkit.jobs.ends import Outcome
from prodkit.jobs.exclusion import locked_job
from prodkit.jobs.history import History
from prodkit.jobs.publishing import Publisher
from prodkit.manifest import find_project
from prodkit.records import Status
from tests.jobs.conftest import RememberingLedger
from tests.stores.conftest import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prodkit.manifest import Project
    from tests.postgres import Postgres

LEASE = 3.0
PRELUDE = """
import sys, time
from pathlib import Path
from prodkit.jobs.exclusion import locked_job
from prodkit.jobs.ends import Outcome
from prodkit.jobs.history import History
from prodkit.manifest import find_project
project = find_project(Path(sys.argv[1]))
"""
HOLDING = """
with locked_job(project, "sample", key="tick") as hold:
    hold.on_loss(lambda: print("lost", flush=True))
    print("held", flush=True)
    sys.stdin.readline()
    hold.check()
    print("still held", flush=True)
"""
RUNNING = """
history = History.of(project)
history.begin("job-1", "sample", key="tick", params={"n": 1})
print("begun", flush=True)
sys.stdin.readline()
history.check("job-1")
history.end("job-1", Outcome.OK)
print("ended", flush=True)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the state of the test's projects lies: in their folder, or on a server that knows them by their name."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("shared_postgres")
        monkeypatch.setenv("PRODKIT_STATE_URL", server.new_database())
        monkeypatch.setenv("PRODKIT_STATE_LEASE", str(LEASE))
    return str(request.param)


@pytest.fixture
def on_server(shared_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of the test's projects lies on a server."""
    monkeypatch.setenv("PRODKIT_STATE_URL", shared_postgres.new_database())
    monkeypatch.setenv("PRODKIT_STATE_LEASE", str(LEASE))


@pytest.fixture
def pods(tmp_path: Path) -> Callable[[int], list[Project]]:
    """Copies of one project in folders of their own, as so many pods have them."""

    def make(count: int) -> list[Project]:
        made = []
        for number in range(count):
            root = tmp_path / f"pod-{number}"
            root.mkdir()
            (root / "prodkit.yaml").write_text("service: {name: demo}\n")
            made.append(find_project(root))
        return made

    return make


@pytest.fixture
def process() -> Iterator[Callable[..., Any]]:
    """Starts `code` in a process: `process(code, project, elsewhere=True)` counts as another machine's."""
    started = []

    def start(code: str, project: Project, *, elsewhere: bool = False) -> Any:
        whole = (ELSEWHERE if elsewhere else "") + PRELUDE + code
        command = [sys.executable, "-c", whole, str(project.root)]
        pipe = subprocess.PIPE
        one = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.communicate()


def until(ready: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def lines(one: Any) -> list[str]:
    """What the process says until it ends, once it is told to go on."""
    out, err = one.communicate("go\n", timeout=120)
    return [*out.splitlines(), *err.splitlines()]


def test_a_job_runs_once_at_a_time(shared: str, pods: Callable[..., Any], process: Callable[..., Any]) -> None:
    """While a process holds a job, another is refused with the holder's process id; a killed one holds nothing."""
    [project] = pods(1)
    holder = process(HOLDING, project)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TransientError, match=f"process {holder.pid}") as caught, locked_job(project, "sample"):
        pass
    assert (caught.value.code, caught.value.exit_code) == ("jobs.locked", 75)
    with locked_job(project, "another"):
        pass
    holder.kill()
    holder.wait()
    with locked_job(project, "sample") as hold:
        hold.check()


@pytest.mark.usefixtures("on_server")
def test_a_job_runs_once_over_machines(pods: Callable[..., Any], process: Callable[..., Any]) -> None:
    """A pod that holds a job keeps another out for as long as it lives; killed, it does so no longer than its lease."""
    ours, theirs = pods(2)
    holder = process(HOLDING, theirs, elsewhere=True)
    assert holder.stdout.readline() == "held\n"
    time.sleep(LEASE * 1.2)  # the lease alone would be over
    with pytest.raises(TransientError, match=f"in process {holder.pid} on pod-2 since"), locked_job(ours, "sample"):
        pass
    holder.kill()
    holder.wait()
    killed = time.monotonic()
    with locked_job(ours, "sample"):
        assert time.monotonic() - killed < LEASE + 30  # what a loaded machine needs for the rest


@pytest.mark.usefixtures("on_server")
def test_a_paused_holder_notices(pods: Callable[..., Any], process: Callable[..., Any]) -> None:
    """A holder that was paused until another took the job is told when it goes on, and can't tell an end any more."""
    ours, theirs = pods(2)
    holder = process(HOLDING, theirs, elsewhere=True)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    with locked_job(ours, "sample") as hold:
        holder.send_signal(signal.SIGCONT)
        said = lines(holder)
        hold.check()
    assert said[0] == "lost"
    assert "still held" not in said
    assert any("[state.lease-lost]" in line for line in said)


@pytest.mark.usefixtures("on_server")
def test_a_server_that_is_away_stops_the_holder(
    pods: Callable[..., Any], process: Callable[..., Any], shared_postgres: Postgres
) -> None:
    """A holder that reaches no server for most of its lease counts itself out before others may begin."""
    holder = process(HOLDING, pods(1)[0])
    assert holder.stdout.readline() == "held\n"
    shared_postgres.stop()
    try:
        assert holder.stdout.readline() == "lost\n"
    finally:
        shared_postgres.start()


def test_history(shared: str, pods: Callable[..., Any]) -> None:
    """Runs are found by job, key and end, the latest first; only one that succeeded counts for its key."""
    [project] = pods(1)
    history = History.of(project)
    for number, end in enumerate((Outcome.FAILED, Outcome.OK, Outcome.TRANSIENT)):
        history.begin(f"job-{number}", "sample", key="tick", params={"n": number})
        history.note(f"job-{number}", attempts=number + 1, cost="0.5", error="")
        history.end(f"job-{number}", end)
    history.begin("job-3", "other", params={})
    assert [entry.run for entry in history.entries()] == ["job-3", "job-2", "job-1", "job-0"]
    assert [entry.run for entry in history.entries("sample", limit=2)] == ["job-2", "job-1"]
    done, unfinished = history.done("sample", "tick"), history.unfinished("sample", "tick")
    assert (done.run, done.attempts, done.cost, done.params) == ("job-1", 2, "0.5", {"n": 1})
    assert (unfinished.run, unfinished.outcome, done.host) == ("job-2", Outcome.TRANSIENT, os.uname().nodename)
    assert history.find("job-3").outcome is Outcome.RUNNING
    assert history.find("job-9") is None
    assert done.ended > done.started
    history.end("job-3", Outcome.OK)


def test_a_killed_run_is_lost(shared: str, pods: Callable[..., Any], process: Callable[..., Any]) -> None:
    """A run whose process was killed on this machine is lost at once."""
    [project] = pods(1)
    history, runner = History.of(project), process(RUNNING, project)
    assert runner.stdout.readline() == "begun\n"
    assert history.not_closed("sample") == ()
    runner.kill()
    runner.wait()
    assert [entry.run for entry in history.not_closed("sample")] == ["job-1"]


@pytest.mark.usefixtures("on_server")
def test_a_live_run_of_another_machine_is_not_lost(pods: Callable[..., Any], process: Callable[..., Any]) -> None:
    """A run of another pod is seen with its host, lives longer than a lease, and is lost when it was killed."""
    ours, theirs = pods(2)
    runner = process(RUNNING, theirs, elsewhere=True)
    assert runner.stdout.readline() == "begun\n"
    time.sleep(LEASE * 1.2)
    history = History.of(ours)
    (entry,) = history.entries("sample")
    assert (entry.outcome, entry.host, entry.pid) == (Outcome.RUNNING, "pod-2", runner.pid)
    runner.kill()
    runner.wait()
    until(lambda: history.entries("sample")[0].outcome is Outcome.LOST, "the run isn't lost")


@pytest.mark.usefixtures("on_server")
def test_a_paused_run_can_not_end(pods: Callable[..., Any], process: Callable[..., Any]) -> None:
    """A run that was paused until others took it for lost stays lost, and says so where it would have told its end."""
    ours, theirs = pods(2)
    runner = process(RUNNING, theirs, elsewhere=True)
    assert runner.stdout.readline() == "begun\n"
    runner.send_signal(signal.SIGSTOP)
    history = History.of(ours)
    until(lambda: history.not_closed("sample"), "the run isn't lost")
    runner.send_signal(signal.SIGCONT)
    said = lines(runner)
    assert any("[state.lease-lost]" in line for line in said)
    assert "ended" not in said
    assert history.done("sample", "tick") is None


def test_a_run_of_another_container_lives_while_it_holds_its_job(
    pods: Callable[..., Any], process: Callable[..., Any]
) -> None:
    """In a folder that containers share, a run of another one isn't lost while its job is held, and is afterwards."""
    [project] = pods(1)
    both = """
history = History.of(project)
with locked_job(project, "sample"):
    history.begin("job-1", "sample", params={})
    print("begun", flush=True)
    sys.stdin.readline()
"""
    runner = process(both, project, elsewhere=True)
    assert runner.stdout.readline() == "begun\n"
    history = History.of(project)
    assert history.entries()[0].outcome is Outcome.RUNNING
    runner.kill()
    runner.wait()
    assert history.entries()[0].outcome is Outcome.LOST


SLOW = """
import time
from pathlib import Path
Path(f"ran-{time.time_ns()}").touch()
deadline = time.monotonic() + 120
while not Path("go").exists() and time.monotonic() < deadline:
    time.sleep(0.05)
"""


def prodkit(root: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "prodkit", "run", "jobs/sample", "--json", *words]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
def test_a_key_runs_once_over_pods(
    shared: str,
    make_job: Callable[..., Path],
    mlflow_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two pods that run a job under one key at once, one runs it, and the other waits and gives its result.

    Without a server the two are processes of one folder.
    """
    monkeypatch.setenv("PRODKIT_SHIPPER", "inline")
    one = make_job(SLOW).parents[1]
    (one / ".prodkit").mkdir()
    shutil.copy(mlflow_template, one / ".prodkit" / "mlflow.db")
    other = one
    if shared == "postgresql":
        other = tmp_path / "another-pod"
        shutil.copytree(one, other)
    runs = [prodkit(root, "--key", "tick-1") for root in (one, other)]
    until(lambda: [*one.glob("notebooks/ran-*"), *other.glob("notebooks/ran-*")], "nothing runs")
    for root in (one, other):
        (root / "notebooks" / "go").touch()
    said = [run.communicate(timeout=200) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    results = [json.loads(out) for out, _ in said]
    assert sorted(result["repeated"] for result in results) == [False, True]
    assert len({result["run"] for result in results}) == 1
    assert len({*one.glob("notebooks/ran-*"), *other.glob("notebooks/ran-*")}) == 1


AS_POD = "from prodkit.cli import main\nsys.argv = ['prodkit', *sys.argv[1:]]\nmain()\n"
WAITING = """
import os, time
from pathlib import Path
from prodkit.capture import run

with run("classify"):
    if not Path("go").exists():
        Path(f"begun-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.05)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("on_server")
def test_a_pod_closes_what_a_killed_one_began(
    make_job: Callable[..., Path], mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9 of a pod, the next pod's run waits no longer than the lease, runs, and closes the other's in MLflow."""
    import mlflow

    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("PRODKIT_SHIPPER", "inline")
    one = make_job(WAITING).parents[1]
    other = tmp_path / "another-pod"
    shutil.copytree(one, other)
    command = [sys.executable, "-c", ELSEWHERE + AS_POD, "run", "jobs/sample", "--key", "tick"]
    quiet = subprocess.DEVNULL
    killed = subprocess.Popen(command, cwd=one, stdout=quiet, stderr=quiet, start_new_session=True)
    until(lambda: list(one.glob("notebooks/begun-*")), "the first pod doesn't run")
    os.kill(killed.pid, signal.SIGKILL)
    [kernel] = [int(path.name.removeprefix("begun-")) for path in one.glob("notebooks/begun-*")]
    os.kill(kernel, signal.SIGKILL)
    killed.wait()
    (other / "notebooks" / "go").touch()
    second = prodkit(other, "--key", "tick")
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, (out, err)
    assert json.loads(out)["repeated"] is False
    client = mlflow.MlflowClient()
    ends = [
        (run.data.tags["prodkit.kind"], run.info.status, run.data.tags.get("prodkit.outcome", ""))
        for run in client.search_runs([one.experiment_id for one in client.search_experiments()])
    ]
    assert {(kind, *end) for kind, *end in ends if kind in {"job", "attempt"}} == {
        (kind, *end) for kind in ("job", "attempt") for end in (("FINISHED", "ok"), ("KILLED", "lost"))
    }
    assert "RUNNING" not in {status for _, status, _ in ends}


@pytest.mark.usefixtures("on_server")
@pytest.mark.parametrize("elsewhere", [True, False], ids=["another host", "same host"])
def test_a_lost_run_is_closed_where_its_records_are(
    pods: Callable[..., Any], process: Callable[..., Any], *, elsewhere: bool
) -> None:
    """A pod with an MLflow of its own leaves another's killed run alone, without a word, and that pod closes it once."""
    ours, theirs = pods(2)
    runner = process(RUNNING, theirs, elsewhere=elsewhere)
    assert runner.stdout.readline() == "begun\n"
    runner.kill()
    runner.wait()
    until(lambda: History.of(ours).entries("sample")[0].outcome is Outcome.LOST, "the run isn't lost")
    ledgers = RememberingLedger(), RememberingLedger()
    ledgers[1].runs["job-1"] = {"files": {}, "status": None}

    def close(project: Project, ledger: RememberingLedger) -> str:
        publisher = Publisher.open(project, ledger)  # type: ignore[arg-type]
        return close_lost(History.of(project), "sample", project.state / "jobs" / "sample", publisher)

    assert close(ours, ledgers[0]) == ""
    assert [entry.closed for entry in History.of(ours).not_closed("sample")] == [0]
    assert close(theirs, ledgers[1]) == ""
    assert (ledgers[1].runs["job-1"]["status"], ledgers[0].runs) == (Status.ABORTED, {})
    assert History.of(ours).not_closed("sample") == ()
    ledgers[1].runs["job-1"]["status"] = None
    assert close(theirs, ledgers[1]) == ""
    assert ledgers[1].runs["job-1"]["status"] is None


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("on_server")
@pytest.mark.parametrize("way", ["run", "audit sync"])
def test_a_pod_closes_its_own_after_another_has_seen_them_lost(
    way: str, make_job: Callable[..., Path], mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an MLflow a pod, a killed run ends in its own, at its pod's next run or sync, though others ran before."""
    import mlflow

    monkeypatch.setenv("PRODKIT_SHIPPER", "inline")
    one = make_job(WAITING).parents[1]
    (one / ".prodkit").mkdir()
    shutil.copy(mlflow_template, one / ".prodkit" / "mlflow.db")
    other = tmp_path / "another-pod"
    shutil.copytree(one, other)
    command = [sys.executable, "-c", ELSEWHERE + AS_POD, "run", "jobs/sample"]
    quiet = subprocess.DEVNULL
    killed = subprocess.Popen(command, cwd=one, stdout=quiet, stderr=quiet)
    until(lambda: list(one.glob("notebooks/begun-*")), "the first pod doesn't run")
    [kernel] = [int(path.name.removeprefix("begun-")) for path in one.glob("notebooks/begun-*")]
    for victim in (killed.pid, kernel):
        os.kill(victim, signal.SIGKILL)
    killed.wait()
    for root in (one, other):
        (root / "notebooks" / "go").touch()
    until(lambda: History.of(find_project(other)).entries("sample")[0].outcome is Outcome.LOST, "the run isn't lost")
    out, err = prodkit(other).communicate(timeout=300)
    assert json.loads(out)["problem"] == "", err
    words = ["run", "jobs/sample"] if way == "run" else ["audit", "sync"]
    again = [sys.executable, "-c", ELSEWHERE + AS_POD, *words]
    done = subprocess.run(again, cwd=one, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    if way == "run":
        subprocess.run([sys.executable, "-m", "prodkit", "audit", "sync"], cwd=one, check=True, timeout=300)
    client = mlflow.MlflowClient(find_project(one).tracking_uri)
    runs = client.search_runs([found.experiment_id for found in client.search_experiments()])
    lost = {run.data.tags["prodkit.kind"] for run in runs if run.info.status == "KILLED"}
    assert "RUNNING" not in {run.info.status for run in runs}
    assert lost >= {"job", "attempt", "cell"}


CALL = """
from openai import OpenAI
from prodkit.capture import run
from prodkit.testing import openai_options
client = OpenAI(**openai_options())
question = [{"role": "user", "content": "My invoice is wrong."}]
with run("classify"):
    client.chat.completions.create(model="gpt-4o-mini", messages=question, max_tokens=8)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("on_server")
def test_a_days_budget_is_one_over_pods(
    make_job: Callable[..., Path],
    mlflow_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared_postgres: Postgres,
) -> None:
    """What one pod has spent today is gone for the other, which ends with 65; with the server away it ends with 75."""
    from prodkit.budget import Scopes
    from prodkit.stores import budgets_of
    from prodkit.testing import simulated_provider

    provider = simulated_provider(latency=0.0)
    for name, value in {**provider.environment(), "PRODKIT_SHIPPER": "inline"}.items():
        monkeypatch.setenv(name, value)
    one = make_job(CALL, manifest="budget: {per_day: 0.00002}\n").parents[1]
    (one / ".prodkit").mkdir()
    shutil.copy(mlflow_template, one / ".prodkit" / "mlflow.db")
    other = tmp_path / "another-pod"
    shutil.copytree(one, other)
    ends = []
    for root in (one, other) * 8:
        run = prodkit(root)
        out, err = run.communicate(timeout=120)
        ends.append(run.returncode)
        if run.returncode:
            assert "BudgetError" in out, (out, err)
            break
    assert ends[-1] == 65
    assert len(ends) > 2
    (day, *_) = budgets_of(find_project(other)).balances(Scopes())
    assert (day.scope, day.reserved) == ("day", 0)
    assert 0 < day.spent <= day.limit
    shared_postgres.stop()
    try:
        run = prodkit(other)
        out, err = run.communicate(timeout=120)
        assert (run.returncode, "state.unavailable" in err) == (75, True), (out, err)
        assert "Traceback" not in err
    finally:
        shared_postgres.start()
