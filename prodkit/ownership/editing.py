"""The RACI of a manifest while somebody changes it: checked at each step, written without touching other lines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, ParameterError, nearest
from prodkit.manifest import parse
from prodkit.manifest.editing import edit_yaml
from prodkit.manifest.model import Person, Raci
from prodkit.ownership.check import Violation, check
from prodkit.ownership.roles import ACTIVITIES, DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from prodkit.manifest.model import Manifest

LETTERS = "RACI"
_Roles = dict[str, tuple[str, ...]]  # letter -> ids


@dataclass(frozen=True, slots=True)
class RaciDraft:
    """A manifest's RACI with changes that aren't written yet. Each change gives a new draft.

    Attributes:
        text: the manifest's file as it was read.
        rows: activity -> letter -> ids; known activities that have no row are there too, empty.
        people: people who were added, by id.
    """

    text: str
    rows: Mapping[str, _Roles]
    people: Mapping[str, Person] = field(default_factory=dict)
    name: str = "prodkit.yaml"

    @classmethod
    def from_text(cls, text: str, name: str = "prodkit.yaml") -> RaciDraft:
        """Begin with a manifest's text.

        Raises:
            ConfigError: the manifest is wrong.
        """
        raci = parse(text, name).owners.raci
        rows = {activity: _roles(row) for activity, row in raci.items()}
        missing = [] if DEFAULT in raci else [activity for activity in ACTIVITIES if activity not in raci]
        return cls(text, {**rows, **{activity: _roles(Raci()) for activity in missing}}, name=name)

    @property
    def manifest(self) -> Manifest:
        """The manifest as it would be."""
        before = parse(self.text, self.name)
        filled = {activity: _raci(roles) for activity, roles in self.rows.items() if any(roles.values())}
        owners = before.owners.model_copy(update={"raci": filled, "people": {**before.owners.people, **self.people}})
        return before.model_copy(update={"owners": owners})

    @property
    def changed(self) -> tuple[str, ...]:
        """The activities whose row isn't what the file says."""
        raci = parse(self.text, self.name).owners.raci
        now = {activity: roles for activity, roles in self.rows.items() if any(roles.values()) or activity in raci}
        return tuple(
            activity
            for activity in {**raci, **now}
            if activity not in now or activity not in raci or _roles(raci[activity]) != now[activity]
        )

    def letters(self, activity: str, who: str) -> str:
        """What somebody is in an activity, e.g. `RA`."""
        return "".join(letter for letter in LETTERS if who in self.rows[activity][letter])

    def put(self, activity: str, who: str, letters: str) -> RaciDraft:
        """Say what a person or team is in an activity; no letters: nothing.

        Raises:
            ParameterError: `owners.letters`, `owners.unknown-activity` or `owners.unknown-id`.
        """
        wanted = letters.upper().replace(" ", "").replace(",", "")
        if wrong := sorted(set(wanted) - set(LETTERS)):
            raise ParameterError(
                "owners.letters",
                f"`{wrong[0]}` is no role.",
                where=f"{activity}, {who}",
                fix="type R (does it), A (answers for it), C (is asked), I (is told), or several of them",
            )
        if activity not in self.rows:
            raise ParameterError(
                "owners.unknown-activity", f"There is no row `{activity}`.", fix=nearest(activity, self.rows)
            )
        owners = self.manifest.owners
        known = {
            *owners.people,
            *owners.teams,
            *(one for roles in self.rows.values() for ids in roles.values() for one in ids),
        }
        if who not in known:
            raise ParameterError("owners.unknown-id", f"`{who}` is nobody.", where=activity, fix=nearest(who, known))
        roles = {letter: _with(ids, who, member=letter in wanted) for letter, ids in self.rows[activity].items()}
        return replace(self, rows={**self.rows, activity: roles})

    def add_activity(self, activity: str) -> RaciDraft:
        """A row of the service's own.

        Raises:
            ParameterError: `owners.activity-name`.
        """
        name = activity.strip().replace(" ", "_")
        if not name or name in self.rows or not name.replace("_", "").replace("-", "").isalnum():
            what = f"`{name}` has a row already." if name in self.rows else "An activity needs a name of its own."
            raise ParameterError("owners.activity-name", what, fix="use letters, digits and `_`")
        return replace(self, rows={**self.rows, name: _roles(Raci())})

    def add_person(self, who: str, name: str, email: str) -> RaciDraft:
        """Somebody who can be given a role.

        Raises:
            ParameterError: `owners.person`: the id is taken, or something is missing.
        """
        owners = self.manifest.owners
        key = who.strip()
        if not (key and name.strip() and "@" in email) or key in {**owners.people, **owners.teams}:
            what = f"`{key}` is taken." if key in {**owners.people, **owners.teams} else "Something is missing."
            raise ParameterError("owners.person", what, fix="give a short id, a name and an e-mail address")
        return replace(self, people={**self.people, key: Person(name=name.strip(), email=email.strip())})

    def check(self, today: date) -> tuple[Violation, ...]:
        """What export would say of this ownership, the rows as they are now."""
        return check(self.manifest, today=today)

    def to_text(self) -> str:
        """The manifest's text with the changed rows; all other lines are as they were.

        Raises:
            ConfigError: `owners.accountable`: a row that was changed hasn't exactly one who answers for it.
        """
        wrong = [
            name for name in self.changed if any(self.rows.get(name, {}).values()) and len(self.rows[name]["A"]) != 1
        ]
        if wrong:
            raise ConfigError(
                "owners.accountable",
                f"{', '.join(f'`{name}`' for name in wrong)} needs exactly one A.",
                where=self.name,
                fix="keep one A in each row",
            )
        parse(text := edit_yaml(self.text, self._write), self.name)
        return text

    def _write(self, data: Any) -> None:
        owners = data.setdefault("owners", {})
        for key, person in self.people.items():
            _child(owners, "people")[key] = _flow({"name": person.name, "email": person.email})
        for activity in self.changed:
            raci = _child(owners, "raci")
            roles = self.rows.get(activity, {})
            if not any(roles.values()):
                raci.pop(activity, None)
                continue
            if activity not in raci:
                raci[activity] = _flow({})
            for letter in LETTERS:
                value: Any = roles["A"][0] if letter == "A" else list(roles[letter])
                if value != raci[activity].get(letter):
                    raci[activity][letter] = value if letter == "A" else _flow(value)


def _child(parent: Any, key: str) -> Any:
    if parent.get(key) is None:
        parent[key] = {}
    return parent[key]


def _flow(value: Any) -> Any:
    """On one line, as a row of a matrix is read."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    made = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    made.fa.set_flow_style()
    return made


def _roles(row: Raci) -> _Roles:
    return {"R": row.R, "A": tuple(name for name in row.accountable if name), "C": row.C, "I": row.I}


def _raci(roles: _Roles) -> Raci:
    return Raci(R=roles["R"], A=roles["A"][0] if len(roles["A"]) == 1 else roles["A"], C=roles["C"], I=roles["I"])


def _with(ids: tuple[str, ...], who: str, *, member: bool) -> tuple[str, ...]:
    if not member:
        return tuple(one for one in ids if one != who)
    return ids if who in ids else (*ids, who)
