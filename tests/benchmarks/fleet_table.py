"""What the start of a fan-out costs: CPU seconds of all its processes, and the rate beside a loop over papermill.

    python tests/benchmarks/fleet_table.py               # start-up: two items, both engines
    python tests/benchmarks/fleet_table.py --items 200   # also the rate over that many items

CPU is user and system time of the command and of everything that it starts, the shipping process included; what two items
themselves take is part of it. CPU seconds depend on how busy the machine is: `import mlflow`, measured beside them, is the
yardstick.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from test_fanout import LOOP, MANIFEST, make_job, write_notebook

from prodkit.manifest import find_project

WORKERS = 2
_SUBREAPER = (
    36  # prctl's PR_SET_CHILD_SUBREAPER: processes that outlive their parent become ours, and can be waited for
)
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_MODEL_CATALOG_URI": ""}


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command took, with all its processes: seconds of wall time until it ended, and of CPU."""

    wall: float
    cpu: float


def measure(command: list[str], cwd: Path) -> Taken:
    """Run it, and wait for whatever it leaves behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "MLFLOW_"))}
    environment = {**kept, **QUIET, "PRODKIT_SHIPPER_IDLE": "10"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, cwd=cwd, env=environment, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def fan_out(engine: str, items: int, database: Path) -> Taken:
    """`prodkit run --over` in a fresh project."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "project")
        (root / ".prodkit").mkdir(parents=True)
        (root / "prodkit.yaml").write_text(MANIFEST)
        (root / ".prodkit" / "mlflow.db").write_bytes(database.read_bytes())
        job, over = make_job(find_project(root)), root / "items.csv"
        over.write_text("n\n" + "".join(f"{number}\n" for number in range(items)))
        words = ["run", str(job), "--over", str(over), "--json", "--workers", str(WORKERS), "--engine", engine]
        return measure([sys.executable, "-W", "ignore", "-m", "prodkit", *words], root)


def papermills_loop(items: int) -> Taken:
    """The same notebook by papermill, as many at a time."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        notebook, script = write_notebook(place / "in.ipynb"), place / "loop.py"
        script.write_text(LOOP)
        command = [sys.executable, "-W", "ignore", str(script), str(notebook), folder, str(items), str(WORKERS)]
        return measure(command, place)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=0)
    items = parser.parse_args().items
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "mlflow.db")
        upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{database}"]
        subprocess.run(upgrade, check=True, capture_output=True, env={**os.environ, **QUIET})
        yardstick = measure([sys.executable, "-W", "ignore", "-c", "import mlflow"], Path(folder))
        print("| what | wall, s | CPU, s |\n|---|---|---|")
        print(f"| `import mlflow` | {yardstick.wall:.1f} | {yardstick.cpu:.1f} |")
        for engine in ("local", "dask"):
            taken = fan_out(engine, WORKERS, database)
            print(f"| fan-out of {WORKERS} items, {engine} | {taken.wall:.1f} | {taken.cpu:.1f} |")
        if items:
            ours, theirs = fan_out("local", items, database), papermills_loop(items)
            print(f"| fan-out of {items} items, local | {ours.wall:.1f} | {ours.cpu:.1f} |")
            print(f"| papermill's loop over {items} items | {theirs.wall:.1f} | {theirs.cpu:.1f} |")
            print(f"\nitems a minute: {items / ours.wall * 60:.0f} against {items / theirs.wall * 60:.0f}, ", end="")
            print(f"{theirs.wall / ours.wall:.1f} times")


if __name__ == "__main__":
    main()
