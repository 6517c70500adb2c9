"""The RACI while somebody types: checked at each step, and written where it was changed."""

from __future__ import annotations

import difflib

import pytest
import yaml

from prodkit.errors import ProdkitError
from prodkit.ownership.editing import RaciDraft


@pytest.fixture
def draft(right) -> RaciDraft:
    return RaciDraft.from_text(right)


def codes(draft, today):
    return [violation.code for violation in draft.check(today)]


def test_a_second_a_is_found_while_typing_and_not_written(draft, today):
    """Two who answer for one activity are a violation at once; saving is refused and names the row."""
    assert codes(draft, today) == []
    two = draft.put("uptime", "ana", "A")
    assert codes(two, today) == ["owners.accountable"]
    with pytest.raises(ProdkitError, match="`uptime` needs exactly one A"):
        two.to_text()
    one = two.put("uptime", "ben", "")
    assert codes(one, today) == []
    assert one.letters("uptime", "ana") == "A"


def test_only_the_changed_row_is_written(draft, right):
    """One row of the file changes; comments, order and all other lines stay."""
    text = draft.put("uptime", "ana", "c").put("uptime", "science", "").to_text()
    changed = [line for line in difflib.ndiff(right.splitlines(), text.splitlines()) if line[0] in "+-"]
    assert changed == [
        "-     uptime: {R: [platform], A: ben, C: [science], I: []}",
        "+     uptime: {R: [platform], A: ben, C: [ana], I: []}",
    ]
    assert draft.to_text() == right
    assert draft.put("uptime", "ana", "C").put("uptime", "ana", "").changed == ()


def test_rows_and_people_are_added_and_taken_away(draft, today):
    """A row of one's own and a new person are written; a row without any letter goes."""
    grown = draft.add_activity("model card").add_person("dora", "Dora Lind", "dora@northwind.test")
    grown = grown.put("model_card", "dora", "RA").put("rollback", "platform", "").put("rollback", "ben", "")
    written = yaml.safe_load(grown.to_text())["owners"]
    assert written["raci"]["model_card"] == {"R": ["dora"], "A": "dora", "C": [], "I": []}
    assert written["people"]["dora"] == {"name": "Dora Lind", "email": "dora@northwind.test"}
    assert "rollback" not in written["raci"]
    assert "owners.activity" in codes(grown, today)


def test_an_empty_manifest_gets_its_owners(today):
    """From a manifest without owners the known activities are offered as empty rows, and the first one is written."""
    draft = RaciDraft.from_text("service: {name: x}\n# the end\n")
    assert "uptime" in draft.rows
    draft = draft.add_person("ana", "Ana", "ana@northwind.test").put("uptime", "ana", "RA")
    text = draft.to_text()
    assert yaml.safe_load(text)["owners"]["raci"] == {"uptime": {"R": ["ana"], "A": "ana", "C": [], "I": []}}
    assert "# the end" in text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda draft: draft.put("uptime", "ana", "X"), "owners.letters"),
        (lambda draft: draft.put("uptme", "ana", "A"), "owners.unknown-activity"),
        (lambda draft: draft.put("uptime", "anna", "A"), "owners.unknown-id"),
        (lambda draft: draft.add_activity("uptime"), "owners.activity-name"),
        (lambda draft: draft.add_activity(" "), "owners.activity-name"),
        (lambda draft: draft.add_person("ana", "Ana", "ana@x.test"), "owners.person"),
        (lambda draft: draft.add_person("dora", "Dora", "no address"), "owners.person"),
    ],
)
def test_what_cannot_be_typed_is_said(draft, change, code):
    """A letter, row, id or person that can't be is refused with its code, and the draft stays as it was."""
    with pytest.raises(ProdkitError) as refused:
        change(draft)
    assert refused.value.code == code
    assert draft.changed == ()
