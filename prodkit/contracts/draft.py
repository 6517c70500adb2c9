"""A column of a drafted contract: what is proposed, and what each proposal rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Draft:
    """One column while it is drafted.

    Attributes:
        name: the column's name.
        rows: rows it was learned from.
        filled: rows with a value.
        logical_type, options, quality: as the standard has them.
        evidence: rule to one sentence; holds counts and bounds, and no values of personal data.
    """

    name: str
    rows: int
    filled: int
    logical_type: str = ""
    required: bool = False
    unique: bool = False
    key: bool = False
    personal: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    quality: list[dict[str, Any]] = field(default_factory=list)
    evidence: dict[str, str] = field(default_factory=dict)

    def option(self, key: str, value: Any, why: str) -> None:
        """Propose an entry of `logicalTypeOptions`."""
        self.options[key] = value
        self.evidence[key] = why

    def values(self, values: list[Any], why: str) -> None:
        """Propose an enumeration."""
        arguments = {"validValues": values}
        self.quality.append(
            {"type": "library", "id": "enum", "metric": "invalidValues", "arguments": arguments, "mustBe": 0}
        )
        self.evidence["enum"] = why

    def suspect(self, kind: str, rule: dict[str, Any], breaking: int) -> None:
        """Propose a rule that a few rows break, as a warning: whether they are wrong is for a person to say."""
        self.quality.append({**rule, "id": f"mostly_{kind}", "severity": "warning"})
        why = f"{breaking} of {self.filled} values break it; make it an error once they are known to be wrong"
        self.evidence[f"mostly_{kind}"] = why

    def to_property(self) -> dict[str, Any]:
        """The column as the standard writes it."""
        prop: dict[str, Any] = {"name": self.name}
        if self.logical_type:
            prop["logicalType"] = self.logical_type
        if self.key:
            prop |= {"primaryKey": True, "primaryKeyPosition": 1}
        prop["required"] = self.required
        if self.unique or self.key:
            prop["unique"] = True
        prop["classification"] = "confidential" if self.personal else "internal"
        if self.personal:
            prop["tags"] = ["pii"]
        if self.options:
            prop["logicalTypeOptions"] = self.options
        if self.quality:
            prop["quality"] = self.quality
        if self.evidence:
            prop["customProperties"] = [{"property": "evidence", "value": self.evidence}]
        return prop
