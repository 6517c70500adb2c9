"""Checking a frame against its contract: all findings at once, no value changed, no value shown."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prodkit.contracts.contract import Contract
from prodkit.contracts.evaluate import Outcome, evaluate, locate
from prodkit.contracts.frames import ORIGIN, Frame, wrap
from prodkit.contracts.validation import Validation
from prodkit.contracts.wording import say
from prodkit.errors import ParameterError, nearest
from prodkit.records import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Mode = Literal["refuse", "quarantine", "warn"]
MODES = ("refuse", "quarantine", "warn")
_ROWS_NAMED = 20
_EXAMPLES = 3


listeners: list[Callable[[Validation], None]] = []
"""Who is told what a user's own `validate` has found: an open run records it."""


def validate(
    df: Any, contract: Any, mode: Mode = "refuse", *, engine: Literal["arrow", "pandera"] = "arrow"
) -> Validation:
    """Check a frame against a contract. Nothing is coerced, filled or dropped; the frame itself stays as it is.

    Inside of a captured run the report, its figures and a trace span are recorded with the run.

    Args:
        df: pandas or polars DataFrame, polars LazyFrame (its data too: it is collected), pyarrow Table or RecordBatch.
        contract: a `Contract`, a path to one, or a pandera `DataFrameSchema` or `DataFrameModel`.
        mode: what a broken contract means. `refuse`: `.valid` raises. `quarantine`: bad rows are set aside, `.valid` is
            the rest. `warn`: `.valid` is everything.
        engine: who evaluates the rules. `arrow` is vectorised; `pandera` runs the compiled pandera schema, which is the
            reference. Both find the same rows.

    Returns:
        The result, with every finding. Findings hold positions and counts; values only of columns classified `public`.

    Raises:
        DataError: `contract.missing-column`, `contract.duplicate-columns`, `contract.no-frame`.
        ConfigError: the contract itself is wrong.
    """
    found = examine(df, contract, mode, engine=engine)
    for listener in listeners:
        listener(found)
    return found


def examine(
    df: Any, contract: Any, mode: Mode = "refuse", *, engine: Literal["arrow", "pandera"] = "arrow"
) -> Validation:
    """As `validate`, and nobody is told."""
    if mode not in MODES:
        raise ParameterError("contract.unknown-mode", f"There is no mode `{mode}`.", fix=nearest(str(mode), MODES))
    started = time.perf_counter()
    frame = wrap(df)
    if not isinstance(contract, Contract | str | Path):
        from prodkit.contracts.foreign import check_foreign

        outcomes, name = check_foreign(frame, contract)
        return _result(frame, outcomes, (name, "", "pandera"), mode, frozenset(), started)
    agreed = contract if isinstance(contract, Contract) else Contract.load(contract)
    outcomes = _outcomes(frame, agreed, engine)
    public = frozenset(column.name for column in agreed.columns if column.public)
    return _result(frame, outcomes, (agreed.name, agreed.version, engine), mode, public, started)


def _outcomes(frame: Frame, contract: Contract, engine: str) -> list[Outcome]:
    from prodkit.contracts.reference import run_custom, run_reference

    where = locate(frame, contract)
    outcomes = run_reference(frame, contract) if engine == "pandera" else evaluate(frame, contract)
    custom = [rule for rule in contract.rules if rule.kind == "pandera"]
    if custom and engine != "pandera":
        outcomes += run_custom(frame, custom, where)
    queries = [rule for rule in contract.rules if rule.kind == "sql"]
    if queries:
        from prodkit.contracts.queries import run_queries

        outcomes += run_queries(frame, queries, where, contract.name)
    return outcomes + _columns_beside(frame, contract, where)


def _columns_beside(frame: Frame, contract: Contract, where: dict[str, str]) -> list[Outcome]:
    """Columns that the contract names and the frame lacks, and the other way round."""
    from prodkit.contracts.rules import Rule

    outcomes = [
        Outcome(Rule(column.name, "present"), whole="the column isn't there", count=frame.rows)
        for column in contract.columns
        if column.name not in where and not column.optional
    ]
    known = set(where.values())
    severity: Literal["error", "warning"] = "error" if contract.closed else "warning"
    outcomes += [
        Outcome(
            Rule(name, "unknown", severity=severity), whole="the contract doesn't know this column", count=frame.rows
        )
        for name in frame.names
        if name not in known and name != ORIGIN
    ]
    if not frame.rows:
        outcomes.append(
            Outcome(Rule("", "empty", severity="warning"), whole="the frame has no rows, so no row was checked")
        )
    return outcomes


def _result(
    frame: Frame, outcomes: list[Outcome], who: tuple[str, str, str], mode: Mode, public: frozenset[str], started: float
) -> Validation:
    failing = np.zeros(frame.rows, dtype=bool)
    for outcome in outcomes:
        if outcome.fails is not None and outcome.rule.severity == "error":
            failing |= outcome.fails
    findings = tuple(
        _finding(frame, outcome, public) for outcome in outcomes if outcome.fails is not None or outcome.whole
    )
    name, version, engine = who
    return Validation(
        contract=name,
        version=version,
        mode=mode,
        engine=engine,
        findings=findings,
        checked=frame.rows,
        failed=int(failing.sum()),
        rules=len({outcome.rule.id for outcome in outcomes}),
        unchecked=tuple(f"{outcome.rule.id}: {outcome.note}" for outcome in outcomes if outcome.note),
        whole=tuple(outcome.rule.id for outcome in outcomes if outcome.whole and outcome.rule.severity == "error"),
        seconds=time.perf_counter() - started,
        frame=frame,
        failing=failing,
        reasons=tuple((outcome.rule.id, outcome.fails) for outcome in outcomes if outcome.fails is not None),
    )


def _finding(frame: Frame, outcome: Outcome, public: frozenset[str]) -> Finding:
    rule = outcome.rule
    rows = () if outcome.fails is None else tuple(int(row) for row in np.flatnonzero(outcome.fails)[:_ROWS_NAMED])
    return Finding(
        rule=rule.id,
        column=rule.column,
        count=outcome.count,
        checked=frame.rows,
        what=outcome.whole or say(rule),
        rows=rows,
        severity=rule.severity,
        examples=_examples(frame, rule.column, outcome.fails)
        if rule.column in public and rows and rule.kind != "required"
        else (),
    )


def _examples(frame: Frame, column: str, fails: NDArray[np.bool_]) -> tuple[str, ...]:
    if column not in frame.positions:
        return ()
    values = frame.cells(column).array
    shown = dict.fromkeys(str(values[int(row)].as_py())[:60] for row in np.flatnonzero(fails)[:200])
    return tuple(shown)[:_EXAMPLES]
