"""Rules of the type `sql`: a query over the frame whose one figure is compared. DuckDB runs it where it is installed.

The query sees the frame alone: no file, no network, no variable of Python.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from prodkit.contracts.evaluate import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.contracts.frames import Frame
    from prodkit.contracts.rules import Rule

_NEEDS = "a query needs DuckDB: pip install duckdb"
_VIEW = "prodkit_data"
_PLACE = re.compile(r"\$\{\s*(\w+)\s*\}|\{\s*(\w+)\s*\}")
_TABLES = ("object", "table", "model", "schema")
_COLUMNS = ("property", "column", "field")


def run_queries(frame: Frame, rules: list[Rule], where: Mapping[str, str], table: str) -> list[Outcome]:
    """What each query comes to. One that can't run breaks its rule; without DuckDB it is said to be unchecked."""
    try:
        import duckdb
    except ModuleNotFoundError:
        return [Outcome(rule, note=_NEEDS) for rule in rules]
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.execute("SET python_enable_replacements = false; SET lock_configuration = true")
        outcomes = []
        for name in {_VIEW, table} - {""}:
            connection.register(name, _table(frame, where))
        for rule in rules:
            try:
                outcomes.append(_compare(rule, _figure(connection, _filled(rule)), frame.rows))
            except duckdb.Error as error:  # its text may hold values, so only its kind is told
                outcomes.append(Outcome(rule, whole=f"the query ends with a {type(error).__name__}", count=frame.rows))
        return outcomes


def _table(frame: Frame, where: Mapping[str, str]) -> Any:
    """The frame under the contract's names; cells that aren't of their column's type are null."""
    ours = {theirs: name for name, theirs in where.items()}
    return pa.table({ours.get(name, name): frame.cells(name).array for name in frame.names})


def _filled(rule: Rule) -> str:
    """The query with the standard's placeholders filled in."""
    column = ".".join('"' + part.replace('"', '""') + '"' for part in rule.column.split("."))

    def fill(match: re.Match[str]) -> str:
        name = (match[1] or match[2]).lower()
        return _VIEW if name in _TABLES else column if name in _COLUMNS and column else match[0]

    return _PLACE.sub(fill, str(rule.argument))


def _figure(connection: Any, query: str) -> Any:
    """The query's one figure; a text that says what is wrong with it otherwise."""
    statements = connection.extract_statements(query)
    if len(statements) != 1 or not str(statements[0].type).upper().endswith("SELECT"):
        return "the rule isn't one SELECT"
    rows = connection.execute(query).fetchmany(2)
    if len(rows) != 1 or len(rows[0]) != 1:
        return "the query doesn't give one figure"
    figure = rows[0][0]
    return "the query gives no number" if figure is None or isinstance(figure, str | bytes) else figure


def _compare(rule: Rule, figure: Any, rows: int) -> Outcome:
    if isinstance(figure, str):
        return Outcome(rule, whole=figure, count=rows)
    try:
        measured = float(figure)
    except (TypeError, ValueError):
        return Outcome(rule, whole="the query gives no number", count=rows)
    if rule.tolerance is None or rule.tolerance.holds(measured, rows):
        return Outcome(rule)
    return Outcome(rule, whole=f"the query must give {rule.tolerance.text}, and doesn't", count=rows)
