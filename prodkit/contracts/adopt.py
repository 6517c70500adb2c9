"""Existing pandera schemas and models: checked as they are, and written down as ODCS without loss or not at all."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml

from prodkit.contracts.bounds import text_of
from prodkit.contracts.contract import Contract
from prodkit.contracts.custom import DTYPE, known_checks
from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGICAL = {
    "int": "integer",
    "uint": "integer",
    "float": "number",
    "decimal": "number",
    "bool": "boolean",
    "str": "string",
    "string": "string",
    "utf8": "string",
    "datetime": "timestamp",
    "timestamp": "timestamp",
    "date": "date",
    "time": "time",
    "list": "array",
    "struct": "object",
}
_CHANGING = ("coerce", "drop_invalid_rows", "add_missing_columns", "parsers")
_PLAIN = (str, int, float, bool, type(None))


def schema_of(schema: Any) -> Any:
    """The pandera `DataFrameSchema` that a schema or model stands for.

    Raises:
        ConfigError: `contract.no-contract`, it is neither.
    """
    from pandera.api.dataframe.container import DataFrameSchema

    if isinstance(schema, type) and hasattr(schema, "to_schema"):
        schema = schema.to_schema()
    if isinstance(schema, DataFrameSchema):
        return schema
    kind = schema.__name__ if isinstance(schema, type) else type(schema).__name__
    raise ConfigError(
        "contract.no-contract",
        f"A {kind} is no contract.",
        fix="pass a Contract, the path of one, or a pandera DataFrameSchema or DataFrameModel",
    )


def from_schema_yaml(text: str) -> Any:
    """A schema from pandera's own YAML."""
    import pandera.pandas as pa

    return pa.DataFrameSchema.from_yaml(text)


def is_polars(schema: Any) -> bool:
    """Whether a schema is for polars frames."""
    return ".polars." in type(schema).__module__


def adopt(schema: Any, *, name: str = "") -> Contract:
    """A contract that says what the schema says.

    Raises:
        ConfigError: `contract.not-portable`, naming the column and the part that a contract file can't hold.
    """
    schema = schema_of(schema)
    _refuse_unportable(schema)
    name = name or schema.name or "table"
    table: dict[str, Any] = {"name": name, "physicalType": "table"}
    if schema.description:
        table["description"] = schema.description
    library = "polars" if is_polars(schema) else "pandas"
    table["properties"] = [_property(column, library) for column in schema.columns.values()]
    if schema.strict is True:
        table["customProperties"] = [{"property": "additionalColumns", "value": "refuse"}]
    quality = [_custom(check, "the table") for check in schema.checks]
    if schema.unique:
        arguments = {"properties": list(schema.unique)}
        quality.append({"type": "library", "metric": "duplicateValues", "arguments": arguments, "mustBe": 0})
    if quality:
        table["quality"] = quality
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": name,
        "name": schema.title or name,
        "version": "1.0.0",
        "status": "draft",
        "schema": [table],
    }
    return Contract.from_yaml(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), name=f"{name}.odcs.yaml")


def _refuse_unportable(schema: Any) -> None:
    problems = [
        (bool(getattr(schema, "coerce", False)), "coerce=True changes values", "set coerce=False and convert before"),
        (bool(schema.parsers), "parsers change values", "call them before the check"),
        (getattr(schema, "index", None) is not None, "rules on the index have no place", "turn the index into columns"),
        (schema.ordered, "ordered=True has no place", "drop `ordered`"),
        (schema.strict == "filter", "strict='filter' drops columns", "select the columns before"),
        (schema.drop_invalid_rows, "drop_invalid_rows drops rows", "use mode `quarantine`"),
        (schema.add_missing_columns, "add_missing_columns makes up values", "add them before"),
        (schema.dtype is not None, "a type for all columns has no place", "give each column its type"),
        (
            getattr(schema, "unique_column_names", False),
            "unique_column_names has no place",
            "drop it: it always holds here",
        ),
    ]
    for broken, what, fix in problems:
        if broken:
            raise _not_portable(what, str(schema.name or "schema"), fix)


def _property(column: Any, library: str) -> dict[str, Any]:
    problems = [
        (bool(column.regex), "a column name that is a pattern has no place", "name the columns"),
        (bool(column.coerce), "coerce=True changes values", "set coerce=False and convert before"),
        (bool(column.parsers), "parsers change values", "call them before the check"),
        (column.default is not None, "a default fills in values", "fill before the check"),
        (bool(column.drop_invalid_rows), "drop_invalid_rows drops rows", "use mode `quarantine`"),
        (not isinstance(column.name, str), "a name that isn't text has no place", "rename the column"),
    ]
    for broken, what, fix in problems:
        if broken:
            raise _not_portable(what, str(column.name), fix)
    prop: dict[str, Any] = {"name": column.name}
    if column.title:
        prop["businessName"] = column.title
    if column.description:
        prop["description"] = column.description
    quality: list[dict[str, Any]] = []
    if column.dtype is not None:
        prop |= _type(column)
        quality.append(_implementation({"check": DTYPE, "dtype": str(column.dtype), "library": library}))
    prop["required"] = not column.nullable
    if column.unique:
        prop["unique"] = True
    quality += [_custom(check, column.name) for check in column.checks]
    custom = list(_metadata(column))
    if not column.required:
        custom.append({"property": "optional", "value": True})
    return prop | ({"customProperties": custom} if custom else {}) | ({"quality": quality} if quality else {})


def _type(column: Any) -> dict[str, Any]:
    text = str(column.dtype)
    stem = "".join(
        letter for letter in text.split("[", maxsplit=1)[0].split("(", maxsplit=1)[0].lower() if letter.isalpha()
    )
    stem = stem.removesuffix("ns").removesuffix("us")
    logical = _LOGICAL.get(stem)
    return ({"logicalType": logical} if logical else {}) | {"physicalType": text}


def _metadata(column: Any) -> Iterator[dict[str, Any]]:
    for key, value in (column.metadata or {}).items():
        if not isinstance(value, _PLAIN):
            raise _not_portable(
                f"the metadata `{key}` isn't plain text or a number", str(column.name), "write it as text"
            )
        yield {"property": str(key), "value": value}


def _custom(check: Any, where: str) -> dict[str, Any]:
    """A pandera check as a rule of the engine pandera: its name and its arguments."""
    if check.name not in known_checks() or check.native:
        raise _not_portable(
            f"the check `{check.name}` is code",
            where,
            "register it with `pandera.extensions.register_check_method`, or use one of pandera's named checks",
        )
    if check.groupby is not None or check.element_wise:
        raise _not_portable(
            f"the check `{check.name}` works on groups or single cells", where, "check the column instead"
        )
    arguments = {key: _portable(value, check.name, where) for key, value in check.statistics.items()}
    if not check.ignore_na:
        arguments["ignore_na"] = False
    rule = _implementation({"check": check.name, **arguments})
    return rule | {"severity": "warning"} if check.raise_warning else rule


def _implementation(implementation: dict[str, Any]) -> dict[str, Any]:
    return {"type": "custom", "engine": "pandera", "implementation": implementation}


def _portable(value: Any, check: str, where: str) -> Any:
    value = text_of(value.item() if hasattr(value, "item") else value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_portable(item, check, where) for item in value]
    if hasattr(value, "pattern"):
        value = value.pattern
    if not isinstance(value, _PLAIN):
        raise _not_portable(
            f"an argument of the check `{check}` is a {type(value).__name__}", where, "use text or numbers"
        )
    return value


def _not_portable(what: str, where: str, fix: str) -> ConfigError:
    return ConfigError(
        "contract.not-portable", f"The schema can't be written down without loss: {what}.", where=where, fix=fix
    )


def unchanging(schema: Any) -> tuple[Any, tuple[str, ...]]:
    """A copy of the schema that changes nothing, and what was switched off for that.

    Raises:
        ConfigError: `contract.changes-values`, for parsers, which can't be switched off without changing the meaning.
    """
    schema = copy.deepcopy(schema)
    parts = [schema, *schema.columns.values()]
    if any(part.parsers for part in parts):
        raise ConfigError(
            "contract.changes-values",
            "The schema has parsers, which change values before they are checked.",
            where=str(schema.name or "schema"),
            fix="call them on the data yourself, and pass a schema without them",
        )
    switched: dict[str, None] = {}
    for part in parts:
        for option in ("coerce", "drop_invalid_rows", "add_missing_columns"):
            if getattr(part, option, False):
                setattr(part, option, False)
                switched[option] = None
        if getattr(part, "default", None) is not None:
            part.default = None
            switched["default"] = None
    if schema.strict == "filter":
        schema.strict = False
        switched["strict='filter'"] = None
    return schema, tuple(switched)
