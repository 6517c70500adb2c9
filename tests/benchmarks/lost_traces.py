"""How many traces are in MLflow in the end: MLflow's own tracing and prodkit, side by side. Prints a table in Markdown.

    python tests/benchmarks/lost_traces.py            # about three minutes
    python tests/benchmarks/lost_traces.py --calls 200 500 2000

Both write to a SQLite database of their own, prepared before. The same code runs under both: the real openai SDK
against the simulated provider, or spans by MLflow's API. Under MLflow the SDK is autologged; under prodkit the calls
are in a captured run. When the process has ended, what is in the database is counted; for prodkit after
`prodkit audit sync`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nbformat

from prodkit.testing import SimulatedProvider, simulated_provider

Stack = Literal["mlflow", "prodkit"]
STACKS: tuple[Stack, ...] = ("mlflow", "prodkit")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_MODEL_CATALOG_URI": ""}
BEGIN = {
    "mlflow": "import contextlib, mlflow\nmlflow.openai.autolog()\ncaptured = contextlib.nullcontext()\n",
    "prodkit": "import mlflow, prodkit\ncaptured = prodkit.run('calls')\n",
}
CALLS = """
import os
from concurrent.futures import ThreadPoolExecutor
from openai import OpenAI

client = OpenAI(base_url=os.environ["PROVIDER"] + "/v1", api_key="none", max_retries=0)

def ask(number):
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": f"Ticket {number}"}])

ask(0)  # what is imported and set up once
"""
LAST = """
with captured, ThreadPoolExecutor(16) as pool:
    list(pool.map(ask, range(COUNT - 1)))
"""
SPANS = """
with captured:
    for number in range(COUNT):
        with mlflow.start_span("step") as span:
            span.set_inputs({"number": number})
"""
DIE = "import os, signal\nos.kill(os.getpid(), signal.SIG)\n"


@dataclass(frozen=True)
class Result:
    """What was in the database, of how many, and how the process ended."""

    stored: int
    whole: int  # with a name, and not in progress
    of: int
    exit_code: int
    seconds: float

    def __str__(self) -> str:
        left = f", {self.stored - self.whole} not whole" if self.stored > self.whole else ""
        code = f", exit code {self.exit_code}" if self.exit_code >= 0 else f", {signal.Signals(-self.exit_code).name}"
        return f"{self.stored} of {self.of}{left} ({self.seconds:.0f} s{code})"


class Bench:
    """Runs scripts and notebooks in folders of their own.

    Args:
        folder: where the folders are made.
        provider: answers the calls.
    """

    def __init__(self, folder: Path, provider: SimulatedProvider) -> None:
        self._folder, self._provider = folder, provider
        self._template = folder / "template.db"
        subprocess.run(
            [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{self._template}"],
            check=True,
            capture_output=True,
            env={**os.environ, **QUIET},
        )

    def script(self, name: str, stack: Stack, code: str, count: int) -> Result:
        """Run a script until it ends, or dies."""
        place, environment = self._place(name, stack)
        file = place / "script.py"
        file.write_text(BEGIN[stack] + code.replace("COUNT", str(count)))
        return self._run(stack, [sys.executable, str(file)], place, environment, count)

    def papermill(self, name: str, stack: Stack, count: int) -> Result:
        """Run a notebook whose last cell has all the calls, under papermill as it comes."""
        place, environment = self._place(name, stack)
        cells = [BEGIN[stack], CALLS, LAST.replace("COUNT", str(count))]
        if stack == "prodkit":  # its first call is captured, too
            cells[1] = cells[1].replace("ask(0)", "with prodkit.run('first'):\n    ask(0)")
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, place / "in.ipynb")
        command = [
            sys.executable,
            "-m",
            "papermill",
            "--no-progress-bar",
            "--log-level",
            "ERROR",
            "in.ipynb",
            "out.ipynb",
        ]
        return self._run(stack, command, place, environment, count)

    def _place(self, name: str, stack: Stack) -> tuple[Path, dict[str, str]]:
        place = self._folder / f"{name}-{stack}"
        state = place / ".prodkit"
        state.mkdir(parents=True)
        (place / "prodkit.yaml").write_text("service: {name: lost}\n")
        shutil.copy(self._template, state / "mlflow.db")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PRODKIT_", "MLFLOW_"))}
        environment = {**kept, **QUIET, "PROVIDER": self._provider.url, "PRODKIT_PROJECT": str(place)}
        if stack == "mlflow":
            environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{state / 'mlflow.db'}"
        return place, environment

    def _run(self, stack: Stack, command: list[str], place: Path, environment: dict[str, str], count: int) -> Result:
        begun = time.monotonic()
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
        if done.returncode > 0:
            raise SystemExit(f"{place.name} failed: {done.stderr[-2000:]}")
        if stack == "prodkit":
            sync = [sys.executable, "-m", "prodkit", "audit", "sync"]
            subprocess.run(sync, cwd=place, env=environment, check=True, capture_output=True)
        with closing(sqlite3.connect(place / ".prodkit" / "mlflow.db")) as database:
            (stored,) = database.execute("SELECT COUNT(*) FROM trace_info").fetchone()
            (whole,) = database.execute(
                "SELECT COUNT(*) FROM trace_info WHERE status = 'OK' AND trace_name IS NOT NULL"
            ).fetchone()
        return Result(stored, whole, count, done.returncode, seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[200, 500], help="calls in the notebook's last cell")
    parser.add_argument("--burst", type=int, default=5_000, help="traces in the burst")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, simulated_provider(latency=0.02, fresh=True) as provider:
        bench = Bench(Path(folder), provider)
        print("| case | MLflow | prodkit |\n|---|---|---|", flush=True)

        def show(case: str, results: list[Result]) -> None:
            print(f"| {case} | {' | '.join(map(str, results))} |", flush=True)

        for name in ("SIGKILL", "SIGTERM"):
            code = CALLS + LAST + DIE.replace("SIG)", f"{name})")
            code = code.replace("ask(0)", "", 1).replace("COUNT - 1", "COUNT")
            show(f"{name} right after 200 calls", [bench.script(name, stack, code, 200) for stack in STACKS])
        burst = [bench.script("burst", stack, SPANS, options.burst) for stack in STACKS]
        show(f"{options.burst:,} traces as fast as they come", burst)
        for count in options.calls:
            results = [bench.papermill(f"papermill-{count}", stack, count) for stack in STACKS]
            show(f"papermill, {count:,} calls, 16 threads in the last cell", results)


if __name__ == "__main__":
    main()
