"""Notebooks written cell by cell, in a project that somebody answers for."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.manifest import find_project
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.manifest import Project

    MakeNotebook = Callable[..., Path]

OWNED = """\
service: {{name: sample, purpose: Shows how a notebook travels.}}
owners:
  people:
    ana: {{name: Ana Ruiz, email: ana@northwind.test, chat: "@ana", backup: ben}}
    ben: {{name: Ben Okafor, email: ben@northwind.test, chat: "@ben", backup: ana}}
  raci:
    default: {{R: [ben], A: ana}}
  escalation: [ana, ben]
  review_by: {review_by}
"""


def cell_of(given: str | tuple[str, ...]) -> dict[str, Any]:
    """`source` or `(source, tag, ...)`; a source that begins with `#md ` is markdown."""
    source, *tags = (given,) if isinstance(given, str) else given
    metadata = {"tags": tags} if tags else {}
    if source.startswith("#md "):
        return {"cell_type": "markdown", "metadata": metadata, "source": source.removeprefix("#md ")}
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}


@pytest.fixture
def owned(tmp_path: Path) -> Project:
    """A project with an owner and no MLflow database: export writes nothing there."""
    root = tmp_path / "project"
    root.mkdir()
    review = now().date() + timedelta(days=90)
    (root / "prodkit.yaml").write_text(OWNED.format(review_by=review))
    return find_project(root)


@pytest.fixture
def make_notebook(owned: Project) -> MakeNotebook:
    """Writes a notebook: `make_notebook("x = 1", ("y = 2", "demo"))`; the parameters cell comes first by default."""

    def make(
        *cells: str | tuple[str, ...],
        parameters: str | None = 'batch: str = "2026-11"  # month',
        name: str = "sample",
        counts: list[int | None] | None = None,
        **metadata: Any,
    ) -> Path:
        listed = [cell_of(cell) for cell in ([(parameters, "parameters")] if parameters is not None else [])]
        listed += [cell_of(cell) for cell in cells]
        for position, cell in enumerate(listed):
            cell["id"] = f"cell-{position + 1}"
            if counts and cell["cell_type"] == "code":
                cell["execution_count"] = counts[position]
        path = owned.root / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        content = {"cells": listed, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(content))
        return path

    return make
