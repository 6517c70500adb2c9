"""What changed between two versions of a contract, and whom it breaks.

A contract binds two sides. Readers rely on what it promises: a promise withdrawn or loosened breaks them. Writers must
keep it: a demand added or tightened breaks them. What does neither is compatible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prodkit.contracts.bounds import order_of, text_of
from prodkit.contracts.wording import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.contracts.contract import Contract
    from prodkit.contracts.rules import Column, Rule

Side = Literal["readers", "writers"]
BOTH: tuple[Side, ...] = ("readers", "writers")
READERS: tuple[Side, ...] = ("readers",)
WRITERS: tuple[Side, ...] = ("writers",)

# kinds whose argument may grow or shrink; the sign says in which direction the rule becomes stricter
_STRICTER = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), 1),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), -1),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        column: the column, empty for the table.
        what: one sentence.
        breaks: which sides it breaks; empty when it is compatible.
    """

    column: str
    what: str
    breaks: tuple[Side, ...] = ()


def compare(old: Contract, new: Contract) -> tuple[Change, ...]:
    """All differences, breaking ones first."""
    changes = [*_columns(old, new), *_rules("", old.table_rules, new.table_rules), *_table(old, new)]
    return tuple(sorted(changes, key=lambda change: (not change.breaks, change.column)))


def _columns(old: Contract, new: Contract) -> Iterator[Change]:
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    for name in before.keys() - after.keys():
        yield Change(name, "the column is gone", READERS + (WRITERS if new.closed else ()))
    for name in after.keys() - before.keys():
        column = after[name]
        yield Change(name, "the column is new", () if column.optional else WRITERS)
    for name in before.keys() & after.keys():
        yield from _rules(name, before[name].rules, after[name].rules)
        yield from _meaning(before[name], after[name])


def _meaning(old: Column, new: Column) -> Iterator[Change]:
    if old.optional != new.optional:
        what = "the column may be missing" if new.optional else "the column may no longer be missing"
        yield Change(old.name, what, READERS if new.optional else WRITERS)
    if old.classification != new.classification:
        what = f"the classification was {old.classification or 'open'}, now it is {new.classification or 'open'}"
        yield Change(old.name, what, READERS if old.public and not new.public else ())
    if old.pii != new.pii:
        yield Change(
            old.name, "the column now counts as personal data" if new.pii else "it no longer counts as personal data"
        )


def _rules(column: str, old: tuple[Rule, ...], new: tuple[Rule, ...]) -> Iterator[Change]:
    """Rules by their id. One of severity warning demands nothing, so it counts as none."""
    before = {rule.id: rule for rule in old if rule.severity == "error" and rule.kind != "unchecked"}
    after = {rule.id: rule for rule in new if rule.severity == "error" and rule.kind != "unchecked"}
    for key in before.keys() - after.keys():
        yield Change(column, f"no longer: {say(before[key])}", READERS)
    for key in after.keys() - before.keys():
        yield Change(column, f"new: {say(after[key])}", WRITERS)
    for key in before.keys() & after.keys():
        if _essence(before[key]) != _essence(after[key]):
            what = f"was: {say(before[key])}; now: {say(after[key])}"
            yield Change(column, what, _broken_sides(before[key], after[key]))


def _essence(rule: Rule) -> Any:
    argument = frozenset(map(str, rule.argument)) if rule.kind == "enum" else rule.argument
    return rule.kind, argument, rule.columns, rule.tolerance


def _broken_sides(old: Rule, new: Rule) -> tuple[Side, ...]:
    if old.kind != new.kind or old.tolerance != new.tolerance or old.columns != new.columns:
        return BOTH
    if old.kind == "enum":
        before, after = {str(text_of(value)) for value in old.argument}, {str(text_of(value)) for value in new.argument}
        return (READERS if after - before else ()) + (WRITERS if before - after else ())
    if old.kind == "type":
        return {("integer", "number"): READERS, ("number", "integer"): WRITERS}.get((old.argument, new.argument), BOTH)
    if old.kind in _STRICTER:
        grew = order_of(new.argument) > order_of(old.argument)
        return WRITERS if grew == (_STRICTER[old.kind] > 0) else READERS
    return BOTH


def _table(old: Contract, new: Contract) -> Iterator[Change]:
    if old.closed != new.closed:
        what = "columns beside the contract are refused" if new.closed else "columns beside the contract are allowed"
        yield Change("", what, WRITERS if new.closed else READERS)
    for label, before, after in (
        ("owner", old.owner, new.owner),
        ("retention", old.retention, new.retention),
        ("residency", old.residency, new.residency),
    ):
        if before != after:
            yield Change("", f"the {label} was {before or 'not said'}, now it is {after or 'not said'}")
