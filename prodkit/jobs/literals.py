"""The values that a parameters cell may hold as defaults, computed from the syntax tree: nothing is executed."""

from __future__ import annotations

import ast
import operator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.jobs.kinds import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_MAKERS: dict[str, Callable[..., Any]] = {
    "date": date,
    "datetime": datetime,
    "Path": Path,
    "PurePath": Path,
    "Decimal": Decimal,
    "dict": dict,
    "list": list,
    "set": set,
    "tuple": tuple,
    "frozenset": set,
    "date.fromisoformat": date.fromisoformat,
    "datetime.fromisoformat": datetime.fromisoformat,
}
_LARGEST = 10**18  # beyond this a product is no default that somebody wrote on purpose


class NotLiteralError(ValueError):
    """The expression needs running code to know its value."""


def evaluate(node: ast.expr, enums: Mapping[str, tuple[str, ...]]) -> Any:
    """The value of a default: constants, containers, `dict(k=1)`, days, paths, Decimal, Enum members, plain arithmetic.

    Args:
        node: the expression right of `=`.
        enums: the Enum classes of the notebook, with their members' names.

    Raises:
        NotLiteralError: it can't be known without running the notebook.
    """
    try:
        return _evaluate(node, enums)
    except (TypeError, ValueError, ArithmeticError, InvalidOperation) as error:
        if isinstance(error, NotLiteralError):
            raise
        raise NotLiteralError(ast.unparse(node)) from error


def _evaluate(node: ast.expr, enums: Mapping[str, tuple[str, ...]]) -> Any:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bytes | complex) or node.value is ...:
            raise NotLiteralError(ast.unparse(node))
        return node.value
    for kind, evaluator in _EVALUATORS.items():
        if isinstance(node, kind):
            return evaluator(node, enums)
    raise NotLiteralError(ast.unparse(node))


def _elements(node: Any, enums: Mapping[str, tuple[str, ...]]) -> Any:
    make = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
    return make([_evaluate(element, enums) for element in node.elts])


def _mapping(node: Any, enums: Mapping[str, tuple[str, ...]]) -> Any:
    if None in node.keys:  # {**other}
        raise NotLiteralError(ast.unparse(node))
    return {_evaluate(key, enums): _evaluate(value, enums) for key, value in zip(node.keys, node.values, strict=True)}


def _negative(node: Any, enums: Mapping[str, tuple[str, ...]]) -> Any:
    if not isinstance(node.op, ast.USub | ast.UAdd):
        raise NotLiteralError(ast.unparse(node))
    value = _evaluate(node.operand, enums)
    return -value if isinstance(node.op, ast.USub) else value


def _arithmetic(node: Any, enums: Mapping[str, tuple[str, ...]]) -> Any:
    left, right = _evaluate(node.left, enums), _evaluate(node.right, enums)
    if isinstance(left, Path) and isinstance(node.op, ast.Div):
        return left / right
    numbers = isinstance(left, int | float | Decimal) and isinstance(right, int | float | Decimal)
    if not numbers or type(node.op) not in _ARITHMETIC:
        raise NotLiteralError(ast.unparse(node))
    value = _ARITHMETIC[type(node.op)](left, right)
    if abs(value) > _LARGEST:
        raise NotLiteralError(ast.unparse(node))
    return value


def _call(node: Any, enums: Mapping[str, tuple[str, ...]]) -> Any:
    name = _dotted(node.func)
    two, one = ".".join(name.split(".")[-2:]), name.rpartition(".")[2]
    make = _MAKERS.get(two) or (_MAKERS.get(one) if one != "fromisoformat" else None)
    if make is None or any(keyword.arg is None for keyword in node.keywords):
        raise NotLiteralError(ast.unparse(node))
    return make(
        *[_evaluate(argument, enums) for argument in node.args],
        **{keyword.arg: _evaluate(keyword.value, enums) for keyword in node.keywords},
    )


def _attribute(node: Any, enums: Mapping[str, tuple[str, ...]]) -> Any:
    owner = _dotted(node.value).rpartition(".")[2]
    if owner in enums and node.attr in enums[owner]:
        return Member(owner, node.attr)
    if node.attr == "UTC" or (owner == "timezone" and node.attr == "utc"):
        return UTC
    raise NotLiteralError(ast.unparse(node))


def _name(node: Any, _: Mapping[str, tuple[str, ...]]) -> Any:
    if node.id == "UTC":
        return UTC
    raise NotLiteralError(node.id)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


_EVALUATORS: dict[type[ast.expr] | tuple[type[ast.expr], ...], Callable[[Any, Any], Any]] = {
    (ast.List, ast.Tuple, ast.Set): _elements,
    ast.Dict: _mapping,
    ast.UnaryOp: _negative,
    ast.BinOp: _arithmetic,
    ast.Call: _call,
    ast.Attribute: _attribute,
    ast.Name: _name,
}
