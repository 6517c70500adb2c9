"""A contract while somebody changes its rules: read again after each step, written without touching other lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prodkit.contracts.contract import Contract
from prodkit.contracts.rules import OPTIONS, Column, Rule
from prodkit.errors import ParameterError, nearest
from prodkit.manifest.editing import edit_yaml
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.contracts.validation import Validation

_FLAGS = ("required", "unique", "uniqueItems", "timezone")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_ANY = ("required", "unique", "enum")  # fit every type
_OFFERED = (*_ANY, *(name for name in OPTIONS if name not in {"required", "defaultTimezone"}))
_SEVERITIES = ("error", "warning")


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as a person reads it. `place` says where it stands; without one it follows from something else."""

    id: str
    column: str
    kind: str
    value: str
    severity: str
    evidence: str = ""
    place: str = ""  # "flag", "option", "quality" or ""
    editable: bool = False  # its value can be typed anew


@dataclass(frozen=True)
class ContractDraft:
    """A contract's text with changes that aren't written yet. Each change gives a new draft.

    Attributes:
        text: the file's text with the changes.
        name: how errors call the file.
        table: the table's name, when the file describes several.
    """

    text: str
    name: str = "contract.yaml"
    table: str = ""

    @cached_property
    def contract(self) -> Contract:
        """The contract that the text describes.

        Raises:
            ConfigError: `contract.*`.
        """
        return Contract.from_yaml(self.text, name=self.name, table=self.table)

    @cached_property
    def rules(self) -> tuple[RuleView, ...]:
        """All rules in the file's order, each with what it rests on."""
        views = [view for column in self.contract.columns for view in _views(column)]
        places = dict(_quality_of(self._plain_table))
        views += [_view(rule, "", "quality" if rule.id in places else "") for rule in self.contract.table_rules]
        return tuple(views)

    @cached_property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """Column, or dotted field -> the rules that it can have."""
        return {
            path: tuple(kind for kind in _OFFERED if kind in _ANY or column.logical_type in OPTIONS[kind])
            for top in self.contract.columns
            for path, column in _walk(top, "")
        }

    def put(self, column: str, kind: str, value: str = "") -> ContractDraft:
        """Add a rule, or give one another value.

        Args:
            column: the column's name, dotted for a field.
            kind: one of `columns[column]`.
            value: as typed: a number, a pattern, a date; for `enum` the values, separated by commas or as JSON.

        Raises:
            ParameterError: `contract.unknown-column`, `contract.unknown-rule`, `contract.no-value` or
                `contract.bad-value`.
            ConfigError: the contract would contradict itself; the draft stays as it was.
        """
        if column not in self.columns:
            fix = nearest(column, self.columns)
            raise ParameterError("contract.unknown-column", f"There is no column `{column}`.", where=self.name, fix=fix)
        if kind not in self.columns[column]:
            fix = nearest(kind, self.columns[column])
            raise ParameterError("contract.unknown-rule", f"`{column}` can't have `{kind}`.", where=self.name, fix=fix)
        typed = _typed(kind, value, self._logical(column), f"{column}.{kind}")
        return self._changed(column, lambda prop: _put(prop, kind, typed), f"{kind}: set by hand on {now().date()}")

    def remove(self, rule_id: str) -> ContractDraft:
        """Take a rule out.

        Raises:
            ParameterError: `contract.unknown-rule`; `contract.derived`, when it follows from something else.
        """
        view = self._rule(rule_id)
        if not view.place:
            what = f"`{rule_id}` follows from the column's type or from its being a key."
            raise ParameterError("contract.derived", what, where=self.name, fix="change that in the file itself")
        label = view.id.removeprefix(f"{view.column}.")
        return self._changed(view.column, lambda prop: _remove(prop, view, label), f"{label}: ")

    def weigh(self, rule_id: str, severity: str) -> ContractDraft:
        """Make a rule an error or a warning; the standard lets rules under `quality` only be weighed.

        Raises:
            ParameterError: `contract.unknown-rule`, `contract.bad-value`, `contract.derived`.
        """
        view = self._rule(rule_id)
        if severity not in _SEVERITIES:
            raise ParameterError(
                "contract.bad-value", f"`{severity}` is no severity.", fix=nearest(severity, _SEVERITIES)
            )
        if view.place != "quality":
            what = f"`{rule_id}` is always an error: it doesn't stand under `quality`."
            raise ParameterError("contract.derived", what, where=self.name, fix="take it out instead")
        label = view.id.removeprefix(f"{view.column}.").removeprefix(".")

        def change(prop: Any) -> None:
            dict(_quality_of(prop))[label]["severity"] = severity

        return self._changed(view.column, change, "")

    def test(self, frame: Any) -> Validation:
        """Check a frame against the contract as it is now; nothing is set aside.

        Raises:
            DataError: the frame lacks a column, or is none.
        """
        from prodkit.contracts.checking import examine

        return examine(frame, self.contract, "warn")

    def _rule(self, rule_id: str) -> RuleView:
        found = next((view for view in self.rules if view.id == rule_id), None)
        if found is None:
            fix = nearest(rule_id, [view.id for view in self.rules])
            raise ParameterError("contract.unknown-rule", f"There is no rule `{rule_id}`.", where=self.name, fix=fix)
        return found

    def _logical(self, path: str) -> str:
        return next(c.logical_type for top in self.contract.columns for name, c in _walk(top, "") if name == path)

    @property
    def _plain_table(self) -> Any:
        return self.contract.table.model_dump(exclude_none=True, by_alias=True, mode="json")

    def _changed(self, column: str, change: Callable[[Any], None], evidence: str) -> ContractDraft:
        """A draft with one column changed; made only when the contract still holds together."""
        table = self.contract.table.name or ""

        def edit(data: Any) -> None:
            tables = data["schema"]
            here = next((one for one in tables if one.get("name") == table), tables[0])
            prop = _property(here, column) if column else here
            change(prop)
            _note(prop, evidence)

        made = replace(self, text=edit_yaml(self.text, edit))
        _ = made.contract
        return made


def _walk(column: Column, prefix: str) -> Iterator[tuple[str, Column]]:
    path = f"{prefix}{column.name}"
    yield path, column
    for inner in column.fields:
        yield from _walk(inner, path if inner.name == "[]" else f"{path}.")


def _views(column: Column) -> list[RuleView]:
    views = []
    evidence = dict(column.evidence)
    inner = {id(rule) for field in column.fields for rule in field.rules}
    for rule in column.rules:
        if id(rule) in inner:
            continue
        views.append(_view(rule, evidence.get(rule.name or rule.kind, ""), _place(rule, column)))
    return views + [view for field in column.fields for view in _views(field)]


def _place(rule: Rule, column: Column) -> str:
    if rule.name or rule.kind == "unchecked":
        return "quality"
    if rule.kind in {"type", "width"}:
        return ""
    if rule.kind in {"required", "unique"}:
        return "flag"
    return "option" if rule.kind in OPTIONS and column.logical_type in OPTIONS[rule.kind] else "quality"


def _view(rule: Rule, evidence: str, place: str) -> RuleView:
    return RuleView(
        id=rule.id,
        column=rule.column,
        kind=rule.kind,
        value=_text(rule),
        severity=rule.severity,
        evidence=evidence or rule.description,
        place=place,
        editable=rule.kind in _OFFERED
        and rule.kind not in _FLAGS
        and place in {"option", "quality"}
        and not rule.tolerance,
    )


def _text(rule: Rule) -> str:
    if rule.kind == "enum":
        texts = [str(value) for value in rule.argument]
        plain = not any("," in text or text != text.strip() or not text for text in texts)
        return ", ".join(texts) if plain else json.dumps(list(rule.argument), ensure_ascii=False, default=str)
    if isinstance(rule.argument, dict):  # a check of pandera's
        return ", ".join(f"{key} {value}" if key != "check" else str(value) for key, value in rule.argument.items())
    argument = "" if rule.argument is None else str(getattr(rule.argument, "text", rule.argument))
    said = ", ".join(rule.columns) or argument
    return f"{said} ({rule.tolerance.text} may fail)".strip() if rule.tolerance else said


def _typed(kind: str, value: str, logical: str, where: str) -> Any:
    text = value.strip()
    if kind in _FLAGS:
        return True
    if not text:
        raise ParameterError(
            "contract.no-value", f"`{kind}` needs a value.", where=where, fix="type what it compares with"
        )
    try:
        if kind == "enum":
            listed = json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",")]
            return [_scalar(one, logical) for one in listed if one != ""]
        if kind in _COUNTS:
            return int(text)
        return _scalar(text, logical) if kind not in {"pattern", "format"} else text
    except ValueError:
        what = f"`{text[:40]}` is no value of `{kind}`." if kind != "enum" else "The values can't be read."
        fix = f"type a {'whole number' if kind in _COUNTS else logical or 'text'}"
        raise ParameterError("contract.bad-value", what, where=where, fix=fix) from None


def _scalar(value: Any, logical: str) -> Any:
    if not isinstance(value, str):
        return value
    if logical == "integer":
        return int(value)
    if logical == "number":
        number = float(value)
        return int(number) if number.is_integer() and "." not in value else number
    if logical == "boolean":
        words = {"true": True, "false": False}
        if value.lower() not in words:
            raise ValueError(value)
        return words[value.lower()]
    return value


def _property(table: Any, path: str) -> Any:
    """The part of the document that describes a column or a dotted field."""
    for prop in table.get("properties") or ():
        name = prop["name"]
        if name == path:
            return prop
        if path.startswith(f"{name}[]"):
            rest = path.removeprefix(f"{name}[]").removeprefix(".")
            return _property(prop["items"], rest) if rest else prop["items"]
        if path.startswith(f"{name}.") and (found := _property(prop, path.removeprefix(f"{name}."))) is not None:
            return found
    return None


def _quality_of(part: Any) -> list[tuple[str, Any]]:
    """(what the rule is called, its entry) for each entry under `quality`."""
    kinds = {"nullValues": "required", "missingValues": "missing", "duplicateValues": "unique", "rowCount": "rowCount"}
    named = []
    for entry in part.get("quality") or ():
        invalid = "pattern" if "pattern" in (entry.get("arguments") or {}) else "enum"
        kind = kinds.get(entry.get("metric", ""), invalid)
        named.append((str(entry.get("id") or entry.get("name") or kind), entry))
    return named


def _put(prop: Any, kind: str, value: Any) -> None:
    if kind in {"required", "unique"}:
        prop[kind] = value
        return
    entry = next((one for name, one in _quality_of(prop) if name == kind), None)
    if kind == "enum" and entry is None:
        added = {
            "type": "library",
            "id": "enum",
            "metric": "invalidValues",
            "arguments": {"validValues": _listed(value)},
            "mustBe": 0,
        }
        prop.setdefault("quality", []).append(added)
    elif kind == "enum" and entry is not None:
        entry["arguments"]["validValues"] = _listed(value, entry["arguments"].get("validValues"))
    elif kind == "pattern" and entry is not None and "pattern" not in (prop.get("logicalTypeOptions") or {}):
        entry["arguments"]["pattern"] = value
    else:
        prop.setdefault("logicalTypeOptions", {})[kind] = value


def _listed(values: list[Any], old: Any = None) -> Any:
    """A list on one line, unless the one in its place has a line for each value."""
    from ruamel.yaml.comments import CommentedSeq

    made = CommentedSeq(values)
    if old is None or old.fa.flow_style():
        made.fa.set_flow_style()
    return made


def _remove(prop: Any, view: RuleView, label: str) -> None:
    label = label.removeprefix(".")
    if view.place == "flag":
        entry = next((one for name, one in _quality_of(prop) if name == label), None)
        if prop.get(label) or entry is None:
            prop[label] = False
            return
    if view.place == "option":
        del prop["logicalTypeOptions"][view.kind]
        if not prop["logicalTypeOptions"]:
            del prop["logicalTypeOptions"]
        return
    kept = [one for name, one in _quality_of(prop) if name != label]
    if kept:
        for position in reversed([i for i, (name, _) in enumerate(_quality_of(prop)) if name == label]):
            del prop["quality"][position]
    else:
        del prop["quality"]


def _note(prop: Any, evidence: str) -> None:
    """What a drafted rule rested on holds no more once a person has changed it."""
    kind, _, why = evidence.partition(": ")
    said = next((one["value"] for one in prop.get("customProperties") or () if one.get("property") == "evidence"), None)
    if not kind or not isinstance(said, dict):
        return
    if why:
        said[kind] = why
    else:
        said.pop(kind, None)
