"""The type of a parameter: read from an annotation, written as JSON Schema, used to convert what is given."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from prodkit.jobs.scalars import SCALARS, unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALIASES = {"List": "list", "Dict": "dict", "Set": "set", "Tuple": "tuple", "FrozenSet": "set", "frozenset": "set"}
_CONTAINERS = {"list", "set", "tuple", "dict"}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an Enum that the notebook defines: `Priority.HIGH`."""

    enum: str
    name: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A type.

    `name` is a key of `SCALARS`, or `list`, `set`, `tuple`, `dict`, `union`, `choice` (Literal), `enum`, `any`.
    `items` are the types inside: one for list, set and dict values; one for each place of a tuple; the branches of a
    union. `text` is the annotation as the author wrote it.
    """

    name: str
    text: str
    items: tuple[Kind, ...] = ()
    choices: tuple[Any, ...] = ()
    optional: bool = False
    endless: bool = False  # tuple[int, ...]

    @property
    def says(self) -> str:
        """What to give, in words."""
        return _says(self) + (", or `null` for none" if self.optional else "")


class UnknownTypeError(ValueError):
    """The annotation names a type that no parameter can have."""


def kind_of(annotation: ast.expr, enums: Mapping[str, tuple[str, ...]]) -> Kind:
    """The type that an annotation names; `enums` holds the Enum classes of the notebook with their members.

    Raises:
        UnknownTypeError: it can't be given from outside (a DataFrame, a client, an unknown name).
    """
    kind = _resolve(annotation, enums)
    return replace(kind, text=ast.unparse(annotation))


def kind_of_text(annotation: str, enums: Mapping[str, tuple[str, ...]]) -> Kind:
    """As `kind_of`, from text."""
    try:
        return kind_of(ast.parse(annotation, mode="eval").body, enums)
    except SyntaxError:
        raise UnknownTypeError(annotation) from None


def kind_of_value(value: Any, enums: Mapping[str, tuple[str, ...]]) -> Kind:
    """The type that a default without annotation says; a bare `None` says nothing.

    Raises:
        UnknownTypeError: the value is None.
    """
    if isinstance(value, Member):
        return _enum(value.enum, enums)
    if value is None:
        raise UnknownTypeError("None")
    if isinstance(value, list | set | tuple | dict):
        return Kind(type(value).__name__, type(value).__name__, (Kind("any", "Any"),), endless=True)
    name = next(name for name in (type(value).__name__, "Path") if name in SCALARS)
    return Kind(name, name)


def schema_of(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of a type, without title and default."""
    schema = _schema(kind)
    return {"anyOf": [schema, {"type": "null"}]} if kind.optional else schema


def convert(kind: Kind, given: Any) -> Any:
    """A given value as its type: text is parsed strictly, anything else must be of the type already.

    Raises:
        ValueError: it isn't of this type; the message holds no value.
    """
    if kind.optional and (given is None or given == "null"):
        return None
    if isinstance(given, str) and kind.name in _CONTAINERS | {"any"}:
        given = _json(given, kind)
    if isinstance(given, str) and kind.name == "union":
        return _first(kind, given)
    if isinstance(given, str) and kind.name in SCALARS:
        return SCALARS[kind.name].parse(given)
    if isinstance(given, str) and kind.name == "choice":
        given = next((choice for choice in kind.choices if str(choice) == given), given)
    return accept(kind, given)


def accept(kind: Kind, value: Any) -> Any:
    """A Python (or JSON) value as its type; nested text is parsed where JSON has no type of its own (days, paths).

    Raises:
        ValueError: it isn't of this type.
    """
    value = unwrap(value)
    if value is None and (kind.optional or kind.name == "any"):
        return None
    if kind.name in SCALARS:
        return SCALARS[kind.name].accept(value)
    return _ACCEPT[kind.name](kind, value)


def dump(kind: Kind, value: Any) -> Any:
    """What JSON holds for a value that `convert` or `accept` gave."""
    if value is None:
        return None
    if kind.name == "union":
        return next((dump(item, value) for item in kind.items if _fits(item, value)), value)
    if kind.name == "dict":
        return {key: dump(kind.items[0], item) for key, item in value.items()}
    if kind.name in _CONTAINERS:
        return [dump(item, part) for item, part in _pairs(kind, value)]
    return SCALARS[kind.name].dump(value) if kind.name in SCALARS else value


def code(kind: Kind, value: Any) -> str:
    """A Python expression that makes the value; an Enum's class must be known where it runs."""
    if value is None:
        return "None"
    if kind.name == "enum":
        return f"{kind.choices[0].enum}[{value!r}]"
    if kind.name == "union":
        return next((code(item, value) for item in kind.items if _fits(item, value)), repr(value))
    if kind.name == "dict":
        return "{" + ", ".join(f"{key!r}: {code(kind.items[0], item)}" for key, item in value.items()) + "}"
    if kind.name in _CONTAINERS:
        return _sequence_code(kind, [code(item, part) for item, part in _pairs(kind, value)])
    return SCALARS[kind.name].code(value) if kind.name in SCALARS else repr(value)


def _sequence_code(kind: Kind, parts: list[str]) -> str:
    inside = ", ".join(parts)
    if kind.name == "list":
        return f"[{inside}]"
    if kind.name == "tuple":
        return f"({inside},)" if len(parts) == 1 else f"({inside})"
    return f"{{{inside}}}" if parts else "set()"


def _resolve(node: ast.expr, enums: Mapping[str, tuple[str, ...]]) -> Kind:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a quoted annotation
        return kind_of_text(node.value, enums)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right], enums)
    if isinstance(node, ast.Subscript):
        return _generic(node, enums)
    name = _last_name(node)
    if name in enums:
        return _enum(name, enums)
    if name in SCALARS:
        return Kind(name, name)
    if name == "Any":
        return Kind("any", "Any")
    if name in _CONTAINERS:
        return Kind(name, name, (Kind("any", "Any"),), endless=True)
    raise UnknownTypeError(ast.unparse(node))


def _enum(name: str, enums: Mapping[str, tuple[str, ...]]) -> Kind:
    return Kind("enum", name, choices=tuple(Member(name, member) for member in enums[name]))


def _generic(node: ast.Subscript, enums: Mapping[str, tuple[str, ...]]) -> Kind:
    outer = _last_name(node.value)
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Literal":
        return _literal(node, inner)
    if outer == "Optional":
        return _union([*inner, ast.Constant(None)], enums)
    if outer == "Union":
        return _union(inner, enums)
    if outer in {"Annotated", "Final"}:
        return _resolve(inner[0], enums)
    if outer == "dict" and len(inner) == 2 and _last_name(inner[0]) == "str":  # noqa: PLR2004  key and value
        return Kind("dict", "dict", (_resolve(inner[1], enums),))
    if outer == "tuple":
        endless = isinstance(inner[-1], ast.Constant) and inner[-1].value is ...
        places = tuple(_resolve(item, enums) for item in (inner[:1] if endless else inner))
        return Kind("tuple", "tuple", places, endless=endless)
    if outer in {"list", "set"} and len(inner) == 1:
        return Kind(outer, outer, (_resolve(inner[0], enums),))
    raise UnknownTypeError(ast.unparse(node))


def _literal(node: ast.Subscript, inner: list[ast.expr]) -> Kind:
    if not all(isinstance(item, ast.Constant) and isinstance(item.value, str | int | bool) for item in inner):
        raise UnknownTypeError(ast.unparse(node))
    return Kind(
        "choice", ast.unparse(node), choices=tuple(item.value for item in inner if isinstance(item, ast.Constant))
    )


def _union(parts: list[ast.expr], enums: Mapping[str, tuple[str, ...]]) -> Kind:
    some = [part for part in parts if not (isinstance(part, ast.Constant) and part.value is None)]
    kinds = [_resolve(part, enums) for part in some]
    flat = [inner for kind in kinds for inner in (kind.items if kind.name == "union" else (kind,))]
    optional = len(some) < len(parts) or any(kind.optional for kind in kinds)
    if len(flat) == 1:
        return replace(flat[0], optional=optional)
    return Kind("union", "union", tuple(flat), optional=optional)


def _last_name(node: ast.expr) -> str:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return _ALIASES.get(name, name)


def _says(kind: Kind) -> str:
    if kind.name in SCALARS:
        return SCALARS[kind.name].says
    if kind.name == "choice":
        return "one of " + ", ".join(f"`{choice}`" for choice in kind.choices)
    if kind.name == "enum":
        return "one of " + ", ".join(f"`{choice.name}`" for choice in kind.choices)
    if kind.name == "union":
        return ", or ".join(item.says for item in kind.items)
    if kind.name == "any":
        return "a JSON value"
    example = '{"key": ...}' if kind.name == "dict" else "[...]"
    inside = f" of {kind.items[0].says}" if kind.items and kind.items[0].name != "any" else ""
    return f"JSON like `{example}`" + inside


def _schema(kind: Kind) -> dict[str, Any]:
    if kind.name in SCALARS:
        return dict(SCALARS[kind.name].schema)
    if kind.name == "choice":
        return {"enum": list(kind.choices)}
    if kind.name == "enum":
        return {"enum": [choice.name for choice in kind.choices]}
    if kind.name == "union":
        return {"anyOf": [schema_of(item) for item in kind.items]}
    if kind.name == "dict":
        return {"type": "object", "additionalProperties": schema_of(kind.items[0])}
    if kind.name == "tuple" and not kind.endless:
        size = len(kind.items)
        places = [schema_of(item) for item in kind.items]
        return {"type": "array", "prefixItems": places, "minItems": size, "maxItems": size}
    if kind.name in _CONTAINERS:
        unique = {"uniqueItems": True} if kind.name == "set" else {}
        return {"type": "array", "items": schema_of(kind.items[0]), **unique}
    return {}


def _json(text: str, kind: Kind) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if kind.name == "any":
            return text
        raise ValueError("not JSON") from None


def _first(kind: Kind, text: str) -> Any:
    """The first branch of a union that takes the text; plain text last, since it takes everything."""
    for item in sorted(kind.items, key=lambda item: item.name == "str"):
        try:
            return convert(item, text)
        except ValueError:
            continue
    raise ValueError("no branch fits")


def _fits(kind: Kind, value: Any) -> bool:
    try:
        return type(accept(kind, value)) is type(value)
    except ValueError:
        return False


def _pairs(kind: Kind, value: Any) -> list[tuple[Kind, Any]]:
    # a set has no order; the bytes of what is written must have one
    parts = sorted(value, key=repr) if kind.name == "set" else list(value)
    if kind.name == "tuple" and not kind.endless:
        return list(zip(kind.items, parts, strict=True))
    return [(kind.items[0], part) for part in parts]


def _accept_sequence(kind: Kind, value: Any) -> Any:
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError("not a list")  # noqa: TRY004  one exception for everything that isn't accepted
    parts = [accept(item, part) for item, part in _pairs(kind, value)]
    return {"list": list, "tuple": tuple, "set": set}[kind.name](parts)


def _accept_dict(kind: Kind, value: Any) -> Any:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("not a mapping of texts")
    return {key: accept(kind.items[0], item) for key, item in value.items()}


def _accept_union(kind: Kind, value: Any) -> Any:
    for item in kind.items:
        if _fits(item, value):
            return accept(item, value)
    return _first(kind, value) if isinstance(value, str) else _last_resort(kind, value)


def _last_resort(kind: Kind, value: Any) -> Any:
    """A branch that takes the value by widening it, as float takes a whole number."""
    for item in kind.items:
        try:
            return accept(item, value)
        except ValueError:
            continue
    raise ValueError("no branch fits")


def _accept_choice(kind: Kind, value: Any) -> Any:
    # 1 == True in Python; a choice is meant by type too
    if not any(type(choice) is type(value) and choice == value for choice in kind.choices):
        raise ValueError("not one of the choices")
    return value


def _accept_enum(kind: Kind, value: Any) -> Any:
    name = value.name if isinstance(value, Member | Enum) else value
    if name not in {choice.name for choice in kind.choices}:
        raise ValueError("not a member")
    return name


def _accept_any(_: Kind, value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("not a JSON value") from None
    return value


_ACCEPT = {
    "list": _accept_sequence,
    "set": _accept_sequence,
    "tuple": _accept_sequence,
    "dict": _accept_dict,
    "union": _accept_union,
    "choice": _accept_choice,
    "enum": _accept_enum,
    "any": _accept_any,
}
