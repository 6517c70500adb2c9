"""What a contract promises, as flat rules: the form that every engine, report and comparison works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

LOGICAL_TYPES = ("string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean")

# option of `logicalTypeOptions` -> the logical types that have it
OPTIONS: dict[str, tuple[str, ...]] = {
    "minLength": ("string",),
    "maxLength": ("string",),
    "pattern": ("string",),
    "format": ("string", "date", "timestamp", "time", "integer", "number"),
    "minimum": ("integer", "number", "date", "timestamp", "time"),
    "maximum": ("integer", "number", "date", "timestamp", "time"),
    "exclusiveMinimum": ("integer", "number", "date", "timestamp", "time"),
    "exclusiveMaximum": ("integer", "number", "date", "timestamp", "time"),
    "multipleOf": ("integer", "number"),
    "timezone": ("timestamp", "time"),
    "defaultTimezone": ("timestamp", "time"),
    "minProperties": ("object",),
    "maxProperties": ("object",),
    "required": ("object",),
    "minItems": ("array",),
    "maxItems": ("array",),
    "uniqueItems": ("array",),
}

OPERATORS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many rows may fail a rule: a comparison of their number, or of their share in percent."""

    operator: str
    value: Any
    percent: bool = False

    def holds(self, failing: float, rows: int) -> bool:
        """Whether so many failing rows are within what the contract allows."""
        measured = 100.0 * failing / rows if self.percent and rows else float(failing)
        return _COMPARE[self.operator](measured, self.value)

    @property
    def text(self) -> str:
        """`<= 5 %`."""
        sign = _SIGNS[self.operator]
        value = f"{self.value[0]} and {self.value[1]}" if isinstance(self.value, list) else str(self.value)
        return f"{sign} {value}" + (" %" if self.percent else "")


_COMPARE: dict[str, Any] = {
    "mustBe": lambda left, right: left == right,
    "mustNotBe": lambda left, right: left != right,
    "mustBeGreaterThan": lambda left, right: left > right,
    "mustBeGreaterOrEqualTo": lambda left, right: left >= right,
    "mustBeLessThan": lambda left, right: left < right,
    "mustBeLessOrEqualTo": lambda left, right: left <= right,
    "mustBeBetween": lambda left, right: right[0] <= left <= right[1],
    "mustNotBeBetween": lambda left, right: not right[0] <= left <= right[1],
}
_SIGNS = dict(
    zip(
        OPERATORS,
        ("exactly", "not", "more than", "at least", "fewer than", "at most", "between", "not between"),
        strict=True,
    )
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One promise about one column, several columns, or (with no column) the whole frame.

    `kind` names the check, `argument` is what it compares with. `column` is a dotted path for a field inside an object
    (`address.city`) and ends with `[]` for the items of an array.
    """

    column: str
    kind: str
    argument: Any = None
    columns: tuple[str, ...] = ()  # for rules over several columns
    name: str = ""  # the id's last part, when the contract gives one
    severity: Severity = "error"
    tolerance: Tolerance | None = None
    description: str = ""

    @property
    def id(self) -> str:
        """Stable and readable: `priority.enum`, `.rowCount` of the frame is `rowCount`."""
        return f"{self.column}.{self.name or self.kind}".lstrip(".")


@dataclass(frozen=True, slots=True)
class Column:
    """One column (or one field of an object) of a contract, with its rules."""

    name: str
    logical_type: str = ""
    required: bool = False
    rules: tuple[Rule, ...] = ()
    public: bool = False  # its values may be shown
    classification: str = ""
    pii: bool = False
    physical_name: str = ""
    optional: bool = False  # the data may lack the column altogether
    evidence: tuple[tuple[str, str], ...] = ()  # what a drafted rule rests on
    fields: tuple[Column, ...] = ()  # of an object; an array has one called `[]`. Their rules are among `rules`
