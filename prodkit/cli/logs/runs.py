"""Runs, attempts, cells and items as events of the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.cli.progress import write_output
from prodkit.errors import ProdkitError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.events import AttemptEvent, CellEvent, RunEvent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from prodkit.cli.logs.log import Level, Log
    from prodkit.jobs.events import Event
    from prodkit.jobs.fanout import FanoutResult, ItemResult
    from prodkit.jobs.runner import JobResult, RunOptions
    from prodkit.jobs.schedules.scheduler import Beat

_AWAITED = "jobs.locked"  # the scheduler asks again every few seconds


class RunLog:
    """Give `show` to `run_job` as `on_event`.

    Args:
        log: where to.
        job: the job's name, known before it begins.
        item: the row of a fan-out.
        result_on_stdout: what the notebook writes mustn't go there then.
    """

    def __init__(self, log: Log, job: str, *, item: int | None = None, result_on_stdout: bool = False) -> None:
        self._log, self._to_stderr = log, result_on_stdout
        self._known: dict[str, Any] = {"job": job, "item": item}
        self._attempt: int | None = None
        self._positions: dict[int, int] = {}  # of cells in the notebook -> among the code cells

    def show(self, event: Event) -> None:
        """One event of the run."""
        if isinstance(event, RunEvent):
            self._known |= {"job": event.job, "run": event.run, "url": event.url or None}
            self._write("run.start")
        elif isinstance(event, AttemptEvent):
            self._attempt = event.number
            self._show_attempt(event)
        elif isinstance(event, CellEvent):
            self._show_cell(event)
        elif self._log.form == "json":
            self._write("output", stream=event.stream, text=event.text)
        else:
            write_output(event, self._to_stderr)

    def end(self, result: JobResult) -> None:
        """The run has ended, and what could be published is."""
        last = result.attempts[-1] if result.attempts else None
        self._known |= {"job": result.job, "run": result.run, "url": result.url or None}
        self._write(
            "run.end",
            level="info" if result.outcome is Outcome.OK else "error",
            **_end(result.outcome, result.seconds),
            cost_usd=_money(result.cost),
            calls=result.calls,
            problem=result.problem or None,
            error=(last.error_class or None) if last else None,
            message=(last.message or None) if last else None,
            cell=self._positions.get(last.cell) if last and last.cell is not None else None,
            repeated=result.repeated,
            output=str(result.output) if result.output else None,
        )

    def refused(self, error: ProdkitError) -> None:
        """Nothing was run, or nothing more."""
        if error.code != _AWAITED:
            self._log.refused(error, **self._known, attempt=self._attempt)

    def _show_attempt(self, event: AttemptEvent) -> None:
        if event.kind == "start":
            self._write("attempt.start", attempts_at_most=event.limit)
        elif event.kind == "wait":
            self._write("attempt.wait", outcome=event.outcome.value, wait_seconds=round(event.waits, 3))
        else:
            self._write(
                "attempt.end",
                level="info" if event.outcome is Outcome.OK else "warning",
                **_end(event.outcome, event.seconds),
                error=event.error or None,
                message=event.message or None,
            )

    def _show_cell(self, event: CellEvent) -> None:
        self._positions[event.index] = event.position
        values: dict[str, Any] = {"cell": event.position, "cells": event.total}
        if event.kind == "end":
            values |= {"outcome": event.outcome.value, "seconds": round(event.seconds, 3)}
        if event.error:
            values |= {"error": event.error}
        if event.kind == "retry":
            values |= {"wait_seconds": round(event.waits, 3)}
        self._write(f"cell.{event.kind}", level="warning" if event.kind == "retry" else "debug", **values)

    def _write(self, event: str, *, level: Level = "info", **values: Any) -> None:
        self._log.write(event, level=level, **{**self._known, "attempt": self._attempt, **values})


def run_logged(
    log: Log,
    job: Path | str,
    params: Mapping[str, object] | None = None,
    *,
    options: RunOptions,
    log_output: bool = False,
    result_on_stdout: bool = False,
    **more: Any,
) -> JobResult:
    """`run_job`, told in the log from its begin to its end."""
    from prodkit.jobs.runner import run_job

    told = RunLog(log, Path(job).name, result_on_stdout=result_on_stdout)
    how = replace(options, log_output=log_output)
    try:
        result = run_job(job, params, options=how, on_event=told.show, **more)
    except ProdkitError as error:
        told.refused(error)
        raise
    told.end(result)
    return result


def log_beat(log: Log, beat: Beat) -> None:
    """A firing of a schedule began or ended."""
    began = beat.outcome is Outcome.RUNNING
    log.write(
        "schedule.start" if began else "schedule.end",
        level="info" if began or beat.outcome is Outcome.OK else "error",
        schedule=beat.schedule,
        outcome=beat.outcome.value,
        exit_code=None if began else beat.outcome.exit_code,
        due=beat.due.isoformat(),
        missed=beat.missed,
        error=beat.error or None,
    )


def log_item(log: Log, job: str, result: ItemResult, total: int) -> None:
    """One item of a fan-out has ended."""
    log.write(
        "item.end",
        level="info" if result.outcome is Outcome.OK else "warning",
        job=job,
        run=result.run or None,
        item=result.number,
        items=total,
        attempt=result.attempts or None,
        **_end(result.outcome, result.seconds),
        cost_usd=_money(result.cost),
        error=result.error or None,
        skipped=result.skipped,
    )


def log_fanout_end(log: Log, whole: FanoutResult) -> None:
    """All items have ended."""
    log.write(
        "run.end",
        level="info" if whole.outcome is Outcome.OK else "error",
        job=whole.job,
        run=whole.run,
        url=whole.url or None,
        **_end(whole.outcome, whole.seconds),
        cost_usd=_money(whole.cost),
        problem=whole.problem or None,
        items=len(whole.items) + whole.missing,
        counts=whole.counts,
        missing=whole.missing,
    )


def _end(outcome: Outcome, seconds: float) -> dict[str, Any]:
    return {"outcome": outcome.value, "exit_code": outcome.exit_code, "seconds": round(seconds, 3)}


def _money(usd: Decimal | None) -> str | None:
    """Money is text, so that nobody's parser rounds it."""
    return None if usd is None else format(usd, "f")
