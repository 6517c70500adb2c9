"""Checking a frame against a pandera schema as it is: pandera runs it, its report becomes findings without values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from prodkit.contracts.adopt import is_polars, schema_of, unchanging
from prodkit.contracts.evaluate import Outcome
from prodkit.contracts.rules import Rule
from prodkit.errors import DataError, nearest

if TYPE_CHECKING:
    from prodkit.contracts.frames import Frame


def check_foreign(frame: Frame, schema: Any) -> tuple[list[Outcome], str]:
    """Run a schema, with everything in it that changes values switched off; the outcomes and the schema's name.

    Raises:
        DataError: `contract.missing-column`.
        ConfigError: `contract.changes-values`, or `contract.no-contract` when it is no schema.
    """
    schema, switched = unchanging(schema_of(schema))
    name = str(schema.name or "schema")
    _refuse_missing(frame, schema, name)
    notes = [Outcome(Rule("", option), note="switched off, as it would change the data") for option in switched]
    ran = [Outcome(rule) for rule in _rules(schema)]
    data = _target(frame, schema)
    from pandera.errors import SchemaErrors

    try:
        schema.validate(data, lazy=True)
    except SchemaErrors as errors:
        failed = _outcomes(errors.failure_cases, data, frame.rows)
        broken = {outcome.rule.id for outcome in failed}
        return [*(outcome for outcome in ran if outcome.rule.id not in broken), *failed, *notes], name
    return [*ran, *notes], name


def _refuse_missing(frame: Frame, schema: Any, name: str) -> None:
    for column in schema.columns.values():
        if column.required and not column.regex and str(column.name) not in frame.positions:
            raise DataError(
                "contract.missing-column",
                f"The data lacks `{column.name}`, which the schema `{name}` requires.",
                where=name,
                fix=nearest(str(column.name), frame.names),
            )


def _target(frame: Frame, schema: Any) -> Any:
    """The frame of the schema's library; pandas loses its index, so that positions are what pandera reports."""
    if is_polars(schema):
        return frame.to_polars()
    data = frame.to_pandas()
    return data if schema.index is not None else data.reset_index(drop=True)


def _rules(schema: Any) -> list[Rule]:
    rules = [Rule("", "pandera", name=_name(check.name or "check")) for check in schema.checks]
    for column in schema.columns.values():
        rules += [Rule(str(column.name), "pandera", name=_name(check.name or "check")) for check in column.checks]
        rules += [Rule(str(column.name), "dtype")] if column.dtype is not None else []
        rules += [] if column.nullable else [Rule(str(column.name), "required")]
        rules += [Rule(str(column.name), "unique")] if column.unique else []
    return rules


def _outcomes(cases: Any, data: Any, rows: int) -> list[Outcome]:
    """The failure cases, without the cases' values."""
    if not hasattr(cases, "groupby"):
        cases = cases.to_pandas()
    outcomes = []
    for (context, column, check), group in cases.groupby(["schema_context", "column", "check"], dropna=False):
        path = "" if context == "DataFrameSchema" else str(column)
        rule = Rule(
            path, "pandera", name=_name(str(check)), description=_SAID.get(str(check), f"must pass {_name(str(check))}")
        )
        places = _positions(group["index"].dropna().unique(), data, rows)
        if places is None or not len(places):
            outcomes.append(Outcome(rule, whole=_SAID.get(str(check), f"doesn't pass {_name(str(check))}"), count=rows))
            continue
        fails = np.zeros(rows, dtype=bool)
        fails[places] = True
        outcomes.append(Outcome(rule, fails, count=int(fails.sum())))
    return outcomes


_SAID = {
    "not_nullable": "must not be empty",
    "field_uniqueness": "must not repeat another row's",
    "column_in_schema": "the schema doesn't know this column",
    "multiple_fields_uniqueness": "these columns together must not repeat another row's",
}


def _positions(labels: Any, data: Any, rows: int) -> Any:
    """Positions of the failing rows; None when the labels don't tell."""
    if hasattr(data, "index") and not _is_counter(data.index):
        return np.flatnonzero(data.index.isin(labels)) if data.index.is_unique else None
    places = np.asarray(labels, dtype=np.int64)
    return places[places < rows]


def _is_counter(index: Any) -> bool:
    return type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1


def _name(check: str) -> str:
    """`greater_than_or_equal_to(0)` and `dtype('int64')` as a rule's name: no arguments, no quotes."""
    return {"not_nullable": "required", "field_uniqueness": "unique"}.get(
        check, check.split("(", maxsplit=1)[0].strip("<>")
    )
