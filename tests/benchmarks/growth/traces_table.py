"""A hundred thousand traces in MLflow's SQLite: reviewing a run and opening the UI. Prints a table in Markdown.

    python tests/benchmarks/growth/traces_table.py                    # two minutes, 0.6 GB of disk
    python tests/benchmarks/growth/traces_table.py --traces 10000

One call is captured and shipped; its rows in MLflow's tables are then multiplied by SQL. Each command is a process of
its own, timed beside the same command on a project with that one trace.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bytes_table import SCRIPT

KEYS = {
    "trace_info": ("request_id",),
    "trace_tags": ("request_id",),
    "trace_request_metadata": ("request_id",),
    "spans": ("trace_id",),
}
UI = """
import sys, time
from prodkit.ledger.ui import serve
from prodkit.manifest import find_project
begun = time.perf_counter()
with serve(find_project()) as server:
    print(time.perf_counter() - begun)
"""


def multiply(path: Path, traces: int) -> None:
    """Give every row of the one trace `traces` twins with ids of their own, a second after each other."""
    with closing(sqlite3.connect(path)) as database:
        counted = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
        database.execute(f"CREATE TEMP TABLE numbers AS {counted}", (traces,))
        for table, ids in KEYS.items():
            facts = database.execute(f"PRAGMA table_xinfo({table})").fetchall()
            names = [fact[1] for fact in facts if fact[6] == 0]  # no generated columns
            values = [
                "printf('tr-%032x', i)"
                if name in ids
                else f"{name} - i * 1000"
                if name == "timestamp_ms"
                else f'"{name}"'
                for name in names
            ]
            columns = ", ".join(f'"{name}"' for name in names)
            copy = f"INSERT INTO {table} ({columns}) SELECT {', '.join(values)} FROM {table}, numbers"  # noqa: S608  MLflow's own names
            database.execute(copy)
            database.commit()


def measure(folder: Path, *command: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    environment = {**os.environ, "PRODKIT_PROJECT": str(folder), "DO_NOT_TRACK": "1"}
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed: {status}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "prodkit.yaml").write_text("service: {name: growth}\n")
        environment = {**os.environ, "PRODKIT_PROJECT": str(folder), "PRODKIT_SHIPPER": "inline", "DO_NOT_TRACK": "1"}
        for command in (["-c", SCRIPT, "alone", "1", "200"], ["-m", "prodkit", "audit", "sync"]):
            subprocess.run([sys.executable, *command], env=environment, cwd=folder, check=True, capture_output=True)
        path = folder / ".prodkit" / "mlflow.db"
        with closing(sqlite3.connect(path)) as database:
            run_id = database.execute("SELECT run_uuid FROM runs LIMIT 1").fetchone()[0]
            [request] = database.execute("SELECT value FROM trace_tags WHERE key = 'prodkit.requests'").fetchone()
        commands = {
            "review RUN": ("-m", "prodkit", "review", run_id),
            "audit show": ("-m", "prodkit", "audit", "show", request),
            "ui until it answers": ("-c", UI),
            "doctor": ("-m", "prodkit", "doctor", "--json"),
        }
        before = {name: measure(folder, *command) for name, command in commands.items()}
        begun = time.perf_counter()
        multiply(path, options.traces)
        print(f"{options.traces:,} traces, {path.stat().st_size / 1e6:,.0f} MB, {time.perf_counter() - begun:.0f} s\n")
        print("| command | wall s | CPU s | with one trace: wall s | CPU s |\n|---|---:|---:|---:|---:|")
        for name, command in commands.items():
            figures = *measure(folder, *command), *before[name]
            print(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
