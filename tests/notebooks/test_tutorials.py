"""The tutorials run and print what is stored in them. As a program, `make notebooks`, it stores what they print."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient

if TYPE_CHECKING:
    from prodkit.manifest import Project

REPOSITORY = Path(__file__).parents[2]
CELL_SECONDS = 300


def tutorials(root: Path) -> list[Path]:
    """The notebooks that a person follows, in order."""
    return sorted((root / "notebooks").glob("[0-9]-*.ipynb"))


def execute(path: Path) -> nbformat.NotebookNode:
    """Run a notebook where it lies; cells tagged `raises-exception` may fail, no other."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    return notebook


def strip_root(notebook: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """The notebook with paths from the project's root, as they are on every machine."""
    text = nbformat.writes(notebook)
    for prefix in {f"{root}/", f"{root.resolve()}/"}:
        text = text.replace(prefix, "")
    return nbformat.reads(text, as_version=4)


@pytest.mark.parametrize("name", [path.name for path in tutorials(REPOSITORY)])
def test_a_tutorial_runs_and_prints_what_is_stored(name: str, example: Project, environment: None):
    """Each tutorial runs from top to bottom, and every cell shows what its stored outputs show, kind for kind."""
    stored = nbformat.read(REPOSITORY / "notebooks" / name, as_version=4)
    ran = execute(example.root / "notebooks" / name)
    assert len(stored.cells) < 15
    for cell, now_cell in zip(stored.cells, ran.cells, strict=True):
        if cell.cell_type == "code":
            assert cell.execution_count
            assert kinds(cell) == kinds(now_cell), cell.source


def kinds(cell: nbformat.NotebookNode) -> list[tuple[str, ...]]:
    return [(output.output_type, *sorted(output.get("data", ()))) for output in cell.outputs]


def test_stored_outputs_are_readable_anywhere():
    """No stored output names a folder of the machine that made it, moves a cursor, or needs a kernel to be read."""
    for path in tutorials(REPOSITORY):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", ()):
                told = json.dumps(output)
                assert not re.search(r"(/tmp|/home|/root|/Users)/", told), path.name
                assert not re.search(r"\\u001b\[[0-9?]*[A-HJKlh]", told), path.name
                assert output.output_type in {"stream", "error"} or "text/plain" in output.data


def main(names: list[str]) -> None:
    """Store the outputs of the tutorials named, or of all."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "example"
        for name in ("prodkit.yaml", "contracts", "notebooks"):
            source = REPOSITORY / name
            root.mkdir(exist_ok=True)
            _ = shutil.copytree(source, root / name) if source.is_dir() else shutil.copy(source, root / name)
        os.environ["PRODKIT_PROJECT"] = str(root)
        for path in tutorials(root):
            if names and path.name not in names:
                continue
            nbformat.write(strip_root(execute(path), root), REPOSITORY / "notebooks" / path.name)
            print(f"stored {path.name}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
