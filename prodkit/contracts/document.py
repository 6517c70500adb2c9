"""Reading an ODCS file so that every error has a line and a fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import yaml
from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import BaseModel, ValidationError

from prodkit.errors import ConfigError, nearest
from prodkit.manifest.loading import Document, Location

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

API_VERSIONS = ("v3.1.0", "v3.0.2", "v3.0.1", "v3.0.0", "v3.2.0")
REQUIRED = ("apiVersion", "kind", "id", "version", "status", "schema")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_NODES = 200_000  # a contract of 2,000 columns has about 60,000; more is an alias bomb


def parse(text: str, name: str) -> tuple[OpenDataContractStandard, Document]:
    """Check the structure of a contract file: YAML, keys, types, version.

    Raises:
        ConfigError: `contract.yaml`, `contract.unsafe-tag`, `contract.unknown-key`, `contract.missing-key`,
            `contract.invalid` or `contract.version`; each with file, line and fix.
    """
    document = _read(text, name)
    if not isinstance(document.data, dict):
        raise ConfigError(
            "contract.yaml",
            "The file isn't a data contract: it holds no mapping.",
            where=f"{name}:1",
            fix="begin it with `apiVersion: v3.1.0` and `kind: DataContract`",
        )
    if "schema_type" in document.data:
        document = _read(_from_pandera(text, name), name)
    _require_keys(document)
    _refuse_unknown_keys(document.data, OpenDataContractStandard, (), document)
    try:
        return OpenDataContractStandard.model_validate(_texts(document.data)), document
    except ValidationError as error:
        raise _explain(error, document) from error


def _from_pandera(text: str, name: str) -> str:
    """Pandera's own YAML as a contract's. Its reader is safe; what a contract can't say is refused."""
    from prodkit.contracts.adopt import adopt, from_schema_yaml

    try:
        schema = from_schema_yaml(text)
    except Exception as error:
        raise ConfigError(
            "contract.invalid",
            f"pandera can't read its schema: {type(error).__name__}.",
            where=f"{name}:1",
            fix="correct it",
        ) from error
    return adopt(schema, name=schema.name or name.split(".", maxsplit=1)[0]).to_yaml()


def _read(text: str, name: str) -> Document:
    """Parse with the safe loader (the one in C where there is one), and remember the line of each key."""
    document = Document(name, None)
    try:
        node = yaml.compose(text, Loader=_LOADER)
        if node is not None:
            _refuse_tags_and_bombs(node, name)
            _index(node, (), document)
        return Document(name, yaml.load(text, Loader=_LOADER), document.lines)  # noqa: S506  (it is a safe loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            "contract.yaml",
            f"The file isn't valid YAML: {error.problem}.",
            where=f"{name}:{line}",
            fix="check the indentation and the quotes on this line",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError("contract.yaml", "The file isn't text that YAML can read.", where=name) from error


def _index(node: yaml.Node, at: Location, document: Document) -> None:
    """The line of each key; a key that appears twice is refused, as YAML would silently keep the last."""
    document.lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise _refusal(
                    "contract.duplicate-key", f"The key `{key.value}` appears twice.", document.name, key, "keep one"
                )
            seen.add(key.value)
            document.lines[*at, key.value] = key.start_mark.line + 1
            _index(value, (*at, key.value), document)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _index(value, (*at, position), document)


def _refuse_tags_and_bombs(root: yaml.Node, name: str) -> None:
    """Object tags would run code in other loaders; nested aliases would fill the memory."""
    try:
        _size(root, name, {})
    except RecursionError:
        raise ConfigError("contract.yaml", "The file is nested too deeply.", where=name) from None


def _size(node: yaml.Node, name: str, sizes: dict[int, int | None]) -> int:
    """How many nodes a node expands to, aliases written out."""
    known = sizes.get(id(node), 0)
    if known is None:
        raise _refusal("contract.yaml", "An alias holds itself.", name, node, "write the values out")
    if known:
        return known
    if not node.tag.startswith("tag:yaml.org,2002:") or ":python" in node.tag:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise _refusal(
            "contract.unsafe-tag", f"The tag `{tag}` makes an object.", name, node, "remove the tag; use plain values"
        )
    sizes[id(node)] = None
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = list(node.value)
    total = 1 + sum(_size(child, name, sizes) for child in children)
    if total > _MOST_NODES:
        raise _refusal("contract.yaml", "The file expands to too much.", name, node, "write aliases out, or split it")
    sizes[id(node)] = total
    return total


def _refusal(code: str, what: str, name: str, node: yaml.Node, fix: str) -> ConfigError:
    return ConfigError(code, what, where=f"{name}:{node.start_mark.line + 1}", fix=fix)


def _require_keys(document: Document) -> None:
    data = document.data
    for key in REQUIRED:
        if data.get(key) in (None, "", []):
            raise ConfigError(
                "contract.missing-key",
                f"The key `{key}` is missing.",
                where=f"{document.name}:1",
                fix=f"add `{key}:`; a draft comes from `prodkit contract infer FILE`",
            )
    if data["kind"] != "DataContract":
        raise ConfigError(
            "contract.version",
            "The file isn't a data contract.",
            where=document.where(("kind",)),
            fix="kind: DataContract",
        )
    if data["apiVersion"] not in API_VERSIONS:
        raise ConfigError(
            "contract.version",
            f"This version of the standard isn't known; prodkit reads {', '.join(sorted(API_VERSIONS))}.",
            where=document.where(("apiVersion",)),
            fix="apiVersion: v3.1.0",
        )


def _refuse_unknown_keys(data: Any, model: type[BaseModel], at: Location, document: Document) -> None:
    """The package's models drop keys that they don't know; a misspelt rule would go unchecked."""
    fields = {field.alias or key: field.annotation for key, field in model.model_fields.items()}
    for key, value in data.items():
        if key not in fields:
            raise ConfigError(
                "contract.unknown-key",
                f"`{key}` is not a key of this section.",
                where=document.where((*at, key)),
                fix=nearest(str(key), fields),
            )
        inner = _model_of(fields[key])
        if inner is None:
            continue
        if isinstance(value, dict):
            _refuse_unknown_keys(value, inner, (*at, key), document)
        elif isinstance(value, list):
            for position, item in enumerate(value):
                if isinstance(item, dict):
                    _refuse_unknown_keys(
                        item, _model_of(fields[key], listed=True) or inner, (*at, key, position), document
                    )


def _model_of(annotation: Any, *, listed: bool = False) -> type[BaseModel] | None:
    """The first model in an annotation; with `listed` the one inside a list comes first."""
    found = [kind for kind in _unfold(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return (found[-1] if listed else found[0]) if found else None


def _unfold(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [annotation] if not inner else [kind for part in inner for kind in _unfold(part)]


def _texts(value: Any) -> Any:
    """YAML reads `2024-01-31` as a date; the standard says text."""
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


def _explain(error: ValidationError, document: Document) -> ConfigError:
    details = sorted(error.errors(), key=lambda detail: document.lines.get(_location(detail, document), 0))
    first, others = details[0], details[1:]
    fix = _fix(first)
    more = "; ".join(document.where(_location(detail, document)) for detail in others[:5])
    if more:
        fix += f"; see also {more}"
    return ConfigError("contract.invalid", _what(first), where=document.where(_location(first, document)), fix=fix)


def _what(detail: ErrorDetails) -> str:
    key = next((part for part in reversed(detail["loc"]) if isinstance(part, str)), "")
    return f"`{key}` is wrong: {detail['msg'][:1].lower()}{detail['msg'][1:]}."


def _fix(detail: ErrorDetails) -> str:
    return "put the value in quotes" if detail["type"] == "string_type" else "correct the value"


def _location(detail: ErrorDetails, document: Document) -> Location:
    """Pydantic's location without the parts that name a branch of a union."""
    location: Location = ()
    for part in detail["loc"]:
        if (*location, part) in document.lines or part == detail["loc"][-1]:
            location = (*location, part)
    return location
