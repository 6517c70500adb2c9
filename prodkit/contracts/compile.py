"""A contract as a pandera schema: the reference that the vectorised checks are held to. It never coerces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from prodkit.contracts.bounds import text_of
from prodkit.contracts.cells import from_pandas
from prodkit.contracts.checks import CHECKS, unique_together
from prodkit.contracts.custom import DTYPE, build_check
from prodkit.contracts.types import type_fails

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.contracts.contract import Contract
    from prodkit.contracts.rules import Column, Rule

_NATIVE: dict[str, Callable[[Any, str], Any]] = {
    "minimum": lambda bound, name: pa.Check.ge(text_of(bound), name=name, error=name),
    "maximum": lambda bound, name: pa.Check.le(text_of(bound), name=name, error=name),
    "exclusiveMinimum": lambda bound, name: pa.Check.gt(text_of(bound), name=name, error=name),
    "exclusiveMaximum": lambda bound, name: pa.Check.lt(text_of(bound), name=name, error=name),
    "minLength": lambda count, name: pa.Check.str_length(min_value=count, name=name, error=name),
    "maxLength": lambda count, name: pa.Check.str_length(max_value=count, name=name, error=name),
}
_NUMBERS = ("integer", "number")


def compile_pandas(contract: Contract) -> Any:
    """The pandera `DataFrameSchema` that says what the contract says, for pandas frames.

    Bounds and lengths are pandera's own checks. Types, enumerations, patterns and duplicates carry the contract's exact
    meaning (RE2 patterns, any representation of a logical type, nulls that aren't duplicates) as named checks. Rules
    with a tolerance or a need for another engine are left to `validate`.
    """
    columns = {column.name: _column(column) for column in contract.columns}
    checks = [_table_check(rule) for rule in contract.table_rules if rule.kind in ("pandera", "uniqueTogether")]
    return pa.DataFrameSchema(columns, checks=checks, name=contract.name, coerce=False, strict=contract.closed)


def _column(column: Column) -> Any:
    own = [rule for rule in column.rules if rule.column == column.name and not _left_out(rule)]
    exact: dict[str, Any] = next((rule.argument for rule in column.rules if _is_dtype(rule)), {})
    return pa.Column(
        dtype=exact.get("dtype") if exact.get("library", "pandas") == "pandas" else None,
        checks=[_check(rule, column.logical_type) for rule in own if rule.kind != "required"],
        nullable=not column.required,
        required=not column.optional,
        coerce=False,
        name=column.name,
    )


def _left_out(rule: Rule) -> bool:
    return rule.tolerance is not None or rule.kind == "unchecked" or _is_dtype(rule)


def _is_dtype(rule: Rule) -> bool:
    return rule.kind == "pandera" and rule.argument["check"] == DTYPE


def _check(rule: Rule, logical: str) -> Any:
    if rule.kind == "pandera":
        return build_check(rule.argument, rule.id)
    if rule.kind == "type":
        return pa.Check(_type_check(rule.argument), name=rule.id, error=rule.id, ignore_na=False)
    if rule.kind in _NATIVE and (logical in _NUMBERS or logical == "string"):
        return _NATIVE[rule.kind](rule.argument, rule.id)
    return pa.Check(_own_check(rule, logical), name=rule.id, error=rule.id, ignore_na=False)


def _own_check(rule: Rule, logical: str) -> Callable[[Any], Any]:
    def holds(series: Any) -> Any:
        fails = CHECKS[rule.kind](from_pandas(series, logical).array, rule.argument)
        return _holding(series, fails)

    return holds


def _type_check(logical: str) -> Callable[[Any], Any]:
    def holds(series: Any) -> Any:
        whole, rows = type_fails(from_pandas(series, logical), logical)
        if whole:
            return False
        return _holding(series, rows)

    return holds


def _table_check(rule: Rule) -> Any:
    if rule.kind == "pandera":
        return build_check(rule.argument, rule.id)

    def holds(frame: Any) -> Any:
        fails = unique_together([from_pandas(frame[name], "").array for name in rule.columns])
        return _holding(frame, fails)

    return pa.Check(holds, name=rule.id, error=rule.id, ignore_na=False)


def _holding(data: Any, fails: Any) -> Any:
    """Rows that pass, as the Series that pandera wants."""
    return pd.Series(np.ones(len(data), dtype=bool) if fails is None else ~fails, index=data.index)
