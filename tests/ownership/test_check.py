"""Forty-odd ways in which nobody answers for something: each is refused, with the line and what to change."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.manifest import parse
from prodkit.ownership import check, upcoming
from prodkit.ownership.rules import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

GONE = object()
RACI = "owners.raci."
PEOPLE = "owners.people."

WRONG: list[tuple[str, Any, str]] = [
    ("owners.raci", {}, "nobody"),
    (RACI + "uptime", GONE, "activity"),
    (RACI + "rollback", GONE, "activity"),
    (RACI + "retirement", GONE, "activity"),
    (RACI + "uptime", {"A": "ben"}, "responsible"),
    (RACI + "uptime.R", [], "responsible"),
    (RACI + "uptime", {"R": ["platform"]}, "accountable"),
    (RACI + "uptime.A", [], "accountable"),
    (RACI + "uptime.A", "", "accountable"),
    (RACI + "uptime.A", ["ben", "ana"], "accountable"),
    (RACI + "uptime.A", ["ben", "ben"], "accountable"),
    ("owners.teams.science.lead", GONE, "accountable-team"),
    ("owners.teams.science.lead", "zoe", "accountable-team"),
    (RACI + "uptime.A", "benn", "unknown-id"),
    (RACI + "uptime.R", ["platfrom"], "unknown-id"),
    (RACI + "uptime.C", ["zoe"], "unknown-id"),
    (RACI + "uptime.I", ["zoe"], "unknown-id"),
    (PEOPLE + "ana.backup", "zoe", "unknown-id"),
    ("owners.teams.platform.members", ["zoe"], "unknown-id"),
    ("owners.escalation", ["ben", "zoe"], "unknown-id"),
    ("data_sources.tickets.owner", "zoe", "unknown-id"),
    ("compliance.oversight", "zoe", "unknown-id"),
    (RACI + "uptime.A", "Ben Okafor", "malformed-id"),
    (RACI + "uptime.R", ["ben@northwind.test"], "malformed-id"),
    (RACI + "uptime.C", ["@ana"], "malformed-id"),
    (PEOPLE + "ana.backup", "platform", "person-needed"),
    ("compliance.oversight", "science", "person-needed"),
    (PEOPLE + "ana.name", "TBD", "placeholder"),
    (PEOPLE + "ana.name", "your name", "placeholder"),
    (PEOPLE + "ana.email", "ana@example.com", "placeholder"),
    (PEOPLE + "ana.email", "changeme", "placeholder"),
    (PEOPLE + "ana.pager", "https://pager.example.org/x", "placeholder"),
    (PEOPLE + "ana.chat", "?", "placeholder"),
    ("owners.teams.science.chat", "todo", "placeholder"),
    ("runbook", "TODO", "placeholder"),
    (PEOPLE + "ana.email", "ana at northwind", "email"),
    (PEOPLE + "ana.email", "ana@northwind", "email"),
    (PEOPLE + "ana.email", "Ben@northwind.test", "same-address"),
    (PEOPLE + "ana.backup", "ana", "backup-self"),
    (PEOPLE + "ana.backup", "", "backup"),
    (PEOPLE + "chloe.backup", "", "same-person"),
    ("owners.escalation", [], "escalation"),
    ("owners.escalation", ["ben", "ana", "ben"], "escalation"),
    ("alerts.0.activity", "latency", "alert-activity"),
    ("alerts.0.activity", "", "alert-activity"),
    ("alerts", [{"name": "a", "metric": "m", "threshold": 1, "activity": "uptime"}] * 2, "alert-name"),
    (PEOPLE + "ben", {"name": "Ben Okafor", "email": "ben@northwind.test", "backup": "ana"}, "alert-route"),
    (PEOPLE + "ben.pager", "", "pager"),
    ("owners.review_by", None, "review"),
    ("owners.review_by", date(2026, 11, 22), "review-past"),
    ("owners.review_by", date(2027, 5, 23), "review-far"),
    ("data_sources.tickets.owner", "", "data-owner"),
    ("kill_switch", "", "kill-switch"),
    ("budget", {}, "budget"),
    ("slo", [], "slo"),
]


def test_the_right_manifest_is_right(checked: Callable[..., Any]):
    """The manifest that the others are made from breaks no rule."""
    assert checked() == ()


@pytest.mark.parametrize(("place", "value", "kind"), WRONG)
def test_each_wrong_manifest_is_refused(checked: Callable[..., Any], place: str, value: Any, kind: str):
    """A manifest that is wrong in one place is refused by the rule for it, with its line and a fix."""
    violations = checked(place) if value is GONE else checked(place, value)
    found = [violation for violation in violations if violation.code == f"owners.{kind}"]
    assert found, [violation.code for violation in violations]
    assert all(violation.blocks and violation.fix and violation.line > 0 for violation in found)
    assert found[0].where.startswith("prodkit.yaml:")


def test_every_rule_has_a_wrong_manifest():
    """No rule is untested: each code stands in the list above, or in a test of its own below."""
    assert {f"owners.{kind}" for _, _, kind in WRONG} | {"owners.team-empty"} == CODES


def test_a_team_without_people_is_refused(right: str, today: date):
    """A team that has a role and nobody in it is refused."""
    text = right.replace("members: [ben]}", "members: [ben]}\n    ghosts: {name: Ghosts}").replace(
        "C: [science], I: []", "C: [ghosts]"
    )
    assert [violation.code for violation in check(parse(text), today=today)] == ["owners.team-empty"]


def test_the_line_is_the_line(right: str, today: date):
    """A violation's line is the line that has to be changed."""
    from prodkit.manifest.loading import read_document

    text = right.replace("A: ben, C: [science]", "A: benn, C: [science]")
    (violation,) = check(parse(text), today=today, document=read_document(text, "prodkit.yaml"))
    assert "benn" in text.split("\n")[violation.line - 1]
    assert "did you mean `ben`?" in violation.fix


def test_a_default_row_covers_every_activity(today: date):
    """`default` stands for each activity that has no row of its own."""
    text = """\
owners:
  people: {ana: {name: Ana Ruiz, email: ana@northwind.test}}
  raci: {default: {R: [ana], A: ana}}
  escalation: [ana]
  review_by: 2027-01-01
"""
    assert check(parse(text), today=today) == ()


def test_less_depends_on_a_job_that_is_not_critical(right: str, today: date):
    """Backups, pagers, budget and kill switch are demanded of critical jobs only."""
    text = (
        right.replace("tier: critical", "tier: medium")
        .replace("kill_switch: .prodkit/STOP\n", "")
        .replace(", backup: ana}", "}")
    )
    assert check(parse(text), today=today) == ()


def waived(right: str, **given: str) -> str:
    waiver = {
        "rule": "owners.kill-switch",
        "reason": "comes with the next release",
        "approver": "chloe",
        "expires": "2026-12-10",
    } | given
    listed = ", ".join(f"{key}: {value}" for key, value in waiver.items())
    text = right.replace("kill_switch: .prodkit/STOP\n", "")
    return text.replace("  review_by:", f"  waivers:\n    - {{{listed}}}\n  review_by:")


def test_a_waiver_holds_and_is_shown(right: str, today: date):
    """A waived violation stays visible, with who approved it, and doesn't block."""
    (violation,) = check(parse(waived(right)), today=today)
    assert violation.code == "owners.kill-switch"
    assert not violation.blocks
    assert violation.waiver is not None
    assert violation.waiver.approver == "chloe"


def test_a_waiver_can_be_for_one_place(right: str, today: date):
    """`code@path` waives a rule in one place only."""
    (violation,) = check(parse(waived(right, rule="owners.kill-switch@kill_switch")), today=today)
    assert not violation.blocks
    (other,) = check(parse(waived(right, rule="owners.kill-switch@elsewhere")), today=today)
    assert other.blocks


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"rule": "owners.kill-swich"}, "owners.waiver-rule"),
        ({"rule": "owners.accountable"}, "owners.waiver-rule"),
        ({"reason": "TBD"}, "owners.waiver-reason"),
        ({"reason": "''"}, "owners.waiver-reason"),
        ({"approver": "zoe"}, "owners.waiver-approver"),
        ({"approver": "platform"}, "owners.waiver-approver"),
        ({"expires": "2026-11-22"}, "owners.waiver-expired"),
        ({"expires": "2026-12-24"}, "owners.waiver-long"),
    ],
)
def test_a_bad_waiver_is_refused(right: str, today: date, given: dict[str, str], code: str):
    """A waiver without a real rule, reason, approver or a near end is itself a violation, and can't be waived."""
    blocking = [violation.code for violation in check(parse(waived(right, **given)), today=today) if violation.blocks]
    assert code in blocking


def test_expiry_has_a_grace_at_the_start_of_a_job(checked: Callable[..., Any], today: date):
    """A running job warns two weeks before a review is due, lives on for two weeks after it, and then refuses."""
    review = date(2026, 12, 1)
    manifest_of = {"place": "owners.review_by", "value": review}
    for days, blocks in ((0, False), (14, False), (15, True)):
        day = review + timedelta(days=days)
        assert bool(checked(**manifest_of, today=day, start=True)) is blocks
    assert checked(**manifest_of, today=review + timedelta(days=1)) != ()


@pytest.mark.parametrize(
    ("days", "says"),
    [
        (-15, None),
        (-14, "is due in 14 days"),
        (0, "is due in 0 days"),
        (3, "refuses to start in 11 days"),
        (15, "grace is over"),
    ],
)
def test_a_job_warns_before_the_review(right: str, days: int, says: str | None):
    """The warning begins fourteen days before the review and says what happens when."""
    notices = upcoming(parse(right), today=date(2027, 3, 1) + timedelta(days=days))
    assert bool(notices) is (says is not None)
    if says:
        assert says in notices[0]


@pytest.mark.parametrize("name", ["Li Na", "Nona Tbilisi", "Jo Todorov", "Ana-Lena Example-Schmidt", "李娜"])
def test_real_names_are_no_placeholders(checked: Callable[..., Any], name: str):
    """A person's real name isn't taken for something to be filled in."""
    assert checked("owners.people.ana.name", name) == ()
