"""Which of a notebook's imports may happen before it runs: those that nothing before them could have changed."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

_DECLARING = {"parameters", "injected-parameters"}  # cells that hold nothing but declarations
_ACTS = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)


def leading_imports(nb: NotebookNode) -> tuple[str, ...]:
    """The import statements at the notebook's top, as source, in order.

    The top ends at the first statement that does something: `os.environ["X"] = "1"` or `sys.path.insert(...)` may
    change what the imports after it find, so those are left to the notebook. Constants, functions and text don't.
    """
    found: list[str] = []
    for cell in nb.cells:
        if cell.cell_type != "code" or "skip-execution" in cell.metadata.get("tags", []):
            continue
        try:
            statements = ast.parse(cell.source).body
        except SyntaxError:  # magics
            break
        declares = _DECLARING & set(cell.metadata.get("tags", []))
        for statement in statements:
            if isinstance(statement, ast.Import):
                found += [ast.unparse(ast.Import([name])) for name in statement.names]
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                found.append(ast.unparse(statement))
            elif not (declares or _is_inert(statement)):
                return _without_future(found)
    return _without_future(found)


def _is_inert(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        plain = all(isinstance(target, ast.Name) for target in statement.targets)
        return plain and not _acts(statement.value)
    if isinstance(statement, ast.AnnAssign):
        return isinstance(statement.target, ast.Name) and not (statement.value and _acts(statement.value))
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        defaults = [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]
        return not statement.decorator_list and not any(_acts(default) for default in defaults)
    if isinstance(statement, ast.ClassDef):
        return not statement.decorator_list and all(_is_inert(one) for one in statement.body)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _acts(value: ast.expr) -> bool:
    return any(isinstance(node, _ACTS) for node in ast.walk(value))


def _without_future(found: list[str]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(found) if not name.startswith("from __future__"))
