"""Checks that somebody answers for everything, and says what to change where nobody does.

A rule is a small function of a `Case` that yields violations; their code is what a waiver names. A rule is added by
writing it in rules.py and putting it in `RULES`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from prodkit.ownership.rules import CODES, RULES, Case, Violation, is_placeholder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from prodkit.manifest.loading import Document
    from prodkit.manifest.model import Manifest, Waiver

__all__ = ["GRACE", "Violation", "check", "upcoming"]

GRACE = timedelta(days=14)
"""How long a running job lives on after a review or a waiver has run out; also how early it warns."""

LONGEST_WAIVER = timedelta(days=30)
NEVER_WAIVED = ("owners.nobody", "owners.accountable", "owners.unknown-id")


@dataclass(frozen=True, slots=True)
class _Deadline:
    what: str
    day: date


def check(
    manifest: Manifest, *, today: date, document: Document | None = None, start: bool = False
) -> tuple[Violation, ...]:
    """What is wrong with a manifest's ownership; export refuses while one of them isn't waived.

    Args:
        manifest: what to check.
        today: the day that `review_by` and waivers are compared with.
        document: the manifest's text with its lines, so that each violation says where.
        start: the check at a job's start: what runs out gets `GRACE`, so that no job dies at midnight.

    Returns:
        The violations in the order of the file; a waived one has `waiver` set and doesn't `block`.
    """
    case = Case(manifest, today - GRACE if start else today, document, today)
    found = [violation for rule in RULES for violation in rule(case)]
    found += _waiver_violations(case)
    waived = [_waive(violation, manifest.owners.waivers, case) for violation in found]
    return tuple(sorted(waived, key=lambda violation: (violation.line, violation.code)))


def upcoming(manifest: Manifest, *, today: date) -> tuple[str, ...]:
    """What runs out within `GRACE` or already has, one sentence each, for a job's warnings at its start."""
    owners = manifest.owners
    deadlines = [_Deadline(f"the waiver of {waiver.rule}", waiver.expires) for waiver in owners.waivers]
    if owners.review_by:
        deadlines.insert(0, _Deadline("the ownership review", owners.review_by))
    return tuple(_sentence(deadline, today) for deadline in deadlines if deadline.day - today <= GRACE)


def _sentence(deadline: _Deadline, today: date) -> str:
    days = (deadline.day - today).days
    left = (deadline.day + GRACE - today).days
    if days >= 0:
        return (
            f"{deadline.what.capitalize()} is due in {days} days, on {deadline.day}; look at `owners` in prodkit.yaml."
        )
    if left >= 0:
        return f"{deadline.what.capitalize()} was due on {deadline.day}; the job refuses to start in {left} days."
    return f"{deadline.what.capitalize()} was due on {deadline.day}; its grace is over."


def _waive(violation: Violation, waivers: tuple[Waiver, ...], case: Case) -> Violation:
    if violation.code in NEVER_WAIVED or violation.code.startswith("owners.waiver"):
        return violation
    for waiver in waivers:
        rule, _, place = waiver.rule.partition("@")
        if rule == violation.code and place in {"", violation.path} and waiver.expires >= case.today:
            return replace(violation, waiver=waiver)
    return violation


def _waiver_violations(case: Case) -> Iterator[Violation]:
    for position, waiver in enumerate(case.manifest.owners.waivers):
        at = ("owners", "waivers", position)
        code = waiver.rule.partition("@")[0]
        if code not in CODES:
            yield case.violation(
                "waiver-rule", f"There is no rule `{code}` to waive.", (*at, "rule"), case.near(code, CODES)
            )
        elif code in NEVER_WAIVED:
            yield case.violation(
                "waiver-rule",
                f"`{code}` can't be waived.",
                (*at, "rule"),
                "name somebody; nothing runs without an owner",
            )
        if is_placeholder(waiver.reason) or len(waiver.reason.strip()) < len("because"):
            yield case.violation(
                "waiver-reason", "The waiver gives no reason.", (*at, "reason"), "say why, for a reviewer"
            )
        if waiver.approver not in case.manifest.owners.people:
            yield case.violation(
                "waiver-approver",
                f"The waiver's approver `{waiver.approver}` is nobody in owners.people.",
                (*at, "approver"),
                case.near(waiver.approver, case.manifest.owners.people),
            )
        if waiver.expires < case.today:
            yield case.violation(
                "waiver-expired",
                f"The waiver ran out on {waiver.expires}.",
                (*at, "expires"),
                "fix what it waived, or renew it",
            )
        elif waiver.expires - case.now > LONGEST_WAIVER:
            yield case.violation(
                "waiver-long",
                f"The waiver lasts until {waiver.expires}, longer than {LONGEST_WAIVER.days} days.",
                (*at, "expires"),
                f"set `expires: {case.now + LONGEST_WAIVER}` or earlier",
            )
