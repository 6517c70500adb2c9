"""What stands between a notebook and production, found without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prodkit.jobs.shell import parse

if TYPE_CHECKING:
    from prodkit.jobs.reading import Cell, Notebook
    from prodkit.manifest import Project


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. Export refuses on an error and shows a warning."""

    code: str
    severity: Literal["error", "warning"]
    what: str
    where: str
    fix: str
    cell: int = 0
    line: int = 0


def lint_notebook(notebook: Notebook, project: Project) -> tuple[Problem, ...]:
    """All findings, in the order of the cells."""
    return tuple(_syntax(notebook, cell) for cell in notebook.code if parse(cell.body) is None)


def _syntax(notebook: Notebook, cell: Cell) -> Problem:
    return Problem(
        "lint.syntax",
        "error",
        "The cell isn't Python.",
        notebook.where(cell),
        "correct it, or tag it `demo`",
        cell.number,
    )
