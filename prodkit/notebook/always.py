"""`%prodkit on`: every following cell is captured without a header, by a call put in front of its first statement."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from prodkit.notebook.header import MAGIC, OPENER, find_header

if TYPE_CHECKING:
    from prodkit.notebook.cells import CellRuns

_NO_WORK = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class AlwaysOn(ast.NodeTransformer):
    """An IPython AST transformer; while it is registered, cells that do something are captured.

    Cells that have a header of their own, that only import and define, or that only hold `%prodkit` lines, are left
    alone. The call has the first statement's position, so line numbers stay right.
    """

    def __init__(self, runs: CellRuns, options: str = "") -> None:
        self._runs, self._options = runs, options

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Put the call in front."""
        code = self._runs.code
        if find_header(code.splitlines()) is not None or OPENER in ast.unparse(node) or not _works(node):
            return node
        header = f"#| {MAGIC}: name={self._runs.default_name} {self._options}".strip()
        call = ast.parse(f"get_ipython().run_line_magic({OPENER!r}, {header!r})").body[0]
        at = next((i for i, statement in enumerate(node.body) if not _is_future(statement)), 0)
        for part in ast.walk(call):
            ast.copy_location(part, node.body[at])
        node.body.insert(at, call)
        return node


def name_of(code: str, number: int) -> str:
    """A name for a cell without one: its first comment as one word, else its number."""
    first = next((line.strip() for line in code.splitlines() if line.strip()), "")
    words = re.findall(r"[A-Za-z0-9]+", first) if first.startswith("#") else []
    return "-".join(words[:5]).lower()[:40] or f"cell-{number}"


def _works(node: ast.Module) -> bool:
    return any(not isinstance(statement, _NO_WORK) and not _is_ours(statement) for statement in node.body)


def _is_ours(statement: ast.stmt) -> bool:
    """`get_ipython().run_line_magic('prodkit', ...)`, `%load_ext prodkit`, or a bare string."""
    if not isinstance(statement, ast.Expr):
        return False
    if isinstance(statement.value, ast.Constant):
        return True
    text = ast.unparse(statement)
    return text.startswith((f"get_ipython().run_line_magic('{MAGIC}'", "get_ipython().run_line_magic('load_ext'"))


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
