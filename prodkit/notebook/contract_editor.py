"""The contract editor: rules with what they rest on, changed and tried on the dataframe at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.contracts.editing import ContractDraft
from prodkit.errors import ParameterError, nearest
from prodkit.manifest import find_project
from prodkit.manifest.editing import read_text, write_text
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Face

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prodkit.contracts import Validation

_SHOWN = 500  # rules


class ContractEditor(Face):
    """A contract file being changed. All that the browser does can be done here: `put`, `remove`, `test`, `save`.

    Args:
        name: a data source of the manifest, a dataframe of the notebook, or a contract's file.
        namespace: where the dataframe is looked for, each time that it is tested.
        to: the file; by default the source's contract, else `contracts/NAME.odcs.yaml` in the project.

    Raises:
        ConfigError: the contract is wrong.
        ParameterError: `notebook.no-contract`: there is neither a contract nor a dataframe of this name.
    """

    script = "contract"

    def __init__(self, name: str, namespace: Mapping[str, Any], *, to: str = "") -> None:
        self._namespace = namespace
        self.path = self._find(name, to)
        self.name = self.path.name.split(".")[0] if name.endswith((".yaml", ".yml")) else name
        self._before = read_text(self.path)
        self.draft = self._load()
        self._tested: Validation | None = None
        super().__init__()

    @property
    def frame(self) -> Any:
        """The dataframe at hand; None without one."""
        found = self._namespace.get(self.name)
        return found if type(found).__name__ in {"DataFrame", "LazyFrame", "Table"} else None

    @property
    def dirty(self) -> bool:
        """Whether something isn't saved."""
        return self.draft.text != self._before

    def put(self, column: str, kind: str, value: str = "") -> None:
        """Add a rule, or change one's value."""
        self.draft = self.draft.put(column, kind, value)
        self._tested = None

    def remove(self, rule_id: str) -> None:
        """Take a rule out."""
        self.draft = self.draft.remove(rule_id)
        self._tested = None

    def weigh(self, rule_id: str, severity: str) -> None:
        """Make a rule an error or a warning."""
        self.draft = self.draft.weigh(rule_id, severity)
        self._tested = None

    def test(self) -> Validation:
        """Check the dataframe at hand.

        Raises:
            ParameterError: `notebook.no-frame`.
        """
        frame = self.frame
        if frame is None:
            raise ParameterError(
                "notebook.no-frame",
                f"There is no dataframe `{self.name}`.",
                fix=f"read it in a cell: `{self.name} = prodkit.read(...)`",
            )
        self._tested = self.draft.test(frame)
        return self._tested

    def save(self) -> Path:
        """Write the file.

        Raises:
            ConfigError: `manifest.changed`: somebody else has written it meanwhile; `manifest.unwritable`.
        """
        write_text(self.path, self.draft.text, before=self._before)
        self._before = self.draft.text
        return self.path

    def load(self) -> None:
        """Read the file again; what wasn't saved is given up."""
        self._before = read_text(self.path)
        self.draft = self._load()
        self._tested = None

    def act(self, message: dict[str, Any]) -> None:
        """What the browser asks for."""
        match message.get("do"):
            case "put":
                self.put(str(message["column"]), str(message["kind"]), str(message.get("value") or ""))
                self.said = f"{message['column']}.{message['kind']} is set; not saved yet"
            case "remove":
                self.remove(str(message["id"]))
                self.said = f"{message['id']} is removed; not saved yet"
            case "weigh":
                self.weigh(str(message["id"]), str(message["severity"]))
                self.said = f"{message['id']} is {message['severity']}; not saved yet"
            case "test":
                self.test()
                self.said = "tested"
            case "save":
                self.said = f"saved to {self._place(self.save())}"
            case "load":
                self.load()
                self.said = "loaded again"
        if message.get("do") in {"save", "load", "test"}:
            self.settle()

    def state(self) -> dict[str, Any]:
        """What the browser draws."""
        contract = self.draft.contract
        rows, verdict, others = self._findings()
        return {
            "title": f"Contract {contract.name} {contract.version}, {self._place(self.path)}",
            "rules": [
                {
                    "id": rule.id,
                    "column": rule.column,
                    "kind": rule.kind,
                    "value": rule.value,
                    "severity": rule.severity,
                    "evidence": rule.evidence,
                    "place": rule.place,
                    "editable": rule.editable,
                    "rows": rows.get(rule.id, "none" if self._tested is not None else ""),
                    "broken": rule.id in rows,
                }
                for rule in self.draft.rules[:_SHOWN]
            ],
            "columns": {name: list(kinds) for name, kinds in self.draft.columns.items()},
            "frame": self.name if self.frame is not None else "",
            "dirty": self.dirty,
            "verdict": verdict,
            "others": others,
        }

    def to_table(self) -> Table:
        """The contract as a table, which stays when the kernel is gone."""
        state = self.state()
        heads = ("column", "rule", "value", "severity", "rests on", "rows that break it")
        keys = ("column", "kind", "value", "severity", "evidence", "rows")
        rows = tuple(
            tuple(rule[key] or ("whole table" if key == "column" else "") for key in keys) for rule in state["rules"]
        )
        remarks = [state["verdict"], *state["others"], "not saved yet" if self.dirty else ""]
        return Table(state["title"], heads, rows, tuple(remark for remark in remarks if remark))

    def _findings(self) -> tuple[dict[str, str], str, list[str]]:
        """Rows that break each rule, the verdict, and findings that belong to no rule of the list."""
        from prodkit.contracts.report import verdict

        if self._tested is None:
            return {}, "", []
        known = {rule.id for rule in self.draft.rules}
        rows = {one.rule: f"{one.count:,} of {one.checked:,}" for one in self._tested.findings if one.rule in known}
        others = [f"{one.rule}: {one.what}" for one in self._tested.findings if one.rule not in known]
        told = verdict(self._tested).removesuffix(" All go on, as the mode is warn.")
        return rows, told, [*others, *(f"not checked: {one}" for one in self._tested.unchecked)]

    def _find(self, name: str, to: str) -> Path:
        project = find_project()
        source = project.manifest.data_sources.get(name)
        if to or name.endswith((".yaml", ".yml")):
            return project.path(to or name)
        if source is not None and source.contract:
            return project.path(source.contract)
        return project.path("contracts") / f"{name}.odcs.yaml"

    def _load(self) -> ContractDraft:
        if self._before is not None:
            draft = ContractDraft(self._before, self.path.name)
            _ = draft.contract
            return draft
        if self.frame is None:
            known = [
                *find_project().manifest.data_sources,
                *(n for n, v in self._namespace.items() if type(v).__name__ == "DataFrame"),
            ]
            raise ParameterError(
                "notebook.no-contract",
                f"There is neither a contract nor a dataframe `{self.name}`.",
                where=str(self.path),
                fix=nearest(self.name, known) or "read the data in an earlier cell",
            )
        from prodkit.contracts import infer

        return ContractDraft(infer(self.frame, self.name).to_yaml(), self.path.name)

    def _place(self, path: Path) -> str:
        root = find_project().root
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
