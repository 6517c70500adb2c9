"""The export wizard: how a job is to run, what stands in the way, and the folder before it is written."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.jobs.preview import ExportPlan, Plan, Preview
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Face

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.jobs import ExportReport

_LENGTH = 40_000  # characters of a file that the browser gets
_STATES = {"new": "new", "changed": "changes", "same": "stays as it is", "merged": "with your marked edits"}


class ExportWizard(Face):
    """An export being prepared: `plan(...)`, `preview`, `export()`; the same act as `prodkit export`.

    Args:
        notebook: the notebook's file; None when the editor doesn't say it.
        to: the job folder; `jobs/NAME` in the project by default.

    Raises:
        ConfigError: `notebook.no-file`: the notebook was never saved; or the manifest is wrong.
    """

    script = "wizard"

    def __init__(self, notebook: Path | None, to: Path | None = None) -> None:
        if notebook is None:
            raise ConfigError(
                "notebook.no-file",
                "This notebook's file isn't known: it was never saved, or the editor doesn't say.",
                fix="save it, or name it: `%prodkit panel export NOTEBOOK.ipynb`",
            )
        self._export = ExportPlan(notebook, to)
        self.preview: Preview = self._export.preview()
        super().__init__()

    def plan(self, **wishes: str) -> Preview:
        """Change how the job is to run; `wishes` are fields of `Plan`. Gives the folder as it would be then."""
        self._export.plan = replace(self._export.plan, **{key: value.strip() for key, value in wishes.items()})
        return self.check()

    def check(self) -> Preview:
        """Read the notebook's file again."""
        self.preview = self._export.preview()
        return self.preview

    def export(self) -> ExportReport:
        """Write prodkit.yaml where something was changed, and the job folder.

        Raises:
            ConfigError: as `prodkit export`.
        """
        report = self._export.export()
        self.check()
        return report

    def act(self, message: dict[str, Any]) -> None:
        """What the browser asks for."""
        match message.get("do"):
            case "plan" if message.get("key") in {field.name for field in fields(Plan)}:
                self.plan(**{str(message["key"]): str(message.get("value") or "")})
            case "check":
                self.check()
                self.said = "read again"
            case "open":
                self.tell(self.content(str(message.get("name"))))
            case "export":
                report = self.export()
                written = f"{len(report.written)} files written" if report.written else "nothing had changed"
                self.said = (
                    f"exported to {self._place(report.job)}: {written}; next: prodkit run {self._place(report.job)}"
                )
                self.settle()

    def content(self, name: str) -> dict[str, str]:
        """A file of the folder to be, for the browser."""
        text = next((file.text for file in self.preview.files if file.name == name), "")
        more = f"\n... ({len(text) - _LENGTH:,} characters more)" if len(text) > _LENGTH else ""
        return {"name": name, "text": text[:_LENGTH] + more}

    def state(self) -> dict[str, Any]:
        """What the browser draws."""
        shown = self.preview
        return {
            "title": f"Export {shown.notebook.name} to {self._place(shown.job)}",
            "parameters": [
                {
                    "name": one.name,
                    "type": one.annotation,
                    "default": "required" if one.required else repr(one.default),
                    "help": one.help,
                }
                for one in shown.parameters
            ],
            "plan": {field.name: getattr(shown.plan, field.name) for field in fields(Plan)},
            "people": ["", *self._export.people],
            "fires": "Starts next (UTC): " + ", ".join(f"{at:%a %d %b %H:%M}" for at in shown.fires)
            if shown.fires
            else "",
            "findings": self._findings(),
            "files": [
                {"name": file.name, "state": _STATES[file.state], "lines": f"{file.text.count(chr(10)):,} lines"}
                for file in shown.files
            ],
            "ready": shown.refusal is None,
        }

    def to_table(self) -> Table:
        """The plan as a table, which stays when the kernel is gone."""
        state = self.state()
        rows = [
            ("parameter", f"{one['name']}: {one['type']} = {one['default']}", one["help"])
            for one in state["parameters"]
        ]
        rows += [("job", key.replace("_", " "), value or "none") for key, value in state["plan"].items()]
        rows += [("file", file["name"], f"{file['state']}, {file['lines']}") for file in state["files"]]
        remarks = tuple(part for part in (state["fires"], *state["findings"], self.said) if part)
        tone = "plain" if state["ready"] else "warn"
        return Table(state["title"], ("", "", ""), tuple(rows), remarks, tone)

    def _findings(self) -> list[str]:
        shown, said = self.preview, []
        if shown.refusal is not None:
            parts = (shown.refusal.what, shown.refusal.where, shown.refusal.fix and f"fix: {shown.refusal.fix}")
            said.append(f"refused [{shown.refusal.code}]: " + "; ".join(part for part in parts if part))
        said += [f"{one.severity}: {one.where}: {one.what} ({one.fix})" for one in shown.problems]
        return said + [f"notice: {one}" for one in shown.notices]

    def _place(self, path: Path) -> str:
        root = self._export.project.root
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
