"""What an export would write, before it does: the same files, made in memory, beside what the folder holds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from prodkit.errors import ConfigError, ProdkitError
from prodkit.jobs import exporting
from prodkit.jobs.lint import lint_notebook
from prodkit.jobs.reading import read_notebook
from prodkit.jobs.schedules.cron import Cron
from prodkit.manifest import Project, find_project, parse
from prodkit.manifest.editing import edit_yaml, read_text, write_text
from prodkit.manifest.project import MANIFEST
from prodkit.ownership.editing import RaciDraft
from prodkit.records import now

if TYPE_CHECKING:
    from datetime import datetime

    from prodkit.jobs.exporting import ExportReport
    from prodkit.jobs.lint import Problem
    from prodkit.jobs.parameters import Parameter

UPTIME = "uptime"
"""The activity whose accountable person a job's owner is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job is to run, as it stands in the manifest. Durations are as a person writes them: `30m`, `2s`."""

    schedule: str = ""
    timezone: str = "UTC"
    timeout: str = "3600"
    retries: str = "2"
    retry_wait: str = "5"
    owner: str = ""  # who answers for `uptime`


@dataclass(frozen=True, slots=True)
class PreviewFile:
    """One file of the job folder to be."""

    name: str
    text: str
    state: Literal["new", "changed", "same", "merged"]  # merged: with the marked edits that the folder has


@dataclass(frozen=True, slots=True)
class Preview:
    """What an export would do. `refusal` says why it would write nothing."""

    notebook: Path
    job: Path
    plan: Plan
    parameters: tuple[Parameter, ...] = ()
    files: tuple[PreviewFile, ...] = ()
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()
    refusal: ProdkitError | None = None
    fires: tuple[datetime, ...] = ()  # the next times that the schedule starts it, UTC


class ExportPlan:
    """An export that is being prepared: what the manifest says of the job, and what somebody wants instead.

    Args:
        notebook: the notebook's file.
        to: the job folder; `jobs/NAME` in the project by default.
        project: the project; by default the one around the notebook.

    Raises:
        ConfigError: the manifest is wrong.
    """

    def __init__(self, notebook: Path, to: Path | None = None, *, project: Project | None = None) -> None:
        self.notebook = notebook
        self.project = project or find_project(notebook.absolute().parent)
        self.job = to or self.project.root / "jobs" / notebook.stem
        self._before = read_text(self._manifest) or ""
        self._written = plan_of(self._before)
        self.plan = self._written

    @property
    def _manifest(self) -> Path:
        return self.project.manifest_path or self.project.root / MANIFEST

    @property
    def people(self) -> tuple[str, ...]:
        """Ids that can answer for the job: people, and teams through their lead."""
        owners = self.project.manifest.owners
        return (*owners.people, *owners.teams)

    def manifest_text(self) -> str:
        """The manifest with the plan in it; lines that the plan doesn't touch are as they were.

        Raises:
            ConfigError: a value can't be what it is meant for; the error names it.
            ParameterError: the owner is nobody.
        """
        _next(self.plan, 1)
        text = self._before
        if self.plan.owner and self.plan.owner != self._written.owner:
            text = _owned(text, self.plan.owner)
        changed = {
            key: _value(key, getattr(self.plan, key))
            for key in ("schedule", "timezone", "timeout", "retries", "retry_wait")
            if getattr(self.plan, key) != getattr(self._written, key)
        }
        if changed:

            def change(data: Any) -> None:
                if data.get("job") is None:
                    data["job"] = {}
                data["job"].update(changed)

            text = edit_yaml(text, change)
        parse(text, MANIFEST)
        return text

    def preview(self) -> Preview:
        """The folder as an export would leave it; writes nothing, asks no registry."""
        problems: tuple[Problem, ...] = ()
        parameters: tuple[Parameter, ...] = ()
        try:
            book = read_notebook(self.notebook)
            problems, parameters = lint_notebook(book, self.project), book.parameters
            with tempfile.TemporaryDirectory() as place:
                manifest = Path(place) / MANIFEST
                manifest.write_text(text := self.manifest_text(), encoding="utf-8")
                project = Project(self.project.root, parse(text, MANIFEST), manifest if text else None)
                files, report = exporting.compose(self.notebook, self.job, project=project)
        except ProdkitError as refusal:
            return Preview(
                self.notebook, self.job, self.plan, parameters=parameters, problems=problems, refusal=refusal
            )
        return Preview(
            self.notebook,
            self.job,
            self.plan,
            parameters=report.parameters,
            files=tuple(
                PreviewFile(name, _shown(text), _state(self.job / name, text, merged=name in report.kept))
                for name, text in files.items()
            ),
            problems=report.problems,
            notices=report.notices,
            fires=_next(self.plan),
        )

    def export(self, *, overwrite: bool = False) -> ExportReport:
        """Write the plan into the manifest, then do what `prodkit export` does.

        Raises:
            ConfigError: as `prodkit.export`; `manifest.changed` when the manifest was changed since the plan was begun.
        """
        text = self.manifest_text()
        if text != self._before:
            refused = self.preview().refusal
            if refused is not None and not (overwrite and refused.code == "export.hand-edited"):
                raise refused  # the manifest isn't touched for an export that won't be
            write_text(self._manifest, text, before=self._before or None)
            self._before, self._written = text, self.plan
        self.project = find_project(self.project.root)
        return exporting.export(self.notebook, self.job, project=self.project, overwrite=overwrite)


def plan_of(text: str) -> Plan:
    """The plan that a manifest's text holds, values as they are written there."""
    manifest = parse(text, MANIFEST)
    data = (yaml.safe_load(text) or {}).get("job") or {}
    job = manifest.job
    row = RaciDraft.from_text(text, MANIFEST).manifest.owners.raci
    entry = row.get(UPTIME) or row.get("default")
    owner = entry.accountable[0] if entry and len(entry.accountable) == 1 else ""
    return Plan(
        schedule=job.schedule,
        timezone=job.timezone,
        timeout=str(data.get("timeout", f"{job.timeout:g}")),
        retries=str(job.retries),
        retry_wait=str(data.get("retry_wait", f"{job.retry_wait:g}")),
        owner=owner,
    )


def _owned(text: str, owner: str) -> str:
    draft = RaciDraft.from_text(text, MANIFEST)
    if UPTIME not in draft.rows:  # a row `default` stands for all; this one gets its own
        draft = draft.add_activity(UPTIME)
        for letter, ids in draft.rows["default"].items():
            for who in ids:
                draft = draft.put(UPTIME, who, "".join({*draft.letters(UPTIME, who), letter}))
    for who in draft.rows[UPTIME]["A"]:
        draft = draft.put(UPTIME, who, draft.letters(UPTIME, who).replace("A", ""))
    draft = draft.put(UPTIME, owner, draft.letters(UPTIME, owner) + "A")
    if not draft.rows[UPTIME]["R"]:
        draft = draft.put(UPTIME, owner, draft.letters(UPTIME, owner) + "R")
    return draft.to_text()


def _next(plan: Plan, most: int = 3) -> tuple[datetime, ...]:
    """The next times that a schedule fires; none without one.

    Raises:
        ConfigError: `schedule.*`.
    """
    if not plan.schedule:
        return ()
    cron, found = Cron(plan.schedule, plan.timezone), [now()]
    while len(found) <= most and (following := cron.after(found[-1])):
        found.append(following)
    return tuple(found[1:])


def _value(key: str, text: str) -> Any:
    text = text.strip()
    if key == "retries" or (key in {"timeout", "retry_wait"} and text.isdigit()):
        try:
            return int(text)
        except ValueError:
            raise ConfigError(
                "export.plan", f"`{key}` is no number.", where=text[:40], fix="type a whole number from 0 to 10"
            ) from None
    return text


def _shown(text: str | bytes) -> str:
    """What a person sees of a file: of a wheel its size."""
    if isinstance(text, str):
        return text
    return f"({len(text):,} bytes)\n" if b"\0" in text else text.decode("utf-8", "replace")


def _state(path: Path, text: str | bytes, *, merged: bool) -> Literal["new", "changed", "same", "merged"]:
    here = (path.read_bytes() if path.is_file() else None) if isinstance(text, bytes) else read_text(path)
    if here is None:
        return "new"
    return "merged" if merged else "same" if here == text else "changed"
