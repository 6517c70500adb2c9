"""The script twin: the notebook's cells as one Python file that says and does the same.

Captured cells become `with prodkit.run(...)` blocks. A cell that awaits becomes a coroutine whose names stay global,
run on one event loop for the whole script, so that a client made in one cell still works in the next.
"""

from __future__ import annotations

import ast
import re
import symtable
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.jobs.directives import call_of
from prodkit.jobs.shell import indent, read_shell_lines, to_python

if TYPE_CHECKING:
    from prodkit.jobs.directives import Directive
    from prodkit.jobs.reading import Cell, Notebook

_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def write_script(notebook: Notebook, *, name: str) -> str:
    """The text of `job.py`.

    Args:
        notebook: the notebook; its code must be Python once IPython's lines are translated (lint says so first).
        name: the job's name.

    Raises:
        ConfigError: `export.script`: a cell that runs in IPython can't stand in a script.
    """
    from prodkit.jobs.conversion import convert

    features = sorted({name for cell in notebook.code for name in _future_features(tree_of(cell))})
    names = {node.id for cell in notebook.code for node in ast.walk(tree_of(cell)) if isinstance(node, ast.Name)}
    texts = [(cell.kind, _part(notebook, cell)) for cell in notebook.production]
    script = convert(
        texts,
        name=name,
        notebook=re.sub(r"[^\w. -]", "-", notebook.path.name),
        digest=notebook.digest,
        features=features,
        awaits=any("_loop.run(" in text for _, text in texts),
        displays="display" in names,
    )
    try:
        compile(script, "job.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        line = script.split("\n")[: error.lineno or 1]
        cell = next((text.removeprefix("# %% ") for text in reversed(line) if text.startswith("# %% ")), "")
        raise ConfigError(
            "export.script",
            f"The cell can't be written as a script: {error.msg}.",
            where=f"{notebook.path.name}, cell `{cell}`",
            fix="write it differently, or tag it `demo`",
        ) from None
    return script


def tree_of(cell: Cell) -> ast.Module:
    """The syntax tree of a cell in plain Python.

    Raises:
        SyntaxError: it isn't Python.
    """
    return ast.parse(to_python(cell.body))


def awaits(tree: ast.AST) -> bool:
    """Whether code awaits outside of its own functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _NESTED):
            continue
        waits = isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
        if waits or (isinstance(node, ast.comprehension) and node.is_async) or awaits(node):
            return True
    return False


def bound_names(source: str) -> tuple[str, ...]:
    """The names that a piece of code binds at its top, sorted."""
    table = symtable.symtable(source, "cell", "exec")
    return tuple(sorted(s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()))


def _future_features(tree: ast.Module) -> list[str]:
    """What a cell imports from `__future__`: in a script that stands at the top, and holds for all of it."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    return [alias.name for node in imports for alias in node.names]


def _part(notebook: Notebook, cell: Cell) -> str:
    if cell.kind == "markdown" and cell.source.strip():
        return "# %% [markdown]\n" + "\n".join(f"# {line}".rstrip() for line in cell.source.strip().split("\n"))
    if not cell.is_code:
        return ""
    title = cell.directive.name if cell.directive and cell.directive.name else cell.id
    is_parameters = cell is notebook.parameters_cell
    heading = f"# %% {title}" + (" (parameters)" if is_parameters and title != "parameters" else "")
    text = _code(cell)
    if is_parameters:
        text += "\n_job.set_parameters(globals())"
    return f"{heading}\n{text}" if text else ""


def _code(cell: Cell) -> str:
    text = _without_own_lines(cell.body)
    if not text:
        return ""
    tree = ast.parse(text)
    waits = awaits(tree)
    if not tree.body and cell.directive is not None:
        text += "\npass"  # a block of comments alone is none
    if cell.directive is not None:
        text = _with(cell.directive, text, waits=waits)
    return _coroutine(cell, text) if waits else text


def _with(directive: Directive, text: str, *, waits: bool) -> str:
    if not waits:
        return f"with {call_of(directive)}:\n{indent(text)}"
    # inside of a coroutine checked inputs can't take the place of global names by themselves
    names = directive.values("input")
    taken = "".join(f'    {name} = _run.inputs["{name}"]\n' for name in names)
    return f"async with {call_of(directive)}{' as _run' if names else ''}:\n{taken}{indent(text)}"


def _without_own_lines(body: str) -> str:
    """A cell in plain Python, without lines of IPython's that mean nothing here and the import on top of the file."""
    text = to_python(body)
    dropped = {
        shell.line for shell in read_shell_lines(body) if shell.meaning in {"drop", "prodkit"} and not shell.indent
    }
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import) and [(name.name, name.asname) for name in node.names] == [("prodkit", None)]:
            dropped.add(node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module == "__future__":
            dropped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    kept = [line for number, line in enumerate(text.split("\n"), start=1) if number not in dropped]
    return "\n".join(kept).strip("\n")


def _coroutine(cell: Cell, text: str) -> str:
    text = _without_annotations(text)
    names = bound_names(text)
    shared = f"    global {', '.join(names)}\n" if names else ""
    function = f"_cell_{cell.number}"
    return f"async def {function}():\n{shared}{indent(text)}\n\n\n_loop.run({function}())"


def _without_annotations(text: str) -> str:
    """`x: int = 1` as `x = 1`, since a name can't be global and annotated."""
    lines = text.split("\n")
    nodes = [node for node in _own_nodes(ast.parse(text)) if isinstance(node, ast.AnnAssign)]
    for node in sorted(nodes, key=lambda node: -node.lineno):
        if not isinstance(node.target, ast.Name):
            continue
        end = node.value or node.annotation
        new = ast.unparse(node.target) + (
            " = " + (ast.get_source_segment(text, end) or "") if node.value else " = None"
        )
        first, last = lines[node.lineno - 1], lines[(node.end_lineno or node.lineno) - 1]
        before = first.encode()[: node.col_offset].decode()
        after = last.encode()[node.end_col_offset or 0 :].decode()
        lines[node.lineno - 1 : node.end_lineno] = (before + new + after).split("\n")
    return "\n".join(lines)


def _own_nodes(tree: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, _NESTED):
            found += [node, *_own_nodes(node)]
    return found
