"""Reading prodkit.yaml so that every error has a line and a fix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from prodkit.errors import ConfigError, nearest
from prodkit.manifest.model import Manifest

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file with the line of each of its keys."""

    name: str
    data: Any
    lines: dict[Location, int] = field(default_factory=dict)

    def where(self, location: Location) -> str:
        """`prodkit.yaml:12 (budget.per_run)`; the nearest parent's line when the key itself is missing."""
        dotted = ".".join(str(part) for part in location)
        while location and location not in self.lines:
            location = location[:-1]
        line = self.lines.get(location, 1)
        return f"{self.name}:{line}" + (f" ({dotted})" if dotted else "")


def load(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ConfigError: `manifest.missing`, `manifest.yaml`, `manifest.unknown-key` or `manifest.invalid`; it names file
            and line of the first finding and lists the others.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "manifest.missing", "There is no manifest.", where=str(path), fix="write one with `prodkit init`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("manifest.unreadable", f"The manifest can't be read: {error}.", where=str(path)) from error
    return parse(text, path.name)


def parse(text: str, name: str = "prodkit.yaml") -> Manifest:
    """Check a manifest's text; `name` is how errors call the file."""
    document = read_document(text, name)
    if document.data is None:
        return Manifest()
    if not isinstance(document.data, dict):
        raise ConfigError("manifest.yaml", "The manifest isn't a mapping of sections.", where=f"{name}:1")
    try:
        return Manifest.model_validate(document.data)
    except ValidationError as error:
        raise _explain(error, document) from error


def read_document(text: str, name: str) -> Document:
    """Parse YAML with the safe loader and remember the line of each key. Duplicate keys are refused."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return Document(name, None)
        document = Document(name, None)
        _index(node, (), document)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            "manifest.yaml",
            f"The file isn't valid YAML: {error.problem}.",
            where=f"{name}:{line}",
            fix="check the indentation and the quotes on this line",
        ) from error
    return Document(name, data, document.lines)


def _index(node: yaml.Node, at: Location, document: Document) -> None:
    document.lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ConfigError(
                    "manifest.duplicate-key",
                    f"The key `{key.value}` appears twice; YAML would silently keep the last.",
                    where=f"{document.name}:{line}",
                    fix="keep one of the two",
                )
            seen.add(key.value)
            document.lines[(*at, key.value)] = line
            _index(value, (*at, key.value), document)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _index(value, (*at, position), document)


def _explain(error: ValidationError, document: Document) -> ConfigError:
    details = sorted(error.errors(), key=lambda detail: document.lines.get(_yaml_location(detail, document), 0))
    first, others = details[0], details[1:]
    code, what, fix = _describe(first)
    if others:
        more = "; ".join(f"{document.where(_yaml_location(d, document))} {_describe(d)[1]}" for d in others[:5])
        fix = f"{fix}. Also: {more}" if fix else f"also: {more}"
    return ConfigError(code, what, where=document.where(_yaml_location(first, document)), fix=fix)


def _describe(detail: ErrorDetails) -> tuple[str, str, str]:
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        return (
            "manifest.unknown-key",
            f"`{key}` is not a key of this section.",
            nearest(key, _known(detail["loc"][:-1])),
        )
    if detail["type"] == "missing":
        return "manifest.missing-key", f"The key `{key}` is missing.", f"add `{key}:`"
    return "manifest.invalid", f"`{key}` is wrong: {detail['msg'].removeprefix('Value error, ')}.", ""


def _yaml_location(detail: ErrorDetails, document: Document) -> Location:
    """Pydantic's location without the parts that name a branch of a union."""
    location: Location = ()
    for part in detail["loc"]:
        if (*location, part) in document.lines or part == detail["loc"][-1]:
            location = (*location, part)
    return location


def _known(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the model at this place."""
    model: Any = Manifest
    for part in location:
        annotation = model.model_fields[part].annotation if _is_model(model) and part in model.model_fields else model
        model = next((kind for kind in _unfold(annotation) if _is_model(kind)), model)
    return list(model.model_fields)


def _unfold(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [annotation] if not inner else [kind for part in inner for kind in _unfold(part)]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
