"""The rules of ownership. Each is a few lines, and says what to change."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from prodkit.errors import nearest
from prodkit.ownership.places import references_of, texts_of
from prodkit.ownership.roles import ACTIVITIES, DEFAULT, matrix, people_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import date

    from prodkit.manifest.loading import Document, Location
    from prodkit.manifest.model import Manifest, Person, Team, Waiver

LONGEST_REVIEW = timedelta(days=180)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_EMAIL = re.compile(r"[^@\s]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_PLACEHOLDER = re.compile(
    r"\b(tbd|tba|todo|fixme|xxx+|n/a|none|nobody|unknown|change[ _-]?me|your[ _-]?name|placeholder|somebody|someone)\b"
    r"|(^|[@./])(example|invalid|localhost)(\.[a-z]+)?$|[@./]example\.|^\W*$",
    re.IGNORECASE,
)
_PAGED = ("uptime", "latency_page", "incident")


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that the manifest breaks. `path` is the dotted key, `where` file, line and key."""

    code: str
    what: str
    where: str
    fix: str
    path: str = ""
    line: int = 0
    waiver: Waiver | None = None

    @property
    def blocks(self) -> bool:
        """Whether export refuses because of it."""
        return self.waiver is None

    def __str__(self) -> str:
        return f"[{self.code}] {self.what}"


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule looks at. `today` is the day that expiries are compared with, `now` the real one."""

    manifest: Manifest
    today: date
    document: Document | None
    now: date

    def violation(self, kind: str, what: str, at: Location, fix: str) -> Violation:
        """A violation with its place in the file."""
        path = ".".join(map(str, at))
        where, line = path, 0
        if self.document is not None:
            where = self.document.where(at)
            line = int(where.split(":")[1].split(" ")[0])
        return Violation(f"owners.{kind}", what, where, fix, path, line)

    def near(self, word: str, known: Iterable[str]) -> str:
        """The nearest known word as a fix."""
        return nearest(word, known) or "add it to owners.people"

    @property
    def critical(self) -> bool:
        """Whether much depends on this service."""
        return self.manifest.service.tier == "critical"


def is_placeholder(text: str) -> bool:
    """Whether a text stands for something that is still to be filled in. `.test` addresses are real enough."""
    return bool(_PLACEHOLDER.search(text.strip()))


def somebody(case: Case) -> Iterator[Violation]:
    """Somebody must answer for the job."""
    if not case.manifest.owners.raci:
        yield case.violation(
            "nobody",
            "Nobody is accountable: owners.raci is empty.",
            ("owners", "raci"),
            "add people and a RACI row by activity (`default: {R: [ana], A: ana}` covers all), then `prodkit owners`",
        )


def every_activity(case: Case) -> Iterator[Violation]:
    """Each known activity has a row."""
    raci = case.manifest.owners.raci
    if not raci or DEFAULT in raci:
        return
    for activity, meaning in ACTIVITIES.items():
        if activity not in raci:
            own = nearest(activity, [name for name in raci if name not in ACTIVITIES])
            hint = f" ({own})" if own.startswith("did") else ""
            what = f"Nobody owns `{activity}`: {meaning}"
            yield case.violation("activity", what, ("owners", "raci"), f"add `{activity}: {{R: [...], A: ...}}`{hint}")


def responsible(case: Case) -> Iterator[Violation]:
    """Somebody does the work."""
    for activity, row in case.manifest.owners.raci.items():
        if not row.R:
            what = f"Nobody is responsible for `{activity}`."
            yield case.violation("responsible", what, ("owners", "raci", activity), "add `R: [who does it]`")


def accountable(case: Case) -> Iterator[Violation]:
    """Exactly one answers for it."""
    for activity, row in case.manifest.owners.raci.items():
        count = len([name for name in row.accountable if name])
        if count == 1:
            continue
        what = f"`{activity}` has {count} accountable; it needs exactly one."
        fix = "keep one and move the others to R or C" if count else "add `A: one person`"
        at = ("owners", "raci", activity, *(["A"] if count else []))
        yield case.violation("accountable", what, at, fix)


def accountable_team(case: Case) -> Iterator[Violation]:
    """A team answers only through a person."""
    owners = case.manifest.owners
    for activity, row in owners.raci.items():
        for name in row.accountable:
            if name in owners.teams and owners.teams[name].lead not in owners.people:
                what = f"`{activity}` is accountable to the team `{name}`, which names no person as its lead."
                yield case.violation(
                    "accountable-team",
                    what,
                    ("owners", "raci", activity, "A"),
                    f"set `owners.teams.{name}.lead` to a person",
                )


def references(case: Case) -> Iterator[Violation]:
    """Every id leads to somebody."""
    owners = case.manifest.owners
    both: dict[str, Person | Team] = {**owners.people, **owners.teams}
    for at, name, people_only in references_of(case.manifest):
        known = owners.people if people_only else both
        if name in known:
            continue
        kind, what = (
            "unknown-id",
            f"`{name}` is nobody: there is no such {'person' if people_only else 'person or team'}.",
        )
        fix = case.near(name, known)
        if not _ID.fullmatch(name):
            kind, what = (
                "malformed-id",
                f"`{name}` is no id: roles hold the short keys of owners.people and owners.teams.",
            )
            by_name = [key for key, entry in both.items() if name.lower() in {entry.name.lower(), entry.email.lower()}]
            fix = f"write `{by_name[0]}`" if by_name else "write a key of owners.people"
        elif people_only and name in owners.teams:
            kind, what, fix = "person-needed", f"`{name}` is a team; a person is needed here.", "write a person's id"
        yield case.violation(kind, what, at, fix)


def placeholders(case: Case) -> Iterator[Violation]:
    """What is to be filled in isn't filled in."""
    for at, text in texts_of(case.manifest):
        if text and is_placeholder(text):
            what = f"`{'.'.join(map(str, at))}` holds a placeholder."
            yield case.violation("placeholder", what, at, "write the real name or address")


def addresses(case: Case) -> Iterator[Violation]:
    """An e-mail address can be one, and belongs to one person."""
    people = case.manifest.owners.people
    shared = Counter(person.email.lower() for person in people.values())
    for name, person in people.items():
        at = ("owners", "people", name, "email")
        if not _EMAIL.fullmatch(person.email) and not is_placeholder(person.email):
            yield case.violation("email", f"The e-mail address of `{name}` can't be one.", at, "write name@company.tld")
        elif shared[person.email.lower()] > 1:
            what = f"`{name}` shares an e-mail address with somebody else."
            yield case.violation("same-address", what, at, "one person, one address; a list belongs to a team")


def backups(case: Case) -> Iterator[Violation]:
    """Nobody stands in for oneself, and in a critical job somebody stands in."""
    owners = case.manifest.owners
    for name, person in owners.people.items():
        if person.backup == name:
            at = ("owners", "people", name, "backup")
            yield case.violation("backup-self", f"`{name}` is the own backup.", at, "name somebody else")
    if not case.critical:
        return
    for person_id in dict.fromkeys(row.contact.id for row in matrix(case.manifest) if row.contact):
        if not owners.people[person_id].backup:
            what = f"`{person_id}` is accountable in a critical job and has no backup."
            yield case.violation("backup", what, ("owners", "people", person_id), "add `backup: another person`")


def same_person(case: Case) -> Iterator[Violation]:
    """In a critical job no activity hangs on one person alone."""
    owners = case.manifest.owners
    for row in matrix(case.manifest) if case.critical else ():
        if row.contact is None:
            continue
        doing = set(people_of(owners, row.responsible))
        if doing == {row.contact.id} and row.contact.backup in {"", row.contact.id}:
            what = f"`{row.activity}` hangs on `{row.contact.id}` alone, who is R, A and backup."
            at = ("owners", "raci", row.activity)
            yield case.violation("same-person", what, at, "add somebody to R, or name another backup")


def escalation(case: Case) -> Iterator[Violation]:
    """There is somebody to call next, and nobody is called twice."""
    chain = case.manifest.owners.escalation
    if case.manifest.owners.raci and not chain:
        yield case.violation(
            "escalation",
            "There is no escalation.",
            ("owners", "escalation"),
            "list ids in the order in which to call them",
        )
    for position, name in enumerate(chain):
        if name in chain[:position]:
            what = f"`{name}` is called twice."
            yield case.violation("escalation", what, ("owners", "escalation", position), "keep the first")


def alerts(case: Case) -> Iterator[Violation]:
    """Each alert belongs to an activity and reaches one address."""
    names = [alert.name for alert in case.manifest.alerts]
    rows = {row.activity: row for row in matrix(case.manifest)}
    for position, alert in enumerate(case.manifest.alerts):
        at = ("alerts", position)
        if alert.name in names[:position]:
            yield case.violation("alert-name", f"Two alerts are called `{alert.name}`.", (*at, "name"), "rename one")
        row = rows.get(alert.activity)
        if row is None:
            what = f"The alert `{alert.name}` belongs to `{alert.activity}`, which is no activity of owners.raci."
            yield case.violation(
                "alert-activity", what, (*at, "activity"), case.near(alert.activity, rows or ACTIVITIES)
            )
        elif row.contact and not (row.contact.pager or row.contact.chat):
            what = f"The alert `{alert.name}` reaches `{row.contact.id}`, who has neither pager nor chat."
            fix = f"add `pager:` or `chat:` to owners.people.{row.contact.id}; mail isn't read in time"
            yield case.violation("alert-route", what, (*at, "activity"), fix)


def pagers(case: Case) -> Iterator[Violation]:
    """In a critical job whoever is woken at night can be."""
    for row in matrix(case.manifest) if case.critical else ():
        if row.activity in _PAGED and row.contact and not row.contact.pager:
            what = f"`{row.contact.id}` answers for `{row.activity}` of a critical job and has no pager."
            yield case.violation("pager", what, ("owners", "people", row.contact.id), "add `pager:`")


def review(case: Case) -> Iterator[Violation]:
    """Ownership is looked at again, and soon enough."""
    day = case.manifest.owners.review_by
    at = ("owners", "review_by")
    latest = case.now + LONGEST_REVIEW
    if not case.manifest.owners.raci:
        return
    if day is None:
        yield case.violation(
            "review", "No day is set for looking at this again.", at, f"add `review_by: {latest}` or earlier"
        )
    elif day < case.today:
        what = f"The ownership was to be reviewed by {day}."
        yield case.violation("review-past", what, at, f"ask everybody named here, then set a day up to {latest}")
    elif day > latest:
        what = f"The next review is on {day}, more than {LONGEST_REVIEW.days} days away."
        yield case.violation("review-far", what, at, f"set `review_by: {latest}` or earlier")


def data_owners(case: Case) -> Iterator[Violation]:
    """Each data source belongs to somebody."""
    for name, source in case.manifest.data_sources.items():
        if not source.owner:
            what = f"The data source `{name}` has no owner."
            yield case.violation("data-owner", what, ("data_sources", name), "add `owner: an id`")


def safeguards(case: Case) -> Iterator[Violation]:
    """A critical job can be stopped, has a limit and a promise."""
    if not case.critical:
        return
    manifest = case.manifest
    limits = (manifest.budget.per_run, manifest.budget.per_day, manifest.budget.per_month)
    if not manifest.kill_switch:
        fix = "add `kill_switch: .prodkit/STOP`"
        yield case.violation("kill-switch", "A critical job has no kill switch.", ("kill_switch",), fix)
    if all(limit is None for limit in limits):
        yield case.violation("budget", "A critical job has no budget.", ("budget",), "add `per_day:` in US dollars")
    if not manifest.slo:
        yield case.violation(
            "slo", "A critical job promises nothing.", ("slo",), "add `- {metric: ..., objective: ...}`"
        )


def teams(case: Case) -> Iterator[Violation]:
    """A team that has a role has people."""
    owners = case.manifest.owners
    used = {name for row in owners.raci.values() for name in (*row.R, *row.accountable, *row.C, *row.I)}
    for name, team in owners.teams.items():
        if name in used and not people_of(owners, (name,)) and not team.lead:
            what = f"The team `{name}` has a role and no people."
            yield case.violation("team-empty", what, ("owners", "teams", name), "add `lead:` and `members:`")


RULES: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    somebody,
    every_activity,
    responsible,
    accountable,
    accountable_team,
    references,
    placeholders,
    addresses,
    backups,
    same_person,
    escalation,
    alerts,
    pagers,
    review,
    data_owners,
    safeguards,
    teams,
)

CODES = frozenset(
    f"owners.{kind}"
    for kind in (
        *("nobody", "activity", "responsible", "accountable", "accountable-team", "unknown-id", "malformed-id"),
        *(
            "person-needed",
            "placeholder",
            "email",
            "same-address",
            "backup-self",
            "backup",
            "same-person",
            "escalation",
        ),
        *("alert-name", "alert-activity", "alert-route", "pager", "review", "review-past", "review-far", "data-owner"),
        *("kill-switch", "budget", "slo", "team-empty"),
    )
)
"""The codes that a waiver may name."""
