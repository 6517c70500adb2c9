"""Job folders written by hand, and a ledger that remembers, so that each part of a run is tested without the others."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
import yaml

from prodkit.records import RunHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from prodkit.records import RunSpec, Status

MANIFEST = """\
service: {name: sample}
owners:
  people:
    ana: {name: Ana Ruiz, email: ana@northwind.test, pager: "https://pager.northwind.test/ana", backup: ben}
    ben: {name: Ben Okafor, email: ben@northwind.test, backup: ana}
  raci:
    default: {R: [ben], A: ana, C: [], I: []}
  escalation: [ana, ben]
  review_by: %s
"""


@dataclass
class RememberingLedger:
    """What a ledger was told, in order; the ledger's own behaviour is tested in its own room."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    problem: str = ""

    def start_run(self, spec: RunSpec) -> RunHandle:
        self.runs[spec.key] = {"spec": spec, "files": {}, "status": None}
        return RunHandle(
            spec.key, spec.name, run_id=f"mlflow-{spec.key}", experiment_id="7", url=f"http://x/{spec.key}"
        )

    def end_run(
        self, handle: RunHandle, *, status: Status, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        self.runs[handle.key] |= {"status": status, "metrics": dict(metrics), "tags": dict(tags)}

    def log_file(self, handle: RunHandle, file: Path, path: str = "") -> None:
        self.runs[handle.key]["files"][path or file.name] = file.read_bytes()

    def log_text(self, handle: RunHandle, text: str, path: str) -> None:
        self.runs[handle.key]["files"][path] = text.encode()

    def log_metrics(self, handle: RunHandle, metrics: Mapping[str, float]) -> None:
        self.runs[handle.key].setdefault("metrics", {}).update(metrics)

    def clean(self, text: str) -> str:
        return text

    def run_id(self, key: str) -> str:
        return f"mlflow-{key}" if key in self.runs else ""

    def url(self, handle: RunHandle) -> str:
        return f"http://x/{handle.key}" if handle.key in self.runs else ""

    def flush(self, timeout: float = 30.0) -> None:
        """Everything is where it should be already."""

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run["spec"].kind == kind]


@pytest.fixture
def remembering_ledger() -> RememberingLedger:
    """A ledger that only remembers."""
    return RememberingLedger()


def notebook(cells: list[str | tuple[str, list[str]]], kernel: str = "python3") -> nbformat.NotebookNode:
    """A notebook of code cells; a cell may be a pair of source and tags."""
    made = []
    for cell in cells:
        source, tags = cell if isinstance(cell, tuple) else (cell, [])
        made.append(nbformat.v4.new_code_cell(textwrap.dedent(source).strip(), metadata={"tags": tags}))
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": spec})


@pytest.fixture
def make_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Writes a notebook of code cells and returns its path."""

    def make(*cells: str | tuple[str, list[str]], name: str = "in.ipynb", kernel: str = "python3") -> Path:
        path = tmp_path / name
        nbformat.write(notebook(list(cells), kernel), path)
        return path

    return make


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Path]:
    """Writes a job folder in a project of its own: `make_job("x = 1", parameters={"n": ("int", 1)})`."""

    def make(
        *cells: str | tuple[str, list[str]],
        parameters: dict[str, tuple[str, object]] | None = None,
        name: str = "sample",
        manifest: str = "",
        review_by: str = "2100-01-01",
        **execution: object,
    ) -> Path:
        from datetime import timedelta

        from prodkit.records import now

        root = tmp_path / "project"
        (root / "notebooks").mkdir(parents=True, exist_ok=True)
        review = str((now() + timedelta(days=90)).date()) if review_by == "2100-01-01" else review_by
        text = MANIFEST % review + manifest
        (root / "prodkit.yaml").write_text(text)
        folder = root / "jobs" / name
        (folder / "contracts").mkdir(parents=True, exist_ok=True)
        given = parameters or {}
        declared = "\n".join(f"{key}: {kind} = {value!r}" for key, (kind, value) in given.items())
        all_cells = [(declared, ["parameters"]), *cells] if given else list(cells)
        source = root / "notebooks" / f"{name}.ipynb"
        for path in (source, folder / "job.ipynb"):
            nbformat.write(notebook(all_cells, str(execution.get("kernel", "python3"))), path)
        _write_index(folder, name, execution)
        types = {"int": "integer", "str": "string", "float": "number", "bool": "boolean"}
        properties = {
            key: {"type": types[kind], "default": value, "x-python": kind} for key, (kind, value) in given.items()
        }
        schema = {"title": name, "type": "object", "properties": properties, "additionalProperties": False}
        (folder / "params.schema.json").write_text(json.dumps(schema))
        (folder / "prodkit.yaml").write_text(text)
        (folder / "ownership.yaml").write_text("accountable: ana\n")
        (folder / "job.py").write_text("# the script twin isn't used by the runner\n")
        return folder

    return make


def _write_index(folder: Path, name: str, execution: dict[str, object]) -> None:
    how = {"python": "3.11", "working_directory": "notebooks", "retries": 0, "retry_wait": 0.05, **execution}
    source = {"notebook": f"notebooks/{name}.ipynb", "digest": "sha256:0"}
    index = {"format": 1, "name": name, "service": "sample", "prodkit": "0.1.0", "source": source, "execution": how}
    (folder / "job.yaml").write_text(yaml.safe_dump(index))


@pytest.fixture
def run_here(remembering_ledger: RememberingLedger) -> Callable[..., Any]:
    """`run_job` in this process with the remembering ledger: `run_here(folder, {"n": 2}, retries=1)`."""
    from prodkit.jobs.runner import RunOptions, run_job

    def run(job: Path, params: Mapping[str, object] | None = None, **options: Any) -> Any:
        events = options.pop("on_event", None)
        stop = options.pop("stop", None)
        chosen = replace(RunOptions(), **options)
        return run_job(job, params, options=chosen, ledger=remembering_ledger, on_event=events, stop=stop)  # type: ignore[arg-type]

    return run
