"""The shipping process: `python -m prodkit.ledger.shipper --project ROOT`.

One at a time for a project. It ships what the journal holds, waits for more, and leaves when nothing has come for a
while. It may be killed at any moment; the next one goes on.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.ledger.destinations import connect
from prodkit.ledger.keys import Keyring
from prodkit.ledger.locks import try_lock
from prodkit.ledger.places import Places
from prodkit.ledger.shipping import Shipping
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from collections.abc import Sequence

IDLE_VARIABLE = "PRODKIT_SHIPPER_IDLE"
_POLL = 0.1
_POLL_QUIET = 0.5
_GIVE_UP = 900.0
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "GIT_PYTHON_REFRESH": "quiet",
}


def ship(root: Path, *, idle: float) -> int:
    """Ship until nothing has come for `idle` seconds; 0 also when another process does it already."""
    project = find_project(root)
    places = Places(project.state, project.root)
    places.make()
    shipping = Shipping(places, Keyring(places.keys), partial(connect, project, places))
    while True:
        lock = _take(places.ship_lock)
        if lock is None:
            return 0
        try:
            _work(shipping, places, idle)
        finally:
            os.close(lock)
        # a record that came between the last look and the release finds the lock held and starts nobody: look again
        if not places.journal.exists() or shipping.pending() == 0 or shipping.shipments.noted("problem")[0]:
            return 0


def _take(path: Path) -> int | None:
    """The lock; somebody who only looks whether it is held has it for a moment."""
    for _ in range(20):
        if (lock := try_lock(path)) is not None:
            return lock
        time.sleep(0.05)
    return None


def _work(shipping: Shipping, places: Places, idle: float) -> None:
    seen: object = None
    last = time.monotonic()
    while places.journal.exists():
        state = _state(places.journal)
        if state == seen and not shipping.due:
            if time.monotonic() - last > (_GIVE_UP if shipping.failing else idle):
                return
            time.sleep(_POLL if time.monotonic() - last < 1.0 else _POLL_QUIET)
            continue
        shipped = shipping.run_locked()
        seen = state
        if shipped.records:
            last = time.monotonic()
        elif not shipping.failing:
            last = max(last, time.monotonic() - idle + min(idle, 1.0))


def _state(folder: Path) -> object:
    """Changes whenever a record is written."""
    with os.scandir(folder) as entries:
        return sorted((entry.name, entry.stat().st_size) for entry in entries if entry.name.endswith(".jsonl"))


def main(argv: Sequence[str] | None = None) -> int:
    """The process's entry point."""
    parser = argparse.ArgumentParser(prog="prodkit.ledger.shipper", description=__doc__)
    parser.add_argument("--project", type=Path, required=True, help="the project's folder")
    parser.add_argument("--idle", type=float, default=float(os.environ.get(IDLE_VARIABLE, "60")))
    options = parser.parse_args(argv)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        os.setsid()  # Ctrl-C in the terminal is for the kernel
        os.nice(5)
    except OSError:
        pass  # already the leader of a session
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return ship(options.project, idle=options.idle)


if __name__ == "__main__":
    sys.exit(main())
