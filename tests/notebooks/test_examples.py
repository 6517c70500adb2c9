"""The notebooks that the README shows run from top to bottom, and their record says what really happened."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
from nbclient import NotebookClient

from prodkit.ledger import Ledger
from prodkit.ledger.review import runs_since
from prodkit.records import now

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.manifest import Project

CELL_SECONDS = 120


def texts(cell: nbformat.NotebookNode) -> str:
    shown = [output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(shown)


def test_triage_runs_and_mlflow_holds_what_it_did(example: Project, environment: None):
    """Each cell of the example ends as it should, and MLflow's figures are those on the cards."""
    started = now()
    path = example.root / "notebooks" / "triage.ipynb"
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    failed = {key for key, cell in cells.items() if any(output.output_type == "error" for output in cell.outputs)}
    assert failed == {"refused"}, "only the strict cell on unchecked data is refused"
    assert all(cell.execution_count for cell in cells.values())
    assert "120 calls" in texts(cells["classify"])
    assert "simulated" in texts(cells["classify"])

    assert Ledger.open(example).flush(60.0).pending == 0
    runs = {run.name: run for run in runs_since(example, started)}
    classify = runs["classify"]
    assert classify.metrics["llm_calls"] == 120
    assert classify.metrics["llm_calls_unpriced"] == 0
    assert 0 < classify.metrics["cost_usd"] < 0.5
    assert classify.metrics["rows_failed"] > 0
    assert classify.parent == runs["session"].run_id
    assert [(dataset.name, dataset.contract) for dataset in classify.datasets] == [("tickets", "tickets")]
    assert 0.5 < runs["evaluate"].metrics["accuracy"] < 1.0
    assert runs["draft"].metrics["llm_calls"] == 1
    assert runs["refused"].tags["prodkit.status"] == "refused"


def test_personal_data_of_the_tickets_reaches_no_store(example: Project, environment: None):
    """No customer's address is found in MLflow's database, its artifacts or the journal, byte by byte."""
    path = example.root / "notebooks" / "triage.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if "raises-exception" not in cell.metadata.get("tags", [])]
    leak = nbformat.v4.new_code_cell(
        "%%prodkit --name leak\n"
        'client.chat.completions.create(model=model, messages=[{"role": "user", "content": '
        '"write to " + tickets["customer_email"].iloc[0] + " with key sk-proj-" + "a1B2" * 12}])'
    )
    notebook.cells = [*cells, leak]
    NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert Ledger.open(example).flush(60.0).pending == 0
    holders = [
        file.relative_to(example.state)
        for file in example.state.rglob("*")
        if file.is_file() and "quarantine" not in file.parts and holds(file.read_bytes())
    ]
    assert holders == []


def holds(content: bytes) -> bool:
    return b"@example.org" in content or b"a1B2a1B2" in content


def test_nbval_agrees(example: Project, environment: None):
    """Nbval runs each example cell by cell, with both timeouts, and finds no cell of the first ones that fails unexpectedly."""
    command = [
        sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout", str(CELL_SECONDS),
        "--nbval-kernel-startup-timeout", "60", "-p", "no:cacheprovider", "-q", "-c", os.devnull,
        *map(str, notebooks(example.root)),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=example.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


def notebooks(root: Path) -> list[Path]:
    return [root / "notebooks" / name for name in ("triage.ipynb", "1-first-capture.ipynb")]
