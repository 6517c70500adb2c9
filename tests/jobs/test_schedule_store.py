"""The scheduler's store reads what older versions wrote, and the commands over it say what is so and change no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from prodkit.cli.scheduler import scheduler
from prodkit.cli.schedules import schedule
from prodkit.errors import ConfigError, ParameterError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.history import History
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.presence import Presence, running
from prodkit.jobs.schedules.schedule import Schedule
from prodkit.jobs.schedules.store import ScheduleStore
from prodkit.jobs.schedules.unit import SchedulerUnit
from prodkit.manifest import Manifest, Project, find_project

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = datetime(2026, 5, 1, tzinfo=UTC)

# as prodkit 0.1.0 wrote it
OLD = """
CREATE TABLE schedules (
  name TEXT PRIMARY KEY, job TEXT NOT NULL, line TEXT NOT NULL, zone TEXT NOT NULL, params TEXT NOT NULL,
  since TEXT NOT NULL
);
CREATE TABLE ticks (
  name TEXT NOT NULL, due TEXT NOT NULL, missed INTEGER NOT NULL, begun TEXT NOT NULL, ended TEXT, outcome TEXT,
  PRIMARY KEY (name, due)
);
INSERT INTO schedules VALUES ('inside', '/gone/project/jobs/inside', '0 6 * * *', 'Europe/Berlin', '{"n": "2"}',
  '2026-04-01T00:00:00+00:00');
INSERT INTO schedules VALUES ('outside', '/elsewhere/outside', '5 * * * *', 'UTC', '{}', '2026-04-01T00:00:00+00:00');
INSERT INTO ticks VALUES ('inside', '2026-04-02T04:00:00+00:00', 3, '2026-04-02T04:00:01+00:00',
  '2026-04-02T04:00:09+00:00', 'ok');
INSERT INTO ticks VALUES ('inside', '2026-04-03T04:00:00+00:00', 0, '2026-04-03T04:00:01+00:00', NULL, NULL);
"""


@pytest.fixture
def store(tmp_path: Path) -> ScheduleStore:
    """An empty store of a project."""
    return ScheduleStore(tmp_path / ".prodkit" / "jobs" / "schedules.db", tmp_path)


def test_what_the_first_version_wrote_goes_on(tmp_path: Path) -> None:
    """Schedules and ticks of 0.1.0 are read, the job is found where the project lies now, and what was cut off goes on."""
    path = tmp_path / "schedules.db"
    with sqlite3.connect(path) as db:
        db.executescript(OLD)
    db.close()
    (tmp_path / "jobs" / "inside").mkdir(parents=True)
    (tmp_path / "jobs" / "inside" / "job.yaml").touch()
    with ScheduleStore(path, tmp_path) as store:
        inside, outside = store.schedules()
        assert (inside.job, inside.cron, inside.params) == (
            tmp_path / "jobs" / "inside",
            Cron("0 6 * * *", "Europe/Berlin"),
            {"n": "2"},
        )
        assert inside.since == datetime(2026, 4, 3, 4, tzinfo=UTC)
        assert outside.job == Path("/elsewhere/outside")
        (unfinished,) = store.unfinished()
        assert unfinished.key == "inside@2026-04-03T04:00:00+00:00"
    with ScheduleStore(path, tmp_path) as again:
        assert len(again.schedules()) == 2


def test_a_newer_store_is_refused(store: ScheduleStore, tmp_path: Path) -> None:
    """A file of a later version is left alone, with one clear error."""
    store.put(Schedule("a", tmp_path / "a", Cron("0 * * * *"), {}, DAY))
    store.close()
    path = tmp_path / ".prodkit" / "jobs" / "schedules.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match=r"schedule\.store-newer"):
        store.schedules()


def test_a_store_that_is_none_is_one_clear_error(store: ScheduleStore, tmp_path: Path) -> None:
    """A file that isn't a database is named with what to do, and left as it is."""
    path = tmp_path / ".prodkit" / "jobs" / "schedules.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigError, match=r"schedule\.store\]"):
        store.schedules()
    assert path.read_bytes() == b"no database at all" * 100


def test_a_moved_project_keeps_its_schedules(store: ScheduleStore, tmp_path: Path) -> None:
    """Job folders are kept from the project's root, so that a copy's schedules run the copy's jobs."""
    store.put(Schedule("a", tmp_path / "jobs" / "a", Cron("0 * * * *"), {}, DAY))
    store.close()
    shutil.copytree(tmp_path / ".prodkit", tmp_path / "copy" / ".prodkit")
    with ScheduleStore(tmp_path / "copy" / ".prodkit" / "jobs" / "schedules.db", tmp_path / "copy") as copy:
        (one,) = copy.schedules()
    assert one.job == tmp_path / "copy" / "jobs" / "a"


@pytest.mark.parametrize("is_project", [True, False])
def test_a_copy_beside_the_original_never_schedules_its_jobs(tmp_path: Path, *, is_project: bool) -> None:
    """What 0.1.0 scheduled by its whole path is the copy's own job, unless it always lay outside of any project."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    for root in (original, copy):
        (root / "jobs" / "inside").mkdir(parents=True)
        (root / "jobs" / "inside" / "job.yaml").touch()
    (original / ".prodkit").mkdir() if is_project else None
    with sqlite3.connect(tmp_path / "schedules.db") as db:
        db.executescript(OLD.replace("/gone/project", str(original)))
    db.close()
    with ScheduleStore(tmp_path / "schedules.db", copy) as store:
        assert store.schedules()[0].job == (copy if is_project else original) / "jobs" / "inside"


def test_a_copy_does_not_take_the_scheduler_of_the_original_for_its_own(store: ScheduleStore, tmp_path: Path) -> None:
    """A scheduler that serves the original runs there, and nowhere else."""
    Presence.open(store, {"default": 1})
    serving = running(store)
    assert serving is not None
    assert set(serving) == {"pid", "started", "since", "pools"}
    store.close()
    shutil.copytree(tmp_path / ".prodkit", tmp_path / "copy" / ".prodkit")
    with ScheduleStore(tmp_path / "copy" / ".prodkit" / "jobs" / "schedules.db", tmp_path / "copy") as copy:
        assert running(copy) is None


def test_the_store_stays_small(store: ScheduleStore, tmp_path: Path) -> None:
    """Ended firings beyond the latest ones are dropped; what waits and runs isn't."""
    store.put(Schedule("a", tmp_path / "a", Cron("* * * * *"), {}, DAY))
    dues = [DAY + timedelta(minutes=number) for number in range(100)]
    store.backfill("a", dues, DAY)
    firings = store.unfinished()
    store.end([*firings[1:]])
    assert store.forget("a", keep=10) == 89
    assert len(store.firings("a", DAY, DAY + timedelta(days=1))) == 11
    assert [firing.due for firing in store.unfinished()] == [DAY]


@pytest.fixture
def project(make_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with one job, whose parameter takes a date, as the current directory."""
    job = make_job("x = 1", parameters={"logical_date": ("str", "")}, schedule="0 6 * * *", timezone="Europe/Berlin")
    monkeypatch.chdir(job.parents[1])
    return find_project(job.parents[1])


def call(*words: str, command: Any = schedule, fails: type[Exception] | None = None) -> str:
    """What a command prints, or the error that it ends with."""
    done = CliRunner().invoke(command, list(words))
    if fails is not None:
        assert isinstance(done.exception, fails), done.output
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_a_job_has_several_schedules(project: Project) -> None:
    """Each has a name, pool, priority, zone and parameters of its own, and is listed, changed and removed by its name."""
    call("add", "jobs/sample", "--jitter", "30", "--catch-up", "all", "--priority", "2")
    added = call("jobs/sample", "--name", "hourly", "--cron", "0 * * * *", "--tz", "UTC", "--pool", "heavy")
    assert "the pool heavy runs one job at a time" in added
    rows = {row["schedule"]: row for row in json.loads(call("list", "--json"))}
    assert (rows["sample"]["priority"], rows["sample"]["jitter"], rows["sample"]["catch_up"]) == (2, 30.0, "all")
    assert (rows["hourly"]["pool"], rows["hourly"]["cron"]) == ("heavy", "0 * * * *")
    assert call("list", "--json") == call("--status", "--json", command=scheduler)
    call("pause", "hourly")
    assert "paused" in call("list")
    call("resume", "hourly")
    call("remove", "hourly")
    assert "did you mean `sample`" in call("pause", "sampel", fails=ConfigError)
    assert "schedule.name" in call("jobs/sample", "--name", "a b", fails=ParameterError)
    assert "schedule.date-param" in call("jobs/sample", "--date-param", "day", fails=ParameterError)
    with ScheduleStore(project.state / "jobs" / "schedules.db", project.root) as store:
        (one,) = store.schedules()
        assert (one.date_parameter, one.date_kind) == ("logical_date", "text")


def test_a_backfill_lists_before_it_runs_and_leaves_what_succeeded(project: Project) -> None:
    """What is missing or failed waits once, under the keys and dates of the missed firings; nothing is asked for twice."""
    call("jobs/sample")
    history = History.of(project)
    history.begin("earlier", "sample", key="sample@2026-10-25T05:00:00+00:00", params={})
    history.end("earlier", Outcome.OK)
    days = ("backfill", "sample", "--from", "2026-10-23", "--to", "2026-10-26")
    listed = json.loads(call(*days, "--dry-run", "--json"))
    assert [(row["due"][:16], row["state"]) for row in listed] == [
        ("2026-10-23T04:00", "missing"),
        ("2026-10-24T04:00", "missing"),
        ("2026-10-25T05:00", "ok"),
        ("2026-10-26T05:00", "missing"),
    ]
    assert "3 to run" in call(*days, "--dry-run")
    with ScheduleStore(project.state / "jobs" / "schedules.db", project.root) as store:
        assert store.unfinished() == ()
        assert "3 firings of sample wait" in call(*days, "--yes")
        first, second, third = store.unfinished()
        store.end([_ended(first, "ok"), _ended(second, "failed")])
        assert [row["state"] for row in json.loads(call(*days, "--json"))] == ["ok", "failed", "ok", "waiting"]
        assert "1 firing of sample wait" in call(*days, "--yes")
        assert {firing.key for firing in store.unfinished()} == {second.key, third.key}
    assert "0 to run" in call(*days, "--yes")
    assert "schedule.range" in call(
        "backfill", "sample", "--from", "2026-10-24", "--to", "2026-10-23", fails=ParameterError
    )
    assert "schedule.date" in call("backfill", "sample", "--from", "yesterday", fails=ParameterError)


def _ended(firing: Any, outcome: str) -> Any:
    from dataclasses import replace

    return replace(firing, ended=DAY, outcome=outcome)


def test_the_queue_is_visible(project: Project) -> None:
    """`scheduler --queue` shows what waits and for how long, by pool, also while no scheduler runs."""
    call("jobs/sample", "--pool", "heavy")
    call("backfill", "sample", "--from", "2026-10-23", "--to", "2026-10-24", "--yes")
    state = json.loads(call("--queue", "--json", command=scheduler))
    assert state["scheduler"] is None
    assert state["pools"] == {"heavy": {"size": None, "running": 0, "waiting": 2}}
    assert [(row["due"][:10], row["state"], row["seconds"] >= 0) for row in state["firings"]] == [
        ("2026-10-23", "waiting", True),
        ("2026-10-24", "waiting", True),
    ]
    assert {row["waits_for"] for row in state["firings"]} == {"a scheduler"}
    assert "heavy: 0 running, 2 waiting" in call("--queue", command=scheduler)
    assert "schedule.pool-size" in call("--pool", "heavy=none", command=scheduler, fails=ParameterError)
    assert project.state.is_dir()


@pytest.fixture(params=["/srv/demand .prodkit", "/home/ana/my projects/50% .prodkit", "/srv/demand /var/lib/a b"])
def unit(request: pytest.FixtureRequest) -> SchedulerUnit:
    """The unit of a project, whose folders may hold what systemd reads in its own way."""
    root, state = map(Path, re.split(r" (?=\.|/)", request.param))
    return SchedulerUnit(root, root / state, "daemon", ("/bin/true",), {"heavy": 2})


def systemd_analyze(*words: str) -> str:
    """What it prints; skipped where it isn't installed."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze isn't installed")
    done = subprocess.run([found, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_accepts_the_schedulers_unit(unit: SchedulerUnit, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to say, and `security` finds the service well confined."""
    path = tmp_path / unit.name
    path.write_text(unit.text())
    assert systemd_analyze("verify", str(path)) == ""
    said = systemd_analyze("security", "--offline=true", "--threshold=30", "--no-pager", str(path))
    assert "OK" in said.splitlines()[-1]
    assert "--pool heavy=2" in unit.text()
    assert "KillMode=mixed" in unit.text()


def test_the_command_writes_the_unit(project: Project) -> None:
    """`prodkit scheduler --unit` writes the service of this project, which runs this installation as this user."""
    assert "wrote" in call("--unit", "--pool", "heavy=3", command=scheduler)
    (path,) = (project.state / "schedules").glob("*.service")
    text = path.read_text()
    assert f"WorkingDirectory={project.root}" in text
    assert "--pool heavy=3" in text


SERVE = """
import sys
from pathlib import Path
from prodkit.jobs.schedules.scheduler import Scheduler
from prodkit.jobs.signals import StopRequest
from prodkit.manifest import Manifest, Project
with StopRequest() as stop:
    Scheduler(Project(Path(sys.argv[1]), Manifest())).serve(stop)
"""


def test_systemd_hears_from_the_scheduler(tmp_path: Path) -> None:
    """A service manager is told when it is ready, that it lives, and that it stops; SIGTERM ends it with 0."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(120)
        environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        with subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path)], env=environment) as serving:
            assert [sock.recv(100), sock.recv(100), sock.recv(100)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
            serving.terminate()
            while sock.recv(100) != b"STOPPING=1":
                pass
            assert serving.wait(120) == 0


def test_sigterm_starts_nothing_more(tmp_path: Path) -> None:
    """What is due and waits when the scheduler is asked to stop doesn't start, and is still waiting for the next one."""
    from prodkit.jobs.schedules.scheduler import Scheduler
    from prodkit.jobs.signals import StopRequest

    runs: list[str] = []

    def run(job: Path, params: dict[str, str], *, options: Any, project: Any, stop: StopRequest) -> Any:
        runs.append(options.key)
        stop.request()
        while not stop.asked:
            time.sleep(0.01)
        raise ConfigError("a.b", "stopped")

    project = Project(tmp_path, Manifest())
    keeper = Scheduler(project, run=run, pools={"default": 1})
    with keeper.store as store:
        for name in ("first", "second"):
            store.put(Schedule(name, tmp_path / name, Cron("* * * * *"), {}, datetime.now(UTC) - timedelta(minutes=2)))
    keeper.serve(StopRequest())
    assert len(runs) == 1
    with keeper.store as store:
        assert [(firing.name, firing.begun is not None) for firing in store.unfinished()] == [
            ("first", True),
            ("second", False),
        ]


def test_a_notebook_knows_its_date(make_job: Callable[..., Path], run_here: Callable[..., Any]) -> None:
    """A scheduled run finds the moment that it is for in its environment, without a parameter for it."""
    job = make_job("import os\nopen('date.txt', 'w').write(os.environ['PRODKIT_LOGICAL_DATE'])")
    assert run_here(job, logical_date="2026-05-01T00:00:00+02:00").exit_code == 0
    assert (job.parents[1] / "notebooks" / "date.txt").read_text() == "2026-05-01T00:00:00+02:00"
