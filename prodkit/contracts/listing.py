"""A contract as people read it: its rules in words, each with the evidence that a draft rests on."""

from __future__ import annotations

import html as markup
from typing import TYPE_CHECKING, NamedTuple

from prodkit.contracts.wording import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.contracts.contract import Contract

_HEADS = ("Column", "Rule", "What", "Rests on")
_STYLE = (
    "border-collapse:collapse;color:inherit;background:transparent;font-size:.93em;text-align:left;vertical-align:top"
)
_CELL = "text-align:left;vertical-align:top;padding:.25em .7em;color:inherit;background:transparent"


class Line(NamedTuple):
    """One rule of a contract, as the listings show it."""

    column: str
    rule: str
    what: str
    evidence: str


def lines(contract: Contract) -> Iterator[Line]:
    """The rules in the contract's order: those of the columns, then those over several columns."""
    for column in contract.columns:
        evidence = dict(column.evidence)
        for rule in column.rules:
            yield Line(column.name, rule.kind, say(rule), evidence.get(rule.kind, ""))
    for rule in contract.table_rules:
        yield Line("(rows)", rule.name or rule.kind, say(rule), "")


def text(contract: Contract) -> str:
    """The listing for a terminal."""
    listed = list(lines(contract))
    widths = [max((len(line[place]) for line in listed), default=0) for place in range(2)]
    rows = [
        f"  {line.column.ljust(widths[0])}  {line.rule.ljust(widths[1])}  {line.what}"
        + (f"  ({line.evidence})" if line.evidence else "")
        for line in listed
    ]
    return "\n".join([repr(contract), *rows])


def html(contract: Contract) -> str:
    """The listing as an HTML fragment without scripts or style sheets, as GitHub keeps it."""
    listed = list(lines(contract))
    heads = _HEADS if any(line.evidence for line in listed) else _HEADS[:-1]
    head = "".join(f'<th scope="col" style="{_CELL}">{name}</th>' for name in heads)
    rows = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{markup.escape(cell)}</td>' for cell in line[: len(heads)]) + "</tr>"
        for line in listed
    )
    name = markup.escape(f"{contract.name} {contract.version}".strip())
    return (
        f'<table style="{_STYLE}"><caption style="text-align:left;color:inherit">Data contract {name}: '
        f"{len(contract.columns)} columns, {len(contract.rules)} rules</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
