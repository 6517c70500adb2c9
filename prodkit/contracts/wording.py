"""Rules in words, for reports. Bounds and values come from the contract, never from the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.contracts.bounds import text_of

if TYPE_CHECKING:
    from prodkit.contracts.rules import Rule

_WORDS = {
    "type": "must be of type {0}",
    "required": "must not be empty",
    "missing": "must not be empty or a placeholder",
    "unique": "must not repeat an earlier row's",
    "enum": "must be one of: {0}",
    "pattern": "must match {0}",
    "format": "must be written as {0}",
    "minimum": "must be at least {0}",
    "maximum": "must be at most {0}",
    "exclusiveMinimum": "must be more than {0}",
    "exclusiveMaximum": "must be less than {0}",
    "multipleOf": "must be a multiple of {0}",
    "width": "must fit {0}",
    "minLength": "must have at least {0} characters",
    "maxLength": "must have at most {0} characters",
    "minItems": "must have at least {0} items",
    "maxItems": "must have at most {0} items",
    "uniqueItems": "must not hold an item twice",
    "minProperties": "must have at least {0} fields filled",
    "maxProperties": "must have at most {0} fields filled",
    "pandera": "must pass {0}",
}
_MOST_VALUES = 12


def say(rule: Rule) -> str:
    """`must be one of: email, chat`; the contract's own description goes first when it has one."""
    if rule.description:
        return rule.description
    if rule.kind == "uniqueTogether":
        return f"{', '.join(rule.columns)} together must not repeat an earlier row's"
    if rule.kind == "sql" and rule.tolerance is not None:
        return f"the query must give {rule.tolerance.text}"
    if rule.kind == "timezone":
        return "must have a time zone" if rule.argument else "must not have a time zone"
    return _WORDS.get(rule.kind, rule.kind).format(_argument(rule.kind, rule.argument))


def _argument(kind: str, argument: Any) -> str:
    if kind == "pandera":
        rest = ", ".join(f"{key}={value}" for key, value in argument.items() if key != "check")
        return f"{argument['check']}({rest})"
    if isinstance(argument, tuple):
        listed = ", ".join(str(text_of(value)) for value in argument[:_MOST_VALUES])
        return listed + (f" and {len(argument) - _MOST_VALUES} more" if len(argument) > _MOST_VALUES else "")
    return str(text_of(argument))
