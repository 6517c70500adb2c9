"""A contract while somebody changes its rules: what is typed is checked, and what isn't meant stays."""

from __future__ import annotations

import difflib

import pandas as pd
import pytest
import yaml

from prodkit.contracts import infer
from prodkit.contracts.editing import ContractDraft
from prodkit.errors import ProdkitError


@pytest.fixture
def tickets(repository) -> ContractDraft:
    return ContractDraft((repository / "contracts" / "tickets.odcs.yaml").read_text(), "tickets.odcs.yaml")


def changes(before: ContractDraft, after: ContractDraft) -> list[str]:
    lines = difflib.ndiff(before.text.splitlines(), after.text.splitlines())
    return [line.strip() for line in lines if line[0] in "+-"]


def view(draft: ContractDraft, rule_id: str):
    return next((rule for rule in draft.rules if rule.id == rule_id), None)


def test_rules_are_listed_with_value_and_whether_they_can_be_changed(tickets):
    """Each rule says its value in a form that can be typed; what follows from a type or a key isn't offered."""
    assert view(tickets, "channel.enum").value == "email, chat, phone, web"
    assert view(tickets, "ticket_id.pattern").editable
    assert not view(tickets, "ticket_id.type").place
    assert {rule.id for rule in tickets.rules} == {rule.id for rule in tickets.contract.rules}
    assert "minimum" in tickets.columns["amount_eur"]
    assert "minimum" not in tickets.columns["body"]


def test_a_changed_value_changes_one_line(tickets):
    """Editing a pattern, a bound or an enumeration touches that line alone; the rest of the file is byte for byte."""
    assert changes(tickets, tickets.put("ticket_id", "pattern", r"^T-\d{6}$")) == [
        r"-           pattern: '^T-\d{5,6}$'",
        r"+           pattern: '^T-\d{6}$'",
    ]
    changed = tickets.put("channel", "enum", "email, chat, phone, web, letter")
    assert changes(tickets, changed) == [
        "-               validValues: [email, chat, phone, web]",
        "+               validValues: [email, chat, phone, web, letter]",
    ]
    assert view(changed, "channel.enum").value == "email, chat, phone, web, letter"


@pytest.mark.parametrize(
    ("column", "kind", "value", "rule", "shown"),
    [
        ("amount_eur", "maximum", "5000", "amount_eur.maximum", "5000"),
        ("body", "maxLength", "4000", "body.maxLength", "4000"),
        ("subject", "enum", '["a, b", "c"]', "subject.enum", '["a, b", "c"]'),
        ("subject", "enum", "yes, no, 10:20, 012", "subject.enum", "yes, no, 10:20, 012"),
        ("subject", "required", "", "subject.required", ""),
        ("body", "unique", "", "body.unique", ""),
        ("created_at", "maximum", "2030-01-01T00:00:00", "created_at.maximum", "2030-01-01 00:00:00"),
    ],
)
def test_a_rule_is_added_and_taken_out_again(tickets, column, kind, value, rule, shown):
    """Every kind of rule can be added by typing; taken out again, the contract promises what it did before."""
    added = tickets.put(column, kind, value)
    assert view(added, rule).value == shown
    before = {one.id for one in tickets.rules}
    assert {one.id for one in added.remove(rule).rules} == before - {rule}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda draft: draft.put("chanel", "enum", "a"), "contract.unknown-column"),
        (lambda draft: draft.put("body", "minimum", "1"), "contract.unknown-rule"),
        (lambda draft: draft.put("body", "maxLength", "many"), "contract.bad-value"),
        (lambda draft: draft.put("body", "maxLength", " "), "contract.no-value"),
        (lambda draft: draft.put("body", "maxLength", "1").put("body", "minLength", "2"), "contract.contradiction"),
        (lambda draft: draft.put("ticket_id", "pattern", "("), "contract.invalid"),
        (lambda draft: draft.remove("ticket_id.type"), "contract.derived"),
        (lambda draft: draft.remove("body.nothing"), "contract.unknown-rule"),
        (lambda draft: draft.weigh("channel.enum", "bad"), "contract.bad-value"),
        (lambda draft: draft.weigh("channel.required", "warning"), "contract.derived"),
    ],
)
def test_what_cannot_hold_is_refused(tickets, change, code):
    """A wrong column, value or contradiction is one clear error, and the draft is as it was."""
    text = tickets.text
    with pytest.raises(ProdkitError) as refused:
        change(tickets)
    assert refused.value.code == code
    assert tickets.text == text


def test_evidence_of_a_draft_is_shown_and_honest_after_a_change():
    """A drafted rule shows what it rests on; changed by hand it says so, taken out its evidence goes too."""
    frame = pd.DataFrame({"code": [f"A{number:03}" for number in range(200)], "size": range(200)})
    draft = ContractDraft(infer(frame, "parts").to_yaml())
    rule = next(rule for rule in draft.rules if rule.column == "size" and rule.kind == "minimum")
    assert rule.evidence
    assert view(draft.put("size", "minimum", "-5"), rule.id).evidence.startswith("set by hand on ")
    gone = yaml.safe_load(draft.remove(rule.id).text)["schema"][0]["properties"][1]
    told = {one["property"]: one["value"] for one in gone.get("customProperties", ())}
    assert "minimum" not in told.get("evidence", {})


def test_a_warning_becomes_an_error(tickets):
    """A rule under `quality` is weighed anew, and the check follows."""
    soft = tickets.weigh("channel.enum", "warning")
    assert view(soft, "channel.enum").severity == "warning"
    frame = pd.DataFrame({"channel": ["fax"]}, dtype="string").reindex(columns=list(tickets.columns))
    found = {one.rule: one.severity for one in soft.test(frame).findings}
    assert found["channel.enum"] == "warning"


NESTED = """apiVersion: v3.1.0
kind: DataContract
id: n
version: 1.0.0
status: active
schema:
  - name: other
    properties: [{name: a, logicalType: string}]
  - name: people
    quality:
      - {type: library, metric: rowCount, mustBeGreaterThan: 0}
    properties:
      - name: address
        logicalType: object
        properties:
          - {name: city, logicalType: string}   # where
      - name: tags
        logicalType: array
        items: {logicalType: string}
"""


def test_fields_items_and_the_right_table(tmp_path):
    """A field inside an object, the items of an array and a rule of the table are reached in the table that is meant."""
    draft = ContractDraft(NESTED, table="people")
    grown = draft.put("address.city", "maxLength", "40").put("tags[]", "enum", "a, b")
    assert {"address.city.maxLength", "tags[].enum", "rowCount"} <= {rule.id for rule in grown.rules}
    assert "# where" in grown.text
    assert "rowCount" not in {rule.id for rule in grown.remove("rowCount").rules}
    assert yaml.safe_load(grown.text)["schema"][0] == yaml.safe_load(NESTED)["schema"][0]
