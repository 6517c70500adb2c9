"""A fan-out on a real Dask cluster, one of whose workers is killed in the middle. Prints what is then on record.

    python tests/benchmarks/dask_table.py              # 500 items
    python tests/benchmarks/dask_table.py --items 24

A scheduler and three worker processes; each item is a job run of its own in a forked kernel, which asks the simulated
provider once; runs and traces go to an MLflow server on PostgreSQL. When a third of the items are done, one worker
process is killed with SIGKILL. In the end everything is counted: in PostgreSQL, by the provider, and by the same command
run again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import nbformat

from prodkit.jobs import export
from prodkit.jobs.history import History
from prodkit.ledger.ui import SERVER_ENVIRONMENT
from prodkit.records import now
from prodkit.testing import simulated_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORKERS = 3
MANIFEST = """\
service: {{name: sample}}
owners:
  people:
    ana: {{name: Ana Ruiz, email: ana@northwind.test, backup: ben}}
    ben: {{name: Ben Okafor, email: ben@northwind.test, backup: ana}}
  raci: {{default: {{R: [ben], A: ana}}}}
  escalation: [ana, ben]
  review_by: {review_by}
job: {{retries: 0}}
"""
ASK = """\
import mlflow
import prodkit
from openai import OpenAI
from prodkit.testing import openai_options

with OpenAI(**openai_options()) as client, prodkit.run("ask"):
    question = {"role": "user", "content": f"Ticket {n}: I was charged twice"}
    client.chat.completions.create(model="gpt-4o-mini", messages=[question])
"""
COUNTS = {
    "item runs": "SELECT r.status, count(*) FROM runs r JOIN tags t USING (run_uuid) WHERE t.key = 'prodkit.kind'"
    " AND t.value = 'item' GROUP BY 1",
    "traces": "SELECT status, count(*) FROM trace_info GROUP BY 1",
    "open runs": "SELECT 'open', count(*) FROM runs WHERE status = 'RUNNING'",
}


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(ready: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} didn't come")
        time.sleep(0.2)


class Cluster:
    """PostgreSQL, MLflow's server and Dask's processes on loopback; all end with the block.

    Args:
        folder: where they may write.
        environment: of the workers.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self.environment = folder, environment
        self._stack = contextlib.ExitStack()
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.database = self._postgres(stack)
            self.environment |= {"MLFLOW_TRACKING_URI": self._mlflow(stack)}
            self.scheduler = f"tcp://127.0.0.1:{free_port()}"
            host, port = self.scheduler.removeprefix("tcp://").split(":")
            module = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
            self._start(stack, "scheduler", [*module, "--host", host, "--port", port, "--no-dashboard", "--no-show"])
            for number in range(WORKERS):
                worker = [sys.executable, "-m", "distributed.cli.dask_worker", self.scheduler, "--no-nanny"]
                own = ["--nthreads", "1", "--name", f"w{number}", "--no-dashboard", "--death-timeout", "60"]
                self.workers.append(self._start(stack, f"worker-{number}", [*worker, *own]))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack, name: str, command: Sequence[str], **more: Any) -> Any:
        log = stack.enter_context((self._folder / f"{name}.log").open("wb"))
        options = {"cwd": self._folder, "env": self.environment, **more}
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options)

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

        stack.callback(end)
        return process

    def _postgres(self, stack: contextlib.ExitStack) -> str:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="prodkit-pg-", ignore_cleanup_errors=True))
        )
        prefix: list[str] = []
        if os.geteuid() == 0:  # it doesn't run as root
            shutil.chown(folder, "nobody")
            prefix = ["setpriv", "--reuid=nobody", "--clear-groups"]
        data, port = str(folder / "data"), str(free_port())
        make = ["initdb", "-D", data, "-U", "mlflow", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run([*prefix, *make], check=True, capture_output=True, cwd=folder)
        run = ["postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", str(folder), "-F"]
        self._start(stack, "postgres", [*prefix, *run], cwd=folder)
        uri = f"postgresql://mlflow@127.0.0.1:{port}/postgres"
        until(lambda: self._answers(uri), "PostgreSQL")
        return uri

    def _answers(self, uri: str) -> bool:
        import psycopg2

        try:
            psycopg2.connect(uri).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _mlflow(self, stack: contextlib.ExitStack) -> str:
        port = str(free_port())
        place = ["--host", "127.0.0.1", "--port", port, "--artifacts-destination", str(self._folder / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.database, "--workers", "1"]
        self._start(stack, "mlflow", [*command, *place], env={**os.environ, **SERVER_ENVIRONMENT})

        def healthy() -> bool:
            try:
                return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1))
            except OSError:
                return False

        until(healthy, "MLflow's server")
        return f"http://127.0.0.1:{port}"

    def count(self, what: str) -> dict[str, int]:
        """Status -> how many, in MLflow's database."""
        import psycopg2

        with contextlib.closing(psycopg2.connect(self.database)) as database, database.cursor() as cursor:
            cursor.execute(COUNTS[what])
            return {status: number for status, number in cursor.fetchall() if number}


def make_job(root: Path) -> Path:
    """A project with one exported job that has the parameter `n`."""
    (root / "notebooks").mkdir(parents=True)
    (root / "prodkit.yaml").write_text(MANIFEST.format(review_by=now().date() + timedelta(days=90)))
    cells = [
        nbformat.v4.new_code_cell("n: int = 0  # which ticket", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(ASK),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "notebooks" / "ask.ipynb")
    return export(root / "notebooks" / "ask.ipynb", root / "jobs" / "ask", hashes=False).job


def done_in(history: History) -> int:
    """Items that have ended well."""
    entries = history.entries("ask", limit=-1)
    return sum(entry.outcome.value == "ok" and bool(entry.parent) for entry in entries)


def run(job: Path, over: Path, cluster: Cluster) -> subprocess.Popen[str]:
    """The command that a person would type."""
    words = ["run", str(job), "--over", str(over), "--engine", "dask", "--scheduler", cluster.scheduler]
    command = [sys.executable, "-m", "prodkit", *words, "--budget", "5", "--json"]
    return subprocess.Popen(command, cwd=job.parents[1], env=cluster.environment, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the command has printed."""
    said, _ = process.communicate()
    return {"exit code": process.returncode, **json.loads(said)}


def main() -> None:
    """Run, kill, count, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=500)
    count = parser.parse_args().items
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        simulated_provider(latency=0.02) as provider,
    ):
        root = Path(folder, "project")
        job, over = make_job(root), root / "items.csv"
        over.write_text("n\n" + "".join(f"{number}\n" for number in range(count)))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PRODKIT_", "MLFLOW_"))}
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PRODKIT_PROJECT": str(root)}
        with Cluster(Path(folder), {**kept, **quiet, **provider.environment()}) as cluster:
            history, began = History(root / ".prodkit" / "jobs" / "history.db"), time.monotonic()
            first = run(job, over, cluster)
            until(lambda: done_in(history) >= count // 3 or first.poll() is not None, "a third of the items", 1800)
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            whole, seconds = told(first), time.monotonic() - began
            entries = [entry for entry in history.entries("ask", limit=-1) if entry.parent]
            again = told(run(job, over, cluster))
            rows = {
                "items; how they ended": f"{count}; {_said(Counter(item['outcome'] for item in whole['items']))}",
                "exit code": whole["exit code"],
                "worker processes; killed with SIGKILL": f"{WORKERS}; 1",
                "runs of items; of them taken down with the worker": f"{len(entries)}; "
                f"{sum(entry.outcome.value == 'lost' for entry in entries)}",
                "requests at the provider": provider.stats()["requests"],
                "runs of items in MLflow": _said(cluster.count("item runs")),
                "traces in MLflow": _said(cluster.count("traces")),
                "runs that MLflow still shows as running": sum(cluster.count("open runs").values()),
                "seconds; items a minute": f"{seconds:.0f}; {count / seconds * 60:.0f}",
                "the same command again: exit code; items run": f"{again['exit code']}; "
                f"{sum(not item['skipped'] for item in again['items'])}",
            }
    print("| what | count |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def _said(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none"


if __name__ == "__main__":
    main()
