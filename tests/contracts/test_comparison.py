from __future__ import annotations

import pytest

from prodkit.contracts import Contract
from prodkit.contracts.comparison import compare

HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n    properties:\n"
BASE = "name: a, logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 9}"
TEXT = "name: a, logicalType: string, quality: [{metric: invalidValues, arguments: {validValues: [%s]}, mustBe: 0}]"


def version(*columns: str, tail: str = "") -> Contract:
    return Contract.from_yaml(HEAD + "".join(f"      - {{{column}}}\n" for column in columns) + tail)


CASES = {
    "nothing": (BASE, BASE, set()),
    "a description": (BASE, BASE + ", description: words", set()),
    "a wider range": (BASE, BASE.replace("9", "10"), {"readers"}),
    "a narrower range": (BASE, BASE.replace("9", "8"), {"writers"}),
    "a lower minimum": (BASE, BASE.replace("minimum: 0", "minimum: -1"), {"readers"}),
    "a higher minimum": (BASE, BASE.replace("minimum: 0", "minimum: 1"), {"writers"}),
    "a rule dropped": (BASE, "name: a, logicalType: integer", {"readers"}),
    "a rule added": ("name: a, logicalType: integer", BASE, {"writers"}),
    "required": (BASE, BASE + ", required: true", {"writers"}),
    "no longer required": (BASE + ", required: true", BASE, {"readers"}),
    "another type": ("name: a, logicalType: integer", "name: a, logicalType: string", {"readers", "writers"}),
    "a wider type": ("name: a, logicalType: integer", "name: a, logicalType: number", {"readers"}),
    "a narrower type": ("name: a, logicalType: number", "name: a, logicalType: integer", {"writers"}),
    "one value more": (TEXT % "x, y", TEXT % "x, y, z", {"readers"}),
    "one value less": (TEXT % "x, y", TEXT % "x", {"writers"}),
    "values in another order": (TEXT % "x, y", TEXT % "y, x", set()),
    "another value": (TEXT % "x, y", TEXT % "x, z", {"readers", "writers"}),
    "a warning": (TEXT % "x", (TEXT % "x").replace("mustBe: 0", "mustBe: 0, severity: warning"), {"readers"}),
    "hidden values": (BASE + ", classification: public", BASE + ", classification: secret", {"readers"}),
    "personal data": (BASE, BASE + ", tags: [pii]", set()),
}


@pytest.mark.parametrize("name", CASES)
def test_each_change_breaks_whom_it_breaks(name: str) -> None:
    """A loosened promise breaks its readers, a tightened demand its writers, the rest nobody."""
    old, new, sides = CASES[name]
    assert {side for change in compare(version(old), version(new)) for side in change.breaks} == sides


def test_columns_that_come_and_go() -> None:
    """A column that is gone breaks its readers; a new one its writers, unless it is optional."""
    other = "name: b"
    optional = "name: b, customProperties: [{property: optional, value: true}]"
    assert [change.breaks for change in compare(version(BASE, other), version(BASE))] == [("readers",)]
    assert [change.breaks for change in compare(version(BASE), version(BASE, other))] == [("writers",)]
    assert [change.breaks for change in compare(version(BASE), version(BASE, optional))] == [()]


def test_table_rules_count() -> None:
    """Rules over several columns and row counts are compared like the others; breaking changes come first."""
    tail = "    quality: [{metric: rowCount, mustBeGreaterThan: 0, id: some}]\n"
    changes = compare(version(BASE), version(BASE + ", tags: [pii]", tail=tail))
    assert [bool(change.breaks) for change in changes] == [True, False]
