"""The RACI matrix, and the one person whom an activity or an alert reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from prodkit.manifest.model import Alert, Manifest, Owners

ACTIVITIES: dict[str, str] = {
    "model_performance": "Answers stay as good as promised.",
    "uptime": "The job runs when it should.",
    "latency_page": "Somebody is woken when answers get slow.",
    "retraining": "The model is trained or chosen anew.",
    "data_pipeline_change": "The data that goes in changes its shape.",
    "cost_spike": "The bill jumps.",
    "prompt_change": "A prompt template is changed.",
    "security_review": "Security and legal look at it.",
    "incident": "Something went wrong for users.",
    "rollback": "The earlier version is brought back.",
    "retirement": "The service is switched off for good.",
}
"""The activities that need an owner, and what each means. A manifest may add its own."""

DEFAULT = "default"
"""A row of this name in `owners.raci` stands for every activity that has none of its own."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody who can be reached. `address` is where a page goes: pager, else chat, else e-mail."""

    id: str
    name: str
    email: str
    chat: str = ""
    pager: str = ""
    backup: str = ""  # id of the person who stands in

    @property
    def address(self) -> str:
        """Where a page goes."""
        return self.pager or self.chat or self.email


@dataclass(frozen=True, slots=True)
class Row:
    """One activity with the ids in each role, as the manifest has them."""

    activity: str
    responsible: tuple[str, ...]
    accountable: tuple[str, ...]
    consulted: tuple[str, ...]
    informed: tuple[str, ...]
    contact: Contact | None  # whom the activity reaches; None when it can't be resolved


@dataclass(frozen=True, slots=True)
class Route:
    """An alert, resolved: what fires it and where it goes."""

    alert: Alert
    contact: Contact | None


def matrix(manifest: Manifest) -> tuple[Row, ...]:
    """The RACI by activity: the known activities in their order, then the manifest's own."""
    raci = manifest.owners.raci
    names = [name for name in ACTIVITIES if name in raci or DEFAULT in raci]
    names += [name for name in raci if name not in ACTIVITIES and name != DEFAULT]
    return tuple(_row(manifest, name) for name in names)


def resolve(manifest: Manifest, activity: str) -> Contact:
    """The one person who answers for an activity; a team stands for its lead.

    Raises:
        ConfigError: `owners.unresolved`: nobody is accountable, or the id leads nowhere.
    """
    raci = manifest.owners.raci
    entry = raci.get(activity) or raci.get(DEFAULT)
    contact = _reach(manifest.owners, entry.accountable[0]) if entry and len(entry.accountable) == 1 else None
    if contact is None:
        raise ConfigError(
            "owners.unresolved",
            f"Nobody can be reached for `{activity}`.",
            where=f"owners.raci.{activity}",
            fix=nearest(activity, raci)
            if entry is None and raci
            else "name one accountable person; see `prodkit owners`",
        )
    return contact


def routes(manifest: Manifest) -> tuple[Route, ...]:
    """Each alert of the manifest with the person whom it reaches."""
    rows = {row.activity: row.contact for row in matrix(manifest)}
    return tuple(Route(alert, rows.get(alert.activity)) for alert in manifest.alerts)


def contact_of(owners: Owners, person: str) -> Contact:
    """A person of the directory as a contact."""
    entry = owners.people[person]
    return Contact(person, entry.name, entry.email, entry.chat, entry.pager, entry.backup)


def people_of(owners: Owners, ids: tuple[str, ...]) -> tuple[str, ...]:
    """The people behind ids: a person is itself, a team its lead and members. Unknown ids are left out."""
    found: dict[str, None] = {}
    for name in ids:
        if name in owners.people:
            found[name] = None
        elif name in owners.teams:
            team = owners.teams[name]
            found |= dict.fromkeys(person for person in (team.lead, *team.members) if person in owners.people)
    return tuple(found)


def _row(manifest: Manifest, activity: str) -> Row:
    entry = manifest.owners.raci.get(activity) or manifest.owners.raci[DEFAULT]
    contact = _reach(manifest.owners, entry.accountable[0]) if len(entry.accountable) == 1 else None
    return Row(activity, entry.R, entry.accountable, entry.C, entry.I, contact)


def _reach(owners: Owners, name: str) -> Contact | None:
    person = owners.teams[name].lead if name in owners.teams else name
    return contact_of(owners, person) if person in owners.people else None
