"""Every rule of a contract over a frame, in one pass by column, on as many threads as there are cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prodkit.contracts.cells import Cells, from_arrow
from prodkit.contracts.checks import CHECKS, polars_pattern, unique_together
from prodkit.contracts.formats import FORMATS
from prodkit.contracts.types import type_fails
from prodkit.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.contracts.contract import Contract
    from prodkit.contracts.frames import Frame
    from prodkit.contracts.rules import Column, Rule

_THREADS_FROM = 200_000  # rows; below, a thread costs more than it saves
_ELSEWHERE = ("pandera", "sql")  # kinds that others evaluate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule came to.

    Attributes:
        rule: the rule.
        fails: rows that break it; None when the finding is about the column or the frame as a whole, or there is none.
        whole: a sentence when the column or frame as a whole breaks the rule.
        count: failing rows.
        note: for a rule that wasn't checked, why.
    """

    rule: Rule
    fails: Any = None
    whole: str = ""
    count: int = 0
    note: str = ""


def evaluate(frame: Frame, contract: Contract) -> list[Outcome]:
    """All rules but pandera's own.

    Raises:
        DataError: `contract.missing-column`, when a required column isn't there.
    """
    where = locate(frame, contract)
    jobs = [(where[column.name], column) for column in contract.columns if column.name in where]

    def run(job: tuple[str, Column]) -> list[Outcome]:
        return _column(frame, *job)

    if frame.rows >= _THREADS_FROM and len(jobs) > 1:
        with ThreadPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
            outcomes = [outcome for part in pool.map(run, jobs) for outcome in part]
    else:
        outcomes = [outcome for job in jobs for outcome in run(job)]
    return outcomes + [_table(frame, rule, where) for rule in contract.table_rules if rule.kind not in _ELSEWHERE]


def locate(frame: Frame, contract: Contract) -> dict[str, str]:
    """Contract column to frame column: by name, else by physical name.

    Raises:
        DataError: `contract.missing-column`, naming the required columns that aren't there.
    """
    found: dict[str, str] = {}
    absent = []
    for column in contract.columns:
        name = next((name for name in (column.name, column.physical_name) if name in frame.positions), None)
        if name is not None:
            found[column.name] = name
        elif column.required and not column.optional:
            absent.append(column.name)
    if absent:
        raise _missing_columns(frame, contract, absent, set(found.values()))
    return found


def _missing_columns(frame: Frame, contract: Contract, absent: list[str], taken: set[str]) -> DataError:
    others = [name for name in frame.names if name not in taken]
    hints = [f"`{name}`: {nearest(name, others)}" for name in absent[:5]] if others else []
    listed = ", ".join(f"`{name}`" for name in absent[:10])
    return DataError(
        "contract.missing-column",
        f"The data lacks {listed}, which the contract `{contract.name}` requires.",
        where=contract.source,
        fix="; ".join(hints) or "add the column, or take `required` out of the contract",
    )


def _column(frame: Frame, name: str, column: Column) -> list[Outcome]:
    cells = frame.cells(name, column.logical_type)
    outcomes = _cells(cells, [rule for rule in column.rules if rule.column == column.name], typed=frame.typed)
    inner = [rule for rule in column.rules if rule.column != column.name]
    if inner and not any(outcome.whole for outcome in outcomes):
        outcomes += _nested(cells, column.name, inner)
    return outcomes


def _cells(cells: Cells, rules: Iterable[Rule], *, typed: bool) -> list[Outcome]:
    """The rules of one column or field. After a wrong type only nulls and duplicates are still looked for."""
    outcomes: list[Outcome] = []
    readable = True
    for rule in rules:
        if rule.kind == "type":
            outcome = _type(cells, rule, typed=typed)
            readable = not outcome.whole
        elif rule.kind in ("pandera", "sql", "uniqueTogether"):
            continue
        elif rule.kind == "unchecked":
            outcome = Outcome(rule, note=_why_unchecked(rule))
        elif not readable and rule.kind != "required":
            outcome = Outcome(rule, note="the column is of another type")
        else:
            outcome = _check(cells, rule)
        outcomes.append(outcome)
    return outcomes


def _why_unchecked(rule: Rule) -> str:
    return "is written for people" if rule.argument == "text" else f"needs the engine `{rule.argument}`"


def _type(cells: Cells, rule: Rule, *, typed: bool) -> Outcome:
    if not len(cells.array) and not typed:
        return Outcome(rule)
    whole, rows = type_fails(cells, rule.argument)
    if whole:
        is_what = cells.problem or f"is {cells.dtype}"
        return Outcome(rule, whole=f"the column {is_what}, the contract says {rule.argument}", count=len(cells.array))
    return _rows(rule, rows)


def _check(cells: Cells, rule: Rule) -> Outcome:
    if cells.series is not None and rule.kind in {"pattern", "format"}:
        done, found = polars_pattern(cells.series, FORMATS[rule.argument] if rule.kind == "format" else rule.argument)
        if done:
            return _rows(rule, found)
    try:
        fails = CHECKS[rule.kind](cells.array, rule.argument)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        return Outcome(rule, whole=f"a {cells.dtype} column can't be checked for {rule.kind}", count=len(cells.array))
    if rule.kind in ("required", "missing") and fails is not None and cells.odd is not None:
        fails &= ~cells.odd  # a cell of a wrong type is null in the array, but it isn't missing
    return _rows(rule, fails)


def _rows(rule: Rule, fails: Any) -> Outcome:
    """A rule about how many rows may fail is about the column as a whole: no row can be blamed alone."""
    count = 0 if fails is None else int(np.count_nonzero(fails))
    if not count or rule.tolerance is None:
        return Outcome(rule, fails if count else None, count=count)
    if rule.tolerance.holds(count, len(fails)):
        return Outcome(rule)
    return Outcome(rule, whole=f"{count} rows fail, the contract allows {rule.tolerance.text}", count=count)


def _nested(cells: Cells, path: str, rules: list[Rule]) -> list[Outcome]:
    """Rules of fields inside objects and of items inside arrays, told by the row that they lie in."""
    outcomes: list[Outcome] = []
    for inner, group in groupby(sorted(rules, key=lambda rule: rule.column), key=lambda rule: rule.column):
        entry = _walk(cells.array, inner.removeprefix(path))
        for rule in group:
            if entry is None:
                missing = rule.kind in ("required", "type")
                outcomes.append(
                    Outcome(rule, whole="the field isn't there", count=len(cells.array)) if missing else Outcome(rule)
                )
                continue
            values, parents = entry
            if rule.kind in _ELSEWHERE:
                continue
            outcome = _cells(from_arrow(values), [rule], typed=True)[0]
            if outcome.fails is not None:
                rows = np.zeros(len(cells.array), dtype=bool)
                rows[parents[outcome.fails]] = True
                outcome = Outcome(rule, rows, count=int(rows.sum()))
            outcomes.append(outcome)
    return outcomes


def _walk(array: Any, steps: str) -> tuple[Any, Any] | None:
    """Follow `.field` and `[]` into nested values: the values, and the row that each lies in."""
    parents = np.arange(len(array))
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    for step in steps.replace("[]", ".[]").strip(".").split("."):
        alive = np.asarray(pc.is_valid(array), dtype=bool)
        array, parents = array.filter(pa.array(alive)), parents[alive]
        if step == "[]":
            if not hasattr(array, "values") or pa.types.is_struct(array.type):
                return None
            parents = parents[np.asarray(pc.list_parent_indices(array))]
            array = pc.list_flatten(array)
        elif pa.types.is_struct(array.type) and step in array.type.names:
            array = pc.struct_field(array, step)
        else:
            return None
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array, parents


def _table(frame: Frame, rule: Rule, where: Mapping[str, str]) -> Outcome:
    if rule.kind == "unchecked":
        return Outcome(rule, note=_why_unchecked(rule))
    if rule.kind == "rowCount":
        if rule.argument.holds(frame.rows, frame.rows):
            return Outcome(rule)
        return Outcome(
            rule, whole=f"there are {frame.rows} rows, the contract says {rule.argument.text}", count=frame.rows
        )
    if any(name not in where and name not in frame.positions for name in rule.columns):
        return Outcome(rule, whole="a column of the rule isn't there", count=frame.rows)
    return _rows(rule, unique_together([frame.cells(where.get(name, name)).array for name in rule.columns]))
