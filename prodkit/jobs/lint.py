"""What stands between a notebook and production, found without running it.

A rule is a small function of a `Case` that yields problems; it is added by writing it and putting it in `RULES`. A line
that ends in `# prodkit: allow absolute-path` is left alone by the rule of that name.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from prodkit.jobs.names import Names, names_of
from prodkit.jobs.shell import ShellLine, read_shell_lines, to_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.jobs.reading import Cell, Notebook
    from prodkit.manifest import Project

Severity = Literal["error", "warning"]
_FUTURE = re.compile(r"^from __future__ import .*\bannotations\b", re.MULTILINE)
_ALLOW = re.compile(r"#\s*prodkit:\s*allow\s+([a-z -]+)$")


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. Export refuses on an error and shows a warning; `line` counts in the cell."""

    code: str
    severity: Severity
    what: str
    where: str
    fix: str
    cell: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class CodeCell:
    """A code cell with what the rules look at. `tree` and `names` are None when it isn't Python."""

    cell: Cell
    text: str
    shells: tuple[ShellLine, ...]
    tree: ast.Module | None
    names: Names | None


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule looks at: the cells that go into the job, and those that don't."""

    notebook: Notebook
    project: Project
    cells: tuple[CodeCell, ...]
    dropped: tuple[CodeCell, ...] = field(default=())

    def problem(
        self, kind: str, what: str, fix: str, cell: Cell | None = None, line: int = 0, severity: Severity = "error"
    ) -> Problem:
        """A problem with its place."""
        where = self.notebook.where(cell, line) if cell is not None else self.notebook.path.name
        return Problem(f"lint.{kind}", severity, what, where, fix, cell.number if cell else 0, line)


def lint_notebook(notebook: Notebook, project: Project) -> tuple[Problem, ...]:
    """All findings in the order of the cells. The parameters cell's own mistakes raise, as they do on export.

    Raises:
        ConfigError: `notebook.parameters` or `parameters.*`.
    """
    from prodkit.jobs.lint_code import RULES as OF_CODE
    from prodkit.jobs.lint_files import RULES as OF_FILES
    from prodkit.jobs.lint_order import RULES as OF_ORDER

    rules: tuple[Callable[[Case], Iterator[Problem]], ...] = (*OF_ORDER, *OF_CODE, *OF_FILES)
    case = make_case(notebook, project)
    found = [problem for rule in rules for problem in rule(case) if not _allowed(problem, notebook)]
    return tuple(sorted(found, key=lambda problem: (problem.cell, problem.line, problem.code)))


def make_case(notebook: Notebook, project: Project) -> Case:
    """Read the cells once for all rules."""
    lazy = any(_FUTURE.search(cell.source) for cell in notebook.code)
    dropped = tuple(_read(cell, lazy) for cell in notebook.cells if cell.is_code and cell.is_demo)
    return Case(notebook, project, tuple(_read(cell, lazy) for cell in notebook.code), dropped)


def _read(cell: Cell, lazy: bool) -> CodeCell:
    text = to_python(cell.body)
    try:
        tree = ast.parse(text)
        names = names_of(tree, text, lazy_annotations=lazy)
    except (SyntaxError, ValueError):
        return CodeCell(cell, text, read_shell_lines(cell.body), None, None)
    return CodeCell(cell, text, read_shell_lines(cell.body), tree, names)


def _allowed(problem: Problem, notebook: Notebook) -> bool:
    if not problem.line:
        return False
    lines = notebook.cells[problem.cell - 1].source.split("\n")
    match = _ALLOW.search(lines[problem.line - 1].rstrip()) if problem.line <= len(lines) else None
    return match is not None and problem.code.removeprefix("lint.") in match[1].split()
