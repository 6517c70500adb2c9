"""A data contract: what a table's columns promise, as the Open Data Contract Standard writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from prodkit.contracts.document import parse
from prodkit.contracts.reading import Reader
from prodkit.errors import ConfigError, nearest
from prodkit.manifest import find_project

if TYPE_CHECKING:
    from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject

    from prodkit.contracts.rules import Column, Rule


@dataclass(frozen=True, slots=True, repr=False)
class Contract:
    """One table of a contract file, checked and ready to be used. Make it with `load`, `from_yaml` or `infer`.

    Attributes:
        name: the table's name.
        version: the contract's version.
        columns: the columns in the contract's order, each with its rules.
        table_rules: rules over several columns or the whole frame.
        document: the whole file as the standard's model, with everything that isn't a rule.
        source: the file that it came from, as errors name it.
    """

    name: str
    version: str
    columns: tuple[Column, ...]
    table_rules: tuple[Rule, ...]
    document: OpenDataContractStandard
    source: str = ""

    def __repr__(self) -> str:
        return f"Contract({self.name!r}, version {self.version}, {len(self.columns)} columns, {len(self.rules)} rules)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from prodkit.contracts.listing import text

        printer.text(repr(self) if cycle else text(self))

    def _repr_html_(self) -> str:
        from prodkit.contracts.listing import html

        return html(self)

    @classmethod
    def load(cls, path: str | Path, *, table: str = "") -> Contract:
        """Read a contract file; `table` is needed when it describes several.

        Args:
            path: the file, from the current directory or else from the project's root; or the name of a data source
                of the manifest, for the contract that it names.
            table: the table's name.

        Raises:
            ConfigError: `contract.missing`, `contract.unreadable`, or what `from_yaml` raises.
        """
        path = _find(Path(path))
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            known = sorted(str(other) for other in path.parent.glob("*.yaml"))
            raise ConfigError(
                "contract.missing",
                "There is no such contract.",
                where=str(path),
                fix=nearest(str(path), known) or "draft one with `prodkit contract infer FILE`",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                "contract.unreadable",
                f"The contract can't be read: {type(error).__name__}.",
                where=str(path),
                fix="save it as UTF-8 text",
            ) from error
        return cls.from_yaml(text, name=path.name, table=table)

    @classmethod
    def from_yaml(cls, text: str, *, name: str = "contract.yaml", table: str = "") -> Contract:
        """Read a contract's text; `name` is how errors call the file.

        Raises:
            ConfigError: `contract.*`; each names file, line, and what to do.
        """
        model, document = parse(text, name)
        tables = model.schema_ or []
        position = _choose([item.name or "" for item in tables], table, name)
        at = ("schema", position)
        reader = Reader(document)
        return cls(
            name=tables[position].name or model.name or model.id or "",
            version=model.version or "",
            columns=reader.columns(tables[position], at),
            table_rules=reader.table_rules(tables[position], at),
            document=model,
            source=name,
        )

    @classmethod
    def from_pandera(cls, schema: Any, *, name: str = "") -> Contract:
        """A contract that says what a pandera schema or model says.

        Raises:
            ConfigError: `contract.not-portable`, when a part of the schema can't be written down without loss.
        """
        from prodkit.contracts.adopt import adopt

        return adopt(schema, name=name)

    def to_yaml(self) -> str:
        """The contract as ODCS YAML. What a drafted rule rests on is the custom property `evidence` of its column."""
        data = _ordered(self.document.model_dump(exclude_none=True, by_alias=True, mode="json"))
        text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
        return text

    def to_pandera(self) -> Any:
        """The contract as a pandera `DataFrameSchema` for pandas; it never coerces."""
        from prodkit.contracts.compile import compile_pandas

        return compile_pandas(self)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules: those of the columns, then those of the table."""
        return tuple(rule for column in self.columns for rule in column.rules) + self.table_rules

    @property
    def closed(self) -> bool:
        """Whether columns that the contract doesn't name are refused (custom property `additionalColumns: refuse`)."""
        return str(self._custom("additionalColumns")).lower() in ("refuse", "false")

    @property
    def owner(self) -> str:
        """The team that answers for the data; empty when the contract doesn't say."""
        team = self.document.team
        if team is None:
            return ""
        members = team if isinstance(team, list) else team.members or []
        named = "" if isinstance(team, list) else team.name or ""
        return named or next((member.username or member.name or "" for member in members if member.role == "owner"), "")

    @property
    def retention(self) -> str:
        """`365 d`, from the SLA property `retention`; empty when the contract doesn't say."""
        for entry in self.document.slaProperties or []:
            if entry.property == "retention":
                return f"{entry.value} {entry.unit or ''}".strip()
        return ""

    @property
    def residency(self) -> str:
        """Where the data may lie, from the custom property `residency`."""
        return str(self._custom("residency") or "")

    @property
    def table(self) -> SchemaObject:
        """This contract's table in the document."""
        return next(item for item in self.document.schema_ or [] if (item.name or self.name) == self.name)

    def _custom(self, name: str) -> Any:
        entries = [*(self.table.customProperties or []), *(self.document.customProperties or [])]
        return next((entry.value for entry in entries if entry.property == name), None)


_FIRST = (
    *("apiVersion", "kind", "id", "name", "businessName", "version", "status", "domain", "type", "engine", "metric"),
    *("logicalType", "physicalType", "description", "team", "primaryKey", "primaryKeyPosition", "required", "unique"),
    *("classification", "tags", "logicalTypeOptions", "arguments", "implementation"),
)
_LAST = ("schema", "properties", "items", "quality", "customProperties")


def _ordered(value: Any) -> Any:
    """Keys in the order in which a person reads a contract: what it is, what it promises, what that rests on."""
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if not isinstance(value, dict):
        return value
    ranks = {key: place for place, key in enumerate(_FIRST)} | {key: 1000 + place for place, key in enumerate(_LAST)}
    return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: ranks.get(key, 500))}


def _find(path: Path) -> Path:
    """A notebook's directory isn't the project's root, so a path that isn't here may lie there."""
    if path.exists() or path.is_absolute():
        return path
    project = find_project()
    source = project.manifest.data_sources.get(str(path))
    if source is not None and source.contract:
        return project.path(source.contract)
    return project.path(path) if project.path(path).exists() else path


def _choose(names: list[str], wanted: str, source: str) -> int:
    if not wanted and len(names) == 1:
        return 0
    if wanted in names:
        return names.index(wanted)
    what = f"The contract describes no table `{wanted}`." if wanted else "The contract describes several tables."
    raise ConfigError("contract.unknown-table", what, where=source, fix=f"name one of: {', '.join(names)}")
