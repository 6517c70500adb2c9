"""How many traces are in MLflow in the end: MLflow's own tracing and prodkit, side by side. Prints a table in Markdown.

    python tests/benchmarks/lost_traces.py            # about seven minutes
    python tests/benchmarks/lost_traces.py --calls 200 500 2000

Both write to a SQLite database of their own, prepared before. The same code runs under both: the real openai SDK
against the simulated provider, or spans by MLflow's API. Under MLflow the SDK is autologged; under prodkit the calls
are in a captured run. When the process has ended, what is in the database is counted; for prodkit after
`prodkit audit sync`. In the last row the address of an MLflow server is given at which nobody answers; the server is
started when the process has ended, or was ended after a minute.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import nbformat

from prodkit.testing import SimulatedProvider, simulated_provider

if TYPE_CHECKING:
    from collections.abc import Iterator

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
IN_TURN = """
with captured:
    for number in range(COUNT - 1):
        ask(number)
"""
SPANS = """
with captured:
    for number in range(COUNT):
        with mlflow.start_span("step") as span:
            span.set_inputs({"number": number})
"""
DIE = "import os, signal\nos.kill(os.getpid(), signal.SIG)\n"
NOT_ASYNC = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
PATIENCE = 60.0  # seconds that a process gets to end by itself


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
        if self.exit_code == -signal.SIGABRT:  # as we end what hangs
            code = ", still at work then"
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
        return self._run(stack, self._script(place, stack, code, count), place, environment, count)

    def unreachable(self, name: str, stack: Stack, code: str, count: int) -> Result:
        """Run a script while its MLflow server is down; what waits is shipped when the server is there again."""
        place, environment = self._place(name, stack)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        code, seconds = self._end(self._script(place, stack, code, count), place, environment)
        with self._server(place, port):
            return self._counted(stack, place, environment, count, code, seconds)

    def papermill(self, name: str, stack: Stack, cells: list[str], count: int, **variables: str) -> Result:
        """Run a notebook under papermill as it comes; its last cell has all that is traced."""
        place, environment = self._place(name, stack)
        code = [BEGIN[stack], *(cell.replace("COUNT", str(count)) for cell in cells)]
        if stack == "prodkit":  # its first call is captured, too
            code[1] = code[1].replace("ask(0)", "with prodkit.run('first'):\n    ask(0)")
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, place / "in.ipynb")
        command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "ERROR"]
        return self._run(stack, [*command, "in.ipynb", "out.ipynb"], place, environment | variables, count)

    def _script(self, place: Path, stack: Stack, code: str, count: int) -> list[str]:
        file = place / "script.py"
        file.write_text(BEGIN[stack] + code.replace("COUNT", str(count)))
        return [sys.executable, str(file)]

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
        return self._counted(stack, place, environment, count, *self._end(command, place, environment, patience=None))

    def _end(
        self, command: list[str], place: Path, environment: dict[str, str], *, patience: float | None = PATIENCE
    ) -> tuple[int, float]:
        """Exit code and seconds of a process; it is ended with SIGABRT when it takes longer than it may."""
        begun = time.monotonic()
        with (place / "stderr.log").open("w") as stderr:
            process = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
            try:
                code = process.wait(patience)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)
                code = process.wait()
        if code > 0:
            raise SystemExit(f"{place.name} failed: {(place / 'stderr.log').read_text()[-2000:]}")
        return code, time.monotonic() - begun

    @contextmanager
    def _server(self, place: Path, port: int) -> Iterator[None]:
        """MLflow's own server over the place's database."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        store = ["--port", str(port), "--backend-store-uri", f"sqlite:///{place / '.prodkit' / 'mlflow.db'}"]
        quiet = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (place / "server.log").open("w") as log:
            server = subprocess.Popen(
                [*command, *store], cwd=place, env=quiet, stdout=log, stderr=log, start_new_session=True
            )
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                    break
                except OSError:
                    if server.poll() is not None:
                        raise SystemExit((place / "server.log").read_text()) from None
                    time.sleep(0.2)
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()

    def _counted(
        self, stack: Stack, place: Path, environment: dict[str, str], count: int, code: int, seconds: float
    ) -> Result:
        if stack == "prodkit":
            sync = [sys.executable, "-m", "prodkit", "audit", "sync"]
            subprocess.run(sync, cwd=place, env=environment, check=True, capture_output=True)
        with closing(sqlite3.connect(place / ".prodkit" / "mlflow.db")) as database:
            (stored,) = database.execute("SELECT COUNT(*) FROM trace_info").fetchone()
            (whole,) = database.execute(
                "SELECT COUNT(*) FROM trace_info WHERE status = 'OK' AND trace_name IS NOT NULL"
            ).fetchone()
        return Result(stored, whole, count, code, seconds)


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
        for count in (200, 500):
            spans = [bench.papermill(f"spans-{count}", stack, [SPANS], count) for stack in STACKS]
            show(f"papermill, {count} traces in the last cell", spans)
            spans = [bench.papermill(f"sync-{count}", stack, [SPANS], count, **NOT_ASYNC) for stack in STACKS]
            show(f"the same, MLflow's asynchronous logging off, {count} traces", spans)
        for count in options.calls:
            calls = [bench.papermill(f"papermill-{count}", stack, [CALLS, LAST], count) for stack in STACKS]
            show(f"papermill, {count:,} calls, 16 threads in the last cell", calls)
        turn = [bench.papermill("turn", stack, [CALLS, IN_TURN], 100) for stack in STACKS]
        show("papermill, 100 calls one after another", turn)
        code = CALLS.replace("ask(0)", "", 1) + IN_TURN.replace("COUNT - 1", "COUNT")
        down = [bench.unreachable("down", stack, code, 50) for stack in STACKS]
        show("50 calls while MLflow's server is down, then up again", down)


if __name__ == "__main__":
    main()
