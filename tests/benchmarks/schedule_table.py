"""What schedules cost beside their jobs: CPU seconds a minute for 10 to 1,000 schedules that fire every minute.

    python tests/benchmarks/schedule_table.py 10 100 200 1000 --minutes 2

Jobs are replaced by a function that returns at once; each firing is claimed, begun and ended durably as always.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prodkit.jobs.ends import Outcome
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.schedule import Schedule
from prodkit.jobs.schedules.scheduler import Scheduler
from prodkit.jobs.signals import StopRequest
from prodkit.manifest import Manifest, Project

_SETTLE = 10  # seconds after the start that aren't counted


def measure(count: int, minutes: float) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        root, keys = Path(folder), []

        def run(job: Path, params: dict[str, str], *, options: Any, project: Any, stop: Any) -> Any:
            keys.append(options.key)
            return SimpleNamespace(outcome=Outcome.OK, attempts=())

        keeper = Scheduler(Project(root, Manifest()), run=run)
        with keeper.store as store:
            for number in range(count):
                store.put(Schedule(f"s{number}", root / f"s{number}", Cron("* * * * *"), {}, datetime.now(UTC)))
        stop = StopRequest()
        serving = threading.Thread(target=keeper.serve, args=[stop])
        before = time.process_time()
        serving.start()
        time.sleep(_SETTLE)
        start, cpu, fired = time.monotonic(), time.process_time(), len(keys)
        time.sleep(minutes * 60)
        passed, used = (time.monotonic() - start) / 60, time.process_time() - cpu
        stop.request()
        serving.join()
        doubled = len(keys) - len(set(keys))
        return (
            f"| {count:5} | {used / passed:6.2f} | {used / passed / 60:6.2%} | {cpu - before:5.2f} | "
            f"{len(keys) - fired:6} | {doubled} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=[10, 100, 200, 1000])
    parser.add_argument("--minutes", type=float, default=2.0)
    given = parser.parse_args()
    print("| schedules | CPU s a minute | of a core | CPU s to start | fired | doubled |\n|---|---|---|---|---|---|")
    for count in given.counts:
        second = datetime.now(UTC).second
        time.sleep((75 - second) % 60)  # begin at :15, so that the counted time holds whole minutes
        print(measure(count, given.minutes), flush=True)
    print(f"taken over {timedelta(minutes=given.minutes)} each")


if __name__ == "__main__":
    main()
