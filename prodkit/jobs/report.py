"""A job run told to people (one HTML page, seen in MLflow) and to programs (`run.json` beside the notebooks)."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from prodkit.records import now

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.jobs.attempts import AttemptResult
    from prodkit.jobs.ends import Outcome
    from prodkit.jobs.record import CellFigures

_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2rem;max-width:60rem}table{border-collapse:collapse}"
    "td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}td.n{text-align:right}"
)


def to_html(job: str, outcome: Outcome, attempts: tuple[AttemptResult, ...], refused: str = "") -> str:
    """What was tried, how each attempt ended, and how long it took; or why nothing was. Holds no data of the run."""
    rows = "".join(_row(attempt) for attempt in attempts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(job)}: {outcome.value}</title>'
        f"<style>{_STYLE}</style><h1>{escape(job)}: {outcome.value} (exit code {outcome.exit_code})</h1>"
        + (f"<p>Refused before a kernel started: {escape(refused)}</p>" if refused else "")
        + "<table><thead><tr><th>Attempt<th>Outcome<th>Seconds<th>Waited before<th>Error<th>Cell<th>Notebook</tr>"
        f"</thead><tbody>{rows}</tbody></table>{_cells(attempts)}</html>\n"
    )


def _row(attempt: AttemptResult) -> str:
    cells = (
        f'<td class="n">{attempt.number}',
        f"<td>{attempt.outcome.value}",
        f'<td class="n">{attempt.seconds:.1f}',
        f'<td class="n">{attempt.waited:.1f}',
        f"<td>{escape(attempt.error_class)}",
        f'<td class="n">{"" if attempt.cell is None else attempt.cell}',
        f"<td>{escape(attempt.output.name) if attempt.output else ''}",
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cells(attempts: tuple[AttemptResult, ...]) -> str:
    """What each cell of the last attempt took."""
    if not attempts or not attempts[-1].cells:
        return ""
    rows = "".join(
        f'<tr><td class="n">{one.position}<td>{escape(one.title)}<td>{one.outcome.value}'
        f'<td class="n">{one.seconds:.1f}<td class="n">{one.calls or ""}<td class="n">{_money(one)}</tr>'
        for one in attempts[-1].cells
    )
    head = "<thead><tr><th>Code cell<th>Begins with<th>Outcome<th>Seconds<th>Calls<th>US dollars</tr></thead>"
    return f"<h2>Cells of attempt {attempts[-1].number}</h2><table>{head}<tbody>{rows}</tbody></table>"


def _money(cell: CellFigures) -> str:
    if not cell.calls:
        return ""
    return "not known" if cell.cost is None else f"{cell.cost:.5f}"


def write_record(
    path: Path,
    job: str,
    run: str,
    outcome: Outcome,
    attempts: tuple[AttemptResult, ...],
    seconds: float,
    params: dict[str, Any],
) -> None:
    """Write `run.json`, for those who have no MLflow at hand. `params` are JSON values; secrets are references."""
    record = {
        "job": job,
        "run": run,
        "outcome": outcome.value,
        "exit_code": outcome.exit_code,
        "seconds": round(seconds, 3),
        "written": now().isoformat(),
        "params": params,
        "attempts": [_as_json(attempt) for attempt in attempts],
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _as_json(attempt: AttemptResult) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "seconds": round(attempt.seconds, 3),
        "waited": round(attempt.waited, 3),
        "error": attempt.error_class,
        "cell": attempt.cell,
        "mlflow_run_id": attempt.run_id,
        "notebook": attempt.output.name if attempt.output else "",
        "cells": [
            {
                "position": cell.position,
                "outcome": cell.outcome.value,
                "seconds": cell.seconds,
                "calls": cell.calls,
                "cost_usd": None if cell.cost is None else str(cell.cost),
            }
            for cell in attempt.cells
        ],
    }
