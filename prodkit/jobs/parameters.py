"""A job's typed interface: read from the cell tagged `parameters`, published as JSON Schema, enforced before a run.

The cell is read as a syntax tree; nothing in it is executed.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, ParameterError, nearest
from prodkit.jobs.kinds import (
    Kind,
    UnknownTypeError,
    accept,
    code,
    convert,
    dump,
    kind_of,
    kind_of_text,
    kind_of_value,
    schema_of,
)
from prodkit.jobs.literals import NotLiteralError, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = (
    "str, int, float, bool, date, datetime, Path, Decimal, list[...], dict[str, ...], Literal[...], an Enum, "
    "or one of them `| None`"
)
_SCHEMA_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list[Any]",
    "object": "dict[str, Any]",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a job.

    `annotation` is the type as the author wrote it, `default` what JSON holds for it (None when `required`), `help` the
    comment beside it, `choices` the allowed values of a Literal or the members' names of an Enum.
    """

    name: str
    annotation: str
    default: Any = None
    help: str = ""
    required: bool = False
    choices: tuple[Any, ...] = ()
    enum: str = ""

    @property
    def kind(self) -> Kind:
        """The type, ready to convert with."""
        try:
            return kind_of_text(self.annotation, {self.enum: self.choices} if self.enum else {})
        except UnknownTypeError:
            raise ConfigError(
                "parameters.type",
                f"`{self.name}` has the type `{self.annotation}`, which can't be given from outside.",
                where="x-python in the job's schema",
                fix=f"use {_TYPES}",
            ) from None


def read_parameters(
    source: str, *, where: str = "", enums: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Parameter, ...]:
    """The parameters of a cell's source.

    Args:
        source: the text of the cell tagged `parameters`.
        where: what errors call the cell, e.g. `triage.ipynb, cell 2`.
        enums: Enum classes that earlier cells define, with their members' names.

    Raises:
        ConfigError: `parameters.syntax`, `parameters.statement`, `parameters.type`, `parameters.default`,
            `parameters.duplicate`: the line, and how to write it instead.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise _refuse(
            "syntax", f"The parameters cell isn't Python: {error.msg}.", where, error.lineno or 1, ""
        ) from None
    known = {**(enums or {}), **read_enums(tree)}
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        if _is_harmless(statement):
            continue
        parameter = _read_one(statement, known, _help_of(statement, comments, tree), where)
        if parameter.name in found:
            raise _refuse("duplicate", f"`{parameter.name}` is set twice.", where, statement.lineno, "keep one line")
        found[parameter.name] = parameter
    return tuple(found.values())


def read_enums(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """The Enum classes that a piece of code defines, with their members' names."""
    return {
        node.name: tuple(
            target.id
            for line in node.body
            if isinstance(line, ast.Assign)
            for target in line.targets
            if isinstance(target, ast.Name) and not target.id.startswith("_")
        )
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases)
    }


def to_schema(parameters: Iterable[Parameter], *, title: str = "job", description: str = "") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a job's parameters; `from_schema` gives the same parameters back."""
    listed = list(parameters)
    schema: dict[str, Any] = {"$schema": _DIALECT, "title": title}
    if description:
        schema["description"] = description
    schema |= {
        "type": "object",
        "properties": {parameter.name: _property(parameter) for parameter in listed},
        "required": [parameter.name for parameter in listed if parameter.required],
        "additionalProperties": False,
    }
    return schema


def from_schema(schema: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The parameters that a schema describes, also one that somebody else wrote from plain JSON types."""
    required = set(schema.get("required", ()))
    return tuple(_from_property(name, part, name in required) for name, part in schema.get("properties", {}).items())


def check_parameters(schema: Mapping[str, Any], given: Mapping[str, object]) -> dict[str, Any]:
    """The values that a job runs with: what is given, parsed by type, and the defaults of the rest.

    Text is parsed strictly (`false` is a boolean only where one is asked for, `01234` is no number); other values must
    have the type already. Days come back as `date`, paths as `Path`, exact numbers as `Decimal`, Enum members by name.

    Raises:
        ParameterError: with all findings at once: `parameters.unknown`, `parameters.missing`, `parameters.type`, or
            `parameters.invalid` when there are several kinds. It never holds a value.
    """
    parameters = {parameter.name: parameter for parameter in from_schema(schema)}
    values: dict[str, Any] = {}
    findings = [
        ("unknown", f"`{name}` is no parameter", nearest(name, parameters)) for name in given if name not in parameters
    ]
    for name, parameter in parameters.items():
        kind = parameter.kind
        if name not in given and parameter.required:
            findings.append(("missing", f"`{name}` is missing", f"give `-p {name}=...` ({kind.says})"))
            continue
        try:
            values[name] = convert(kind, given[name]) if name in given else accept(kind, parameter.default)
        except ValueError:
            findings.append(
                (
                    "type",
                    f"`{name}` has the wrong type",
                    f"`{name}` takes {kind.says}{_hint(given.get(name, parameter.default))}",
                )
            )
    if findings:
        raise _explain(findings, str(schema.get("title", "")))
    return values


def check_defaults(schema: Mapping[str, Any]) -> None:
    """Check that each default is of its parameter's type; export sees to that, a hand edit may not.

    Raises:
        ParameterError: `parameters.type`.
    """
    optional = {name: part for name, part in schema.get("properties", {}).items() if "default" in part}
    check_parameters({**schema, "properties": optional, "required": []}, {})


def as_json(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Checked values as JSON holds them, e.g. for an idempotency key or a run's params."""
    kinds = {parameter.name: parameter.kind for parameter in from_schema(schema)}
    return {name: dump(kinds[name], value) for name, value in values.items()}


def as_code(schema: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The Python lines that set checked values, as the injected cell of a run holds them. They need no import."""
    kinds = {parameter.name: parameter.kind for parameter in from_schema(schema)}
    return "\n".join(f"{name} = {code(kinds[name], value)}" for name, value in values.items())


def _read_one(statement: ast.stmt, enums: Mapping[str, tuple[str, ...]], comment: str, where: str) -> Parameter:
    name, annotation, value = _parts(statement, where)
    line = statement.lineno
    required = value is None or (isinstance(value, ast.Constant) and value.value is ...)
    default = None
    if not required and value is not None:
        try:
            default = evaluate(value, enums)
        except NotLiteralError:
            what = f"The default of `{name}` is computed: its value is only known while the notebook runs."
            fix = "write the value itself, or move the line into the next cell"
            raise _refuse("default", what, where, line, fix) from None
    kind = _kind(name, annotation, default, enums, f"{where}, line {line}")
    if not required:
        try:
            default = dump(kind, accept(kind, default))
        except ValueError:
            what = f"The default of `{name}` isn't of its type `{kind.text}`."
            raise _refuse("default", what, where, line, f"write {kind.says}") from None
    choices = tuple(choice.name if kind.name == "enum" else choice for choice in kind.choices)
    return Parameter(
        name, kind.text, default, comment, required, choices, kind.choices[0].enum if kind.name == "enum" else ""
    )


def _parts(statement: ast.stmt, where: str) -> tuple[str, ast.expr | None, ast.expr | None]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id, statement.annotation, statement.value
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, None, statement.value
    raise _refuse(
        "statement",
        "The parameters cell holds a line that sets no single parameter.",
        where,
        statement.lineno,
        'write one parameter a line, e.g. `batch: str = "2026-11"  # month`, and move other code into the next cell',
    )


def _kind(
    name: str, annotation: ast.expr | None, default: Any, enums: Mapping[str, tuple[str, ...]], where: str
) -> Kind:
    try:
        return kind_of(annotation, enums) if annotation is not None else kind_of_value(default, enums)
    except UnknownTypeError as error:
        missing = annotation is None
        raise ConfigError(
            "parameters.type",
            f"`{name}` has no type." if missing else f"`{name}` is a `{error}`, which can't be given from outside.",
            where=where,
            fix=f"write `{name}: str | None = None`" if missing else f"use {_TYPES}",
        ) from None


def _is_harmless(statement: ast.stmt) -> bool:
    """Imports, classes (an Enum of choices) and texts may stand between parameters."""
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return text or isinstance(statement, ast.Import | ast.ImportFrom | ast.ClassDef | ast.Pass)


def _comments(source: str) -> dict[int, tuple[int, str]]:
    """Line -> (column, text) of each comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: (token.start[1], token.string.lstrip("#").strip())
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _help_of(statement: ast.stmt, comments: Mapping[int, tuple[int, str]], tree: ast.Module) -> str:
    """The comment behind a statement, else the one on the line above it (but not the cell's title)."""
    end = statement.end_lineno or statement.lineno
    if end in comments:
        return comments[end][1]
    above = comments.get(statement.lineno - 1)
    is_title = statement is tree.body[0] and statement.lineno - 1 == 1
    taken = any((other.end_lineno or other.lineno) == statement.lineno - 1 for other in tree.body)
    return above[1] if above and above[0] == 0 and not is_title and not taken else ""


def _property(parameter: Parameter) -> dict[str, Any]:
    part: dict[str, Any] = {}
    if parameter.help:
        part["description"] = parameter.help
    part |= schema_of(parameter.kind)
    if not parameter.required:
        part["default"] = parameter.default
    part["x-python"] = parameter.annotation
    if parameter.enum:
        part["x-enum"] = parameter.enum
    return part


def _from_property(name: str, part: Mapping[str, Any], required: bool) -> Parameter:
    choices = tuple(part.get("enum") or next((x["enum"] for x in part.get("anyOf", ()) if "enum" in x), ()))
    annotation = str(part.get("x-python") or _annotation(part, choices))
    required = required or "default" not in part
    help_ = str(part.get("description", ""))
    return Parameter(name, annotation, part.get("default"), help_, required, choices, str(part.get("x-enum", "")))


def _annotation(part: Mapping[str, Any], choices: tuple[Any, ...]) -> str:
    if choices:
        return f"Literal[{', '.join(map(repr, choices))}]"
    formats = {"date": "date", "date-time": "datetime", "path": "Path", "decimal": "Decimal"}
    names = part.get("type", "string")
    plain = [names] if isinstance(names, str) else list(names)
    kinds = [formats.get(part.get("format", ""), _SCHEMA_TYPES.get(name, "Any")) for name in plain if name != "null"]
    return " | ".join([*kinds, *(["None"] if "null" in plain else [])]) or "Any"


def _hint(given: object) -> str:
    if isinstance(given, str):
        return f", not this text of {len(given)} characters"
    return f", not a {type(given).__name__}"


def _explain(findings: list[tuple[str, str, str]], title: str) -> ParameterError:
    kinds = {kind for kind, _, _ in findings}
    what = "; ".join(what for _, what, _ in findings) + "."
    fix = "; ".join(dict.fromkeys(fix for _, _, fix in findings if fix))
    return ParameterError(
        f"parameters.{kinds.pop() if len(kinds) == 1 else 'invalid'}",
        what if len(findings) == 1 else f"{len(findings)} parameters are wrong: {what}",
        where=f"job {title}" if title else "",
        fix=fix,
    )


def _refuse(kind: str, what: str, where: str, line: int, fix: str) -> ConfigError:
    return ConfigError(f"parameters.{kind}", what, where=f"{where}, line {line}" if where else f"line {line}", fix=fix)
