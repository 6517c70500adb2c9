"""Running pandera: the whole compiled schema as the reference, or only the rules that pandera alone can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from prodkit.contracts.custom import COMPARE, DTYPE, build_check
from prodkit.contracts.evaluate import Outcome, evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.contracts.contract import Contract
    from prodkit.contracts.frames import Frame
    from prodkit.contracts.rules import Rule


def run_custom(frame: Frame, rules: list[Rule], where: Mapping[str, str]) -> list[Outcome]:
    """Rules of the engine pandera, by pandera. A check that can't run is a finding about the column as a whole."""
    data = frame.to_pandas()
    outcomes = []
    for rule in rules:
        names = _columns_of(rule)
        if any(name not in where and name not in frame.positions for name in names):
            outcomes.append(Outcome(rule, note="a column of the rule isn't there"))
            continue
        renamed = {where[name]: name for name in names if name in where}
        if rule.argument["check"] == DTYPE:
            outcomes.append(_dtype(frame, rule, where.get(rule.column, rule.column)))
            continue
        target = data.rename(columns=renamed)[rule.column] if rule.column else data.rename(columns=renamed)
        outcomes.append(run_check(rule, build_check(rule.argument, rule.id), target, frame.rows))
    return outcomes


def _dtype(frame: Frame, rule: Rule, name: str) -> Outcome:
    """The exact type of a column, which only the library that it is a type of can tell."""
    wanted, library = rule.argument["dtype"], rule.argument.get("library", frame.library)
    if library != frame.library:
        return Outcome(rule, note=f"it is a type of {library}, the data is {frame.library}")
    if library == "polars":
        actual = frame.cells(name).dtype
        return (
            Outcome(rule)
            if actual == wanted
            else Outcome(rule, whole=f"the column is {actual}, not {wanted}", count=frame.rows)
        )
    import pandera.pandas as pa
    from pandera.errors import SchemaErrors

    series = frame.to_pandas().iloc[:, frame.positions[name]]
    try:
        pa.SeriesSchema(wanted, nullable=True).validate(series.rename(None), lazy=True)
    except SchemaErrors:
        return Outcome(rule, whole=f"the column is {series.dtype}, not {wanted}", count=frame.rows)
    return Outcome(rule)


def run_check(rule: Rule, check: Any, target: Any, rows: int) -> Outcome:
    """One pandera check over a column or a frame, as rows."""
    try:
        result = check(target.reset_index(drop=True))
        output = result.check_output
    except Exception as error:  # a check is anybody's code; its message may hold values, so only its kind is told
        return Outcome(rule, whole=f"the check ends with a {type(error).__name__}", count=rows)
    if hasattr(output, "index") and hasattr(output, "to_numpy"):
        return _from_output(rule, output, rows)
    passed = bool(np.all(result.check_passed))
    return Outcome(rule) if passed else Outcome(rule, whole="the column or frame as a whole doesn't pass", count=rows)


def _from_output(rule: Rule, output: Any, rows: int) -> Outcome:
    """The rows that a check's output names; it leaves out the empty ones."""
    holds = (output if output.ndim == 1 else output.all(axis=1)).fillna(value=True).astype(bool)
    fails = np.zeros(rows, dtype=bool)
    fails[holds.index[~holds.to_numpy()]] = True
    return Outcome(rule, fails if fails.any() else None, count=int(fails.sum()))


def run_reference(frame: Frame, contract: Contract) -> list[Outcome]:
    """The compiled schema, run by pandera itself; its report is turned into rows, its values are dropped."""
    from prodkit.contracts.compile import compile_pandas

    data = frame.to_pandas().reset_index(drop=True)
    data.columns = frame.names
    by_id = {rule.id: rule for rule in contract.rules}
    beside = [outcome for outcome in evaluate(frame, contract) if _not_in_schema(outcome.rule, contract)]
    return [*_failures(compile_pandas(contract), data, by_id, frame.rows), *beside]


def _not_in_schema(rule: Rule, contract: Contract) -> bool:
    top = {column.name for column in contract.columns} | {""}
    return rule.tolerance is not None or rule.kind in ("unchecked", "rowCount") or rule.column not in top


def _failures(schema: Any, data: Any, by_id: Mapping[str, Rule], rows: int) -> list[Outcome]:
    from pandera.errors import SchemaErrors

    try:
        schema.validate(data, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
    else:
        return [Outcome(rule) for rule in by_id.values()]
    outcomes = {identity: Outcome(rule) for identity, rule in by_id.items()}
    for (column, check), group in cases.groupby(["column", "check"], dropna=False):
        identity = f"{column}.required" if check == "not_nullable" else str(check)
        identity = f"{column}.dtype" if identity.startswith("dtype(") else identity
        if identity not in by_id:
            continue  # missing or unknown columns are told by `validate`
        places = group["index"].dropna().astype(int).unique()
        fails = np.zeros(rows, dtype=bool)
        fails[places] = True
        rule = by_id[identity]
        outcomes[identity] = (
            Outcome(rule, fails, count=len(places))
            if len(places)
            else Outcome(rule, whole="the column doesn't pass", count=rows)
        )
    return list(outcomes.values())


def _columns_of(rule: Rule) -> list[str]:
    arguments = rule.argument
    named = [arguments["left"], arguments["right"]] if arguments["check"] == COMPARE else []
    return [rule.column, *named] if rule.column else named
