"""How a notebook can end, and what is then on record: papermill inside an MLflow run, and `prodkit run`, side by side.

`python tests/benchmarks/ends_table.py` prints the table in Markdown, in some minutes; with names of ends, only those.
Each end is made twice with the same three cells, of which the second one ends it: in a process of its own, with an
SQLite MLflow of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from prodkit.jobs import export
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "PRODKIT_SHIPPER": "inline",
}
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
BEGIN = "import os, time\nfrom pathlib import Path\n_ = Path('kernel.pid').write_text(str(os.getpid()))"
WAIT = "if not Path('go').exists(): time.sleep(600)"
CELLS = {
    "cell error": "raise ValueError('the cell fails')",
    "native crash in a cell": "import ctypes; ctypes.string_at(0)",
    "kernel killed (memory)": "os.kill(os.getpid(), 9)",
    "cell timeout": WAIT,
    "job timeout": WAIT,
    "SIGTERM": WAIT,
    "SIGINT": WAIT,
    "kill -9": WAIT,
}
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "kill -9": signal.SIGKILL}
TIMEOUT = 12  # seconds; long enough for a kernel to start on a busy machine
PAPERMILL = """
import sys
import mlflow, papermill
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run():
    papermill.execute_notebook("in.ipynb", "out.ipynb", progress_bar=False, execution_timeout=int(sys.argv[2]) or None)
"""


@dataclass(frozen=True)
class Seen:
    """What somebody finds who comes afterwards."""

    exit_code: int
    cells: str
    record: str
    mlflow: str
    kernel: str


def make_notebook(how: str) -> nbformat.NotebookNode:
    """Three cells; the second one is where it ends."""
    sources = [BEGIN, CELLS[how], "y = 2"]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nb.cells.insert(0, nbformat.v4.new_code_cell("batch: str = ''", metadata={"tags": ["parameters"]}))
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
    return nb


def by_papermill(how: str, place: Path) -> list[Seen]:
    """With papermill's own engine; it knows no deadline for a job, so `timeout` gives one, as people do."""
    nbformat.write(make_notebook(how), place / "in.ipynb")
    limit = str(TIMEOUT if how == "cell timeout" else 0)
    command = [sys.executable, "-c", PAPERMILL, f"sqlite:///{place}/mlflow.db", limit]
    if how == "job timeout":
        command = ["timeout", str(TIMEOUT), *command]
    code = end(command, how, place, place)
    return [look(code, place / "out.ipynb", place, place / "mlflow.db")]


def by_prodkit(how: str, place: Path) -> list[Seen]:
    """As an exported job; after a kill the job's next run writes down what nobody was left to write."""
    (place / "prodkit.yaml").write_text(MANIFEST.format(review_by=now().date() + timedelta(days=90)))
    nbformat.write(make_notebook(how), place / "in.ipynb")
    job = export(place / "in.ipynb", place / "jobs" / "sample", hashes=False).job
    (place / ".prodkit").mkdir(exist_ok=True)
    database = (place / "mlflow.db").rename(place / ".prodkit" / "mlflow.db")
    options = {"cell timeout": ["--cell-timeout", str(TIMEOUT)], "job timeout": ["--timeout", str(TIMEOUT)]}
    command = [sys.executable, "-m", "prodkit", "run", str(job), "--json", *options.get(how, [])]
    code = end(command, how, place, place)
    (notebook,) = place.glob(".prodkit/jobs/sample/job-*/attempt-1.ipynb")
    seen = [look(code, notebook, place, database)]
    if how == "kill -9":
        (place / "go").touch()
        subprocess.run(command, cwd=place, env={**os.environ, **QUIET}, capture_output=True, check=True)
        seen.append(look(code, notebook, place, database))
    return seen


def end(command: Sequence[str], how: str, place: Path, cwd: Path) -> int:
    """Run a command to the end that is asked for; its exit code as a shell says it."""
    mark = place / "kernel.pid"
    with subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **QUIET}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        if how in SIGNALS:
            while not mark.exists() and process.poll() is None:
                time.sleep(0.1)
            time.sleep(1.5)  # into the second cell
            process.send_signal(SIGNALS[how])
        code = process.wait(timeout=200)
    return code if code >= 0 else 128 - code


def look(code: int, notebook: Path, place: Path, database: Path) -> Seen:
    """What is left: the notebook, the MLflow run, the kernel's process."""
    cells, record = "", "not readable"
    try:
        nb = nbformat.read(notebook, as_version=4)
        nbformat.validate(nb)
    except Exception as error:
        record = f"not readable: {type(error).__name__}"
    else:
        told = [cell.metadata.get("papermill", {}).get("status") for cell in nb.cells if cell.cell_type == "code"]
        cells = " ".join(
            {"completed": "ok", "failed": "FAIL", "running": "run"}.get(str(one), "-") for one in told[-3:]
        )
        ours = nb.metadata.get("prodkit", {}).get("run", {}).get("outcome")
        record = ours or f"exception: {nb.metadata.papermill.get('exception')}"
    with sqlite3.connect(database) as db:
        found = db.execute("SELECT status FROM runs ORDER BY start_time LIMIT 1").fetchone()
    return Seen(code, cells, record, found[0] if found else "none", kernel_of(place))


def kernel_of(place: Path) -> str:
    """Whether the kernel outlived its runner; one that did is ended here."""
    pid = int((place / "kernel.pid").read_text())
    for _ in range(60):
        if not Path(f"/proc/{pid}").exists():
            return "gone"
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    return "left running"


def main() -> None:
    """Make all ends, two at a time, and print what is left of each."""
    with tempfile.TemporaryDirectory(prefix="prodkit-ends-") as made:
        folder = Path(made)
        template = folder / "mlflow.db"
        upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{template}"]
        subprocess.run(upgrade, check=True, capture_output=True, env={**os.environ, **QUIET})

        def one(task: tuple[str, str]) -> list[Seen]:
            how, who = task
            place = folder / f"{who}-{list(CELLS).index(how)}"
            place.mkdir()
            shutil.copy(template, place / "mlflow.db")
            return (by_papermill if who == "papermill" else by_prodkit)(how, place)

        ends = sys.argv[1:] or list(CELLS)
        tasks = [(how, who) for how in ends for who in ("papermill", "prodkit")]
        with ThreadPoolExecutor(2) as pool:
            seen = dict(zip(tasks, pool.map(one, tasks), strict=True))
    lines = [
        "| end | runner | exit code | its three cells | the notebook says | the MLflow run says | its kernel |",
        "|---" * 7 + "|",
    ]
    for (how, who), found in seen.items():
        for number, row in enumerate(found):
            name = how if number == 0 else f"{how}, after the next run"
            cells = [name, who, str(row.exit_code), row.cells, row.record, row.mlflow, row.kernel]
            lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
