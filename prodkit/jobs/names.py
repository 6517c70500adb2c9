"""Which names a cell binds, which it needs at once, and which its functions need later.

Only what is visible in the text counts: that a method changes an object, no syntax tree shows.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from dataclasses import dataclass
from typing import Any

PROVIDED = frozenset(dir(builtins)) | {"__name__", "__doc__", "display", "get_ipython", "__builtins__"}
"""Names that are there without anybody binding them; IPython's own rules speak of `get_ipython`."""

HISTORY = frozenset({"_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "In", "Out"})
"""IPython's memory of earlier cells, which a script doesn't have."""

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one cell, each with the line of its first appearance."""

    bound: dict[str, int]
    needed: dict[str, int]  # loaded while the cell runs, before the cell itself has bound it
    later: dict[str, int]  # loaded inside of functions, when they are called
    deleted: frozenset[str] = frozenset()  # by `del`, and not bound again
    star: bool = False  # `from x import *`: what is bound isn't known


def names_of(tree: ast.Module, text: str, *, lazy_annotations: bool = False) -> Names:
    """The names of a cell's code; `text` is what `tree` was parsed from.

    `lazy_annotations`: the notebook says `from __future__ import annotations`, so that none is evaluated.
    """
    walk = _Walk(lazy_annotations=lazy_annotations)
    for statement in tree.body:
        walk.visit(statement)
    later = {
        name: line for name, line in _later(symtable.symtable(text, "cell", "exec")).items() if name not in PROVIDED
    }
    return Names(walk.bound, walk.needed, later, frozenset(walk.deleted), walk.star)


def _later(table: symtable.SymbolTable) -> dict[str, int]:
    """The global names that functions in a table load."""
    found: dict[str, int] = {}
    for child in table.get_children():
        if child.get_type() == "function" and child.get_name() not in {"listcomp", "setcomp", "dictcomp", "genexpr"}:
            for symbol in child.get_symbols():
                if symbol.is_global() and symbol.is_referenced():
                    found.setdefault(symbol.get_name(), child.get_lineno())
        for name, line in _later(child).items():
            found.setdefault(name, line)
    return found


class _Walk(ast.NodeVisitor):
    """Visits a cell's own level in the order in which Python executes it."""

    def __init__(self, *, lazy_annotations: bool) -> None:
        self._lazy = lazy_annotations
        self.bound: dict[str, int] = {}
        self.needed: dict[str, int] = {}
        self.deleted: set[str] = set()
        self.star = False
        self._inner: list[set[str]] = []  # names of comprehensions and class bodies around

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._need(node.id, node.lineno)
        elif isinstance(node.ctx, ast.Store):
            self._bind(node.id, node.lineno)
        else:
            self._need(node.id, node.lineno)
            self.bound.pop(node.id, None)
            self.deleted.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._need(node.target.id, node.lineno)
        self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.bound.setdefault(node.target.id, node.lineno)  # also from inside of a comprehension

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    visit_AsyncFor = visit_For  # noqa: N815  ast's own spelling

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.star = True
            else:
                self._bind(alias.asname or alias.name.partition(".")[0], node.lineno)

    visit_ImportFrom = visit_Import  # noqa: N815  as above

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            self._annotation(argument.annotation)
        self._annotation(node.returns)
        self._bind(node.name, node.lineno)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  as above

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        self._inner.append(set())
        for statement in node.body:
            self.visit(statement)
        self._inner.pop()
        self._bind(node.name, node.lineno)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)
        if node.name:
            self._bind(node.name, node.lineno)
        for statement in node.body:
            self.visit(statement)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.generic_visit(node)
        if node.name:
            self._bind(node.name, node.lineno)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self._bind(node.name, node.lineno)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest:
            self._bind(node.rest, node.lineno)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, _COMPREHENSIONS):
            self._comprehension(node)
        else:
            super().generic_visit(node)

    def _comprehension(self, node: Any) -> None:
        self._inner.append(set())
        for generator in node.generators:
            self.visit(generator.iter)
            self.visit(generator.target)
            for condition in generator.ifs:
                self.visit(condition)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self._inner.pop()

    def _annotation(self, node: ast.expr | None) -> None:
        if node is not None and not self._lazy:
            self.visit(node)

    def _need(self, name: str, line: int) -> None:
        known = name in self.bound or name in PROVIDED or any(name in names for names in self._inner)
        if not known:
            self.needed.setdefault(name, line)

    def _bind(self, name: str, line: int) -> None:
        if self._inner:
            self._inner[-1].add(name)
        else:
            self.bound.setdefault(name, line)
            self.deleted.discard(name)
