"""The local scheduler over real minutes with real processes, all of which are killed at random times.

    python tests/benchmarks/schedule_hour.py --minutes 60 --schedules 200

Most schedules fire every minute and start a small process that holds its job's lock, works for up to two seconds and
writes down that it is done. Ten fire every 15 minutes and run exported notebooks in kernels, published to MLflow.
The scheduler gets SIGKILL every few minutes and is started again after a pause; jobs get SIGKILL all the time. At the
end what was killed is filled in by a backfill, and each firing that the cron lines give must have been done once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import psutil

from prodkit.errors import TransientError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.runner import run_job
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.schedule import Schedule
from prodkit.jobs.schedules.scheduler import Scheduler
from prodkit.jobs.schedules.store import ScheduleStore
from prodkit.jobs.signals import StopRequest
from prodkit.manifest import find_project

# exits with 75 while another process works for the same job; a firing that is done isn't done again
_LIGHT = """
exec 9>>"$1.lock"; flock -n 9 || exit 75
if [ -e "$3/$2" ]; then echo "again $2" >> "$3.log"; exit 0; fi
echo "begun $2" >> "$3.log"; sleep "$4"; echo done >> "$3/$2"
"""
_MANIFEST = """\
service: {name: hour}
owners:
  people:
    ana: {name: Ana Ruiz, email: ana@northwind.test, pager: "https://pager.northwind.test/ana", backup: ben}
    ben: {name: Ben Okafor, email: ben@northwind.test, backup: ana}
  raci:
    default: {R: [ben], A: ana, C: [], I: []}
  escalation: [ana, ben]
  review_by: %s
"""
_NOTEBOOKS, _EACH = 2, 5  # exported jobs, and schedules of each


@dataclass
class Tally:
    """What the driver has done and seen."""

    kills: Counter[str] = field(default_factory=Counter)
    loop_cpu: dict[int, float] = field(default_factory=dict)  # by scheduler process, of the thread that keeps the time
    whole_cpu: dict[int, float] = field(default_factory=dict)


def serve(root: Path) -> None:
    """A scheduler whose jobs are small processes or notebooks."""
    done = root / "done"

    def run(job: Path, params: dict[str, str], *, options: Any, project: Any, stop: StopRequest) -> Any:
        if (job / "job.yaml").exists():
            return run_job(job, params, options=options, project=project, stop=stop)
        seconds = str(round(random.Random(options.key).uniform(0.05, 2), 2))
        command = ["/bin/sh", "-c", _LIGHT, "sh", str(job), options.key, str(done), seconds]
        code = subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode
        if code == Outcome.TRANSIENT.exit_code:
            raise TransientError("jobs.locked", "The job is running already.")
        outcome = Outcome.OK if code == 0 else Outcome.KERNEL_DIED if code < 0 else Outcome.FAILED
        return SimpleNamespace(outcome=outcome, attempts=())

    with StopRequest() as stop:
        Scheduler(find_project(root), run=run, pools={"light": 24, "notebooks": 2}).serve(stop)


def prepare(root: Path, schedules: int) -> None:
    """A project with exported notebooks, and the schedules."""
    (root / "light").mkdir(parents=True)
    (root / "done").mkdir()
    (root / "prodkit.yaml").write_text(_MANIFEST % (datetime.now(UTC) + timedelta(days=90)).date())
    for number in range(_NOTEBOOKS):
        path = root / f"report{number}.ipynb"
        cells = [
            nbformat.v4.new_code_cell("logical_date: str = ''", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("import time\ntime.sleep(1)"),
            nbformat.v4.new_code_cell("with open('worked.txt', 'a') as file:\n    print(logical_date, file=file)"),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        command = [sys.executable, "-m", "prodkit", "export", str(path), "--to", str(root / "jobs" / path.stem)]
        subprocess.run(command, check=True, cwd=root, stdout=subprocess.DEVNULL)
    with ScheduleStore(root / ".prodkit" / "jobs" / "schedules.db", root) as store:
        now = datetime.now(UTC)
        for number in range(schedules - _EACH * _NOTEBOOKS):
            place = root / "light" / f"s{number}"
            store.put(Schedule(place.name, place, Cron("* * * * *"), {}, now, "light", jitter=30, catch_up="all"))
        for number in range(_EACH * _NOTEBOOKS):
            job = root / "jobs" / f"report{number // _EACH}"
            cron, words = Cron(f"{number}/15 * * * *"), {"date_parameter": "logical_date", "date_kind": "text"}
            store.put(
                Schedule(f"{job.name}-{number % _EACH}", job, cron, {}, now, "notebooks", catch_up="all", **words)
            )  # type: ignore[arg-type]


def start(root: Path) -> psutil.Popen:
    """A scheduler process."""
    return psutil.Popen([sys.executable, __file__, "--serve", str(root)], stdout=subprocess.DEVNULL)


def watch(keeper: psutil.Popen, seconds: float, chance: random.Random, tally: Tally) -> None:
    """Kill jobs for so many seconds, and read what the scheduler costs."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, chance.uniform(1, 8)))
        with contextlib.suppress(psutil.Error):
            loop = next(one for one in keeper.threads() if one.id == keeper.pid)
            tally.loop_cpu[keeper.pid] = loop.user_time + loop.system_time
            tally.whole_cpu[keeper.pid] = sum(keeper.cpu_times()[:2])
            if jobs := keeper.children(recursive=True):
                chance.choice(jobs).kill()
                tally.kills["job processes"] += 1


def outstanding(root: Path) -> int:
    """Firings that wait or run."""
    with ScheduleStore(root / ".prodkit" / "jobs" / "schedules.db", root) as store:
        return len(store.unfinished())


def settle(root: Path, until: datetime, tally: Tally) -> None:
    """Let what is due end, then fill in what was killed, twice if need be."""
    path = root / ".prodkit" / "jobs" / "schedules.db"
    keeper = start(root)
    time.sleep(90)  # all jitters have passed
    with ScheduleStore(path, root) as store:
        schedules = store.schedules()
        for one in schedules:
            if one.pool == "light":
                store.pause(one.name, until)
    while outstanding(root):
        time.sleep(2)
    with ScheduleStore(path, root) as store:
        for one in schedules:
            store.resume(one.name, until + timedelta(days=1))
            dues = list(one.cron.between(_begin(root), until))
            tally.kills["firings filled in"] += store.backfill(one.name, dues, datetime.now(UTC))
    while outstanding(root):
        time.sleep(2)
    keeper.terminate()
    keeper.wait(120)


def _begin(root: Path) -> datetime:
    return datetime.fromisoformat((root / "begin.txt").read_text())


def report(root: Path, until: datetime, minutes: float, tally: Tally) -> bool:
    """Print what was fired, lost and doubled, and what it cost."""
    lines = [line.split(" ", 1) for line in (root / "done.log").read_text().splitlines()]
    done = Counter({path.name: len(path.read_text().split()) for path in (root / "done").iterdir()})
    with ScheduleStore(root / ".prodkit" / "jobs" / "schedules.db", root) as store:
        schedules = store.schedules()
        ends = Counter(
            firing.outcome for one in schedules for firing in store.firings(one.name, _begin(root), until).values()
        )
    light = [one for one in schedules if one.pool == "light"]
    expected = {f"{one.name}@{due.isoformat()}" for one in light for due in one.cron.between(_begin(root), until)}
    history = json.loads(
        subprocess.run(
            [sys.executable, "-m", "prodkit", "runs", "--json", "--limit", "10000"],
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    well = Counter(run["key"] for run in history if run["outcome"] == "ok")
    wanted = {
        f"{one.name}@{due.isoformat()}"
        for one in schedules
        if one.pool != "light"
        for due in one.cron.between(_begin(root), until)
    }
    worked = Counter((root / "worked.txt").read_text().split()) if (root / "worked.txt").exists() else Counter()
    print(f"{minutes:g} minutes, {len(schedules)} schedules; SIGKILL: {dict(tally.kills)}")
    print(
        f"small processes: {len(expected)} firings, lost {len(expected - done.keys())}, doubled "
        f"{sum(count > 1 for count in done.values())}, asked for again after they were done "
        f"{sum(word == 'again' for word, _ in lines)}, begun {sum(word == 'begun' for word, _ in lines)}"
    )
    print(
        f"notebooks: {len(wanted)} firings, lost {len(wanted - well.keys())}, succeeded twice "
        f"{sum(count > 1 for count in well.values())}, runs {dict(Counter(run['outcome'] for run in history))}, "
        f"last cells executed {sum(worked.values())}"
    )
    print(f"ends: {dict(ends)}")
    loop, whole = sum(tally.loop_cpu.values()), sum(tally.whole_cpu.values())
    print(
        f"CPU of the thread that keeps the time, starts with their imports among it: {loop:.1f} s, "
        f"{loop / minutes:.2f} s a minute, {loop / minutes / 60:.2%} of a core; "
        f"of the scheduler with what runs the jobs in it: {whole / minutes:.2f} s a minute"
    )
    return not (expected - done.keys() or wanted - well.keys() or any(c > 1 for c in (*done.values(), *well.values())))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", type=Path)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    chance, tally = random.Random(given.seed), Tally()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "project"
        prepare(root, given.schedules)
        begin = datetime.now(UTC)
        (root / "begin.txt").write_text(begin.isoformat())
        until = begin + timedelta(minutes=given.minutes)
        while (left := (until - datetime.now(UTC)).total_seconds()) > 0:
            keeper = start(root)
            watch(keeper, min(left, chance.uniform(60, 300)), chance, tally)
            keeper.send_signal(signal.SIGKILL)
            keeper.wait()
            tally.kills["scheduler"] += 1
            time.sleep(chance.uniform(1, 100) if left > 120 else 1)
        settle(root, until, tally)
        sys.exit(0 if report(root, until, given.minutes, tally) else 1)


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main()
