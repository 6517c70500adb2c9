"""The RACI editor: who answers for what, checked while it is typed, written into prodkit.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.manifest import Project, find_project
from prodkit.manifest.editing import read_text, write_text
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Face
from prodkit.ownership import ACTIVITIES
from prodkit.ownership.editing import LETTERS, RaciDraft
from prodkit.records import now

if TYPE_CHECKING:
    from pathlib import Path

_RACI = "owners.raci."


class RaciEditor(Face):
    """The manifest's RACI being changed: `put`, `add_activity`, `add_person`, `save`, and `findings` at each step.

    Raises:
        ConfigError: `manifest.missing`: the project has no prodkit.yaml; or the manifest is wrong.
    """

    script = "raci"

    def __init__(self, project: Project | None = None) -> None:
        project = project or find_project()
        if project.manifest_path is None:
            raise ConfigError(
                "manifest.missing",
                "There is no manifest to write owners into.",
                where=str(project.root),
                fix="write one with `prodkit init`",
            )
        self.path: Path = project.manifest_path
        self.draft = self._load()
        super().__init__()

    @property
    def dirty(self) -> bool:
        """Whether something isn't saved."""
        return bool(self.draft.changed or self.draft.people)

    @property
    def findings(self) -> dict[str, list[str]]:
        """Activity -> what is wrong with its row; under "" what is wrong elsewhere in the ownership."""
        found: dict[str, list[str]] = {}
        for violation in self.draft.check(now().date()):
            row = violation.path.removeprefix(_RACI).split(".")[0] if violation.path.startswith(_RACI) else ""
            if violation.code == "owners.activity":  # an empty row says it itself
                continue
            found.setdefault(row if row in self.draft.rows else "", []).append(
                violation.what + (" (waived)" if violation.waiver else "")
            )
        return found

    def put(self, activity: str, who: str, letters: str) -> None:
        """Say what somebody is in an activity: any of the letters R, A, C, I; none takes them out."""
        self.draft = self.draft.put(activity, who, letters)

    def add_activity(self, name: str) -> None:
        """A row of one's own."""
        self.draft = self.draft.add_activity(name)

    def add_person(self, who: str, name: str, email: str) -> None:
        """Somebody who can be given a role."""
        self.draft = self.draft.add_person(who, name, email)

    def save(self) -> Path:
        """Write prodkit.yaml; lines that weren't changed stay as they are.

        Raises:
            ConfigError: `owners.accountable`, `manifest.changed` or `manifest.unwritable`; nothing is written then.
        """
        write_text(self.path, self.draft.to_text(), before=self.draft.text)
        self.draft = self._load()
        return self.path

    def load(self) -> None:
        """Read prodkit.yaml again; what wasn't saved is given up."""
        self.draft = self._load()

    def act(self, message: dict[str, Any]) -> None:
        """What the browser asks for."""
        match message.get("do"):
            case "put":
                self.put(str(message["activity"]), str(message["who"]), str(message.get("letters") or ""))
            case "activity":
                self.add_activity(str(message.get("name") or ""))
            case "person":
                self.add_person(*(str(message.get(key) or "") for key in ("id", "name", "email")))
            case "save":
                self.save()
                self.said = "saved to prodkit.yaml"
                self.settle()
            case "load":
                self.load()
                self.said = "loaded again"
                self.settle()

    def state(self) -> dict[str, Any]:
        """What the browser draws."""
        owners, findings = self.draft.manifest.owners, self.findings
        named = [
            *((key, one.name) for key, one in owners.people.items()),
            *((key, one.name) for key, one in owners.teams.items()),
        ]
        people = [{"id": key, "name": name} for key, name in named]
        rows = [self._row(activity, [one["id"] for one in people], findings) for activity in self.draft.rows]
        wrong = sum(row["wrong"] for row in rows)
        said = f"{wrong} of {len(rows)} rows to look at" if wrong else "each row has exactly one A"
        return {
            "people": people,
            "rows": rows,
            "others": findings.get("", []) + ([] if people else ["nobody is here yet: add the first person below"]),
            "dirty": self.dirty,
            "said": f"{self.said}; {said}" if self.said else said,
        }

    def to_table(self) -> Table:
        """The matrix as a table, which stays when the kernel is gone."""
        heads = ("activity", "R does it", "A answers for it", "C is asked", "I is told", "check")
        findings = self.findings
        rows = tuple(
            (activity, *(", ".join(roles[letter]) for letter in LETTERS), self._row(activity, [], findings)["check"])
            for activity, roles in self.draft.rows.items()
        )
        remarks = (*findings.get("", ()), *(["not saved yet"] if self.dirty else []))
        tone = "warn" if any(findings.values()) else "good"
        return Table("who answers for what", heads, rows, tuple(remarks), tone)

    def _row(self, activity: str, people: list[str], findings: dict[str, list[str]]) -> dict[str, Any]:
        roles, said = self.draft.rows[activity], findings.get(activity, [])
        if not any(roles.values()):
            said = ["nobody answers for it"]
        return {
            "activity": activity,
            "meaning": ACTIVITIES.get(activity, ""),
            "cells": [self.draft.letters(activity, who) for who in people],
            "check": " ".join(said) if said else "ok",
            "wrong": bool(said),
        }

    def _load(self) -> RaciDraft:
        return RaciDraft.from_text(read_text(self.path) or "", self.path.name)
