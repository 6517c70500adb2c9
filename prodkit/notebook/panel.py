"""The run panel: what the open runs are doing and have cost, live, with a button that stops them."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from prodkit.manifest import find_project
from prodkit.notebook.displays import count, seconds, usd, word
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Face, Follower
from prodkit.records import Status

if TYPE_CHECKING:
    from prodkit.notebook.cells import CellRuns
    from prodkit.records import RunSummary

_SHOWN = 20  # runs, the newest


class RunPanel(Face):
    """The runs of this kernel, the newest first. Shown, it follows them; `snapshot()` and `stop()` need no browser.

    Several panels of one kernel are in step, because each reads the same runs.
    """

    script = "panel"

    def __init__(self, runs: CellRuns) -> None:
        self._runs = runs
        super().__init__()
        Follower(self, runs)

    def snapshot(self) -> tuple[RunSummary, ...]:
        """The figures of the open runs and of those that are over, the newest first."""
        return self._runs.snapshot()

    def stop(self) -> int:
        """Stop the open runs: no further call starts, and the running cell is interrupted. Returns how many."""
        found = self._runs.open_runs
        for run in found:
            run.stop()
        main = threading.main_thread()
        if found and main is not threading.current_thread() and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGINT)
        return len(found)

    def act(self, message: dict[str, Any]) -> None:
        """The stop button."""
        if message.get("do") == "stop":
            self.tell({"stopping": True})  # that the button was heard: not every kernel hears one while a cell runs
            self.stop()

    def state(self) -> dict[str, Any]:
        """What the browser draws: texts, and shares for the bars."""
        runs = self.snapshot()
        drawn = {"runs": [_row(run) for run in runs[:_SHOWN]], "more": max(0, len(runs) - _SHOWN), "limits": limits()}
        return {**drawn, **({"problem": waiting} if (waiting := self._runs.problem) else {})}

    def to_table(self) -> Table:
        """The panel as a table, which stays when the kernel is gone."""
        runs = self.snapshot()
        heads = ("run", "state", "calls", "cost", "tokens", "latency")
        rows = tuple(tuple(_row(run)[key] for key in _COLUMNS) for run in runs[:_SHOWN])
        remarks = [f"{limit['name']}: {limit['text']}" for limit in limits()]
        if not rows:
            remarks.insert(0, "no run yet: put `%%prodkit --name NAME` above a cell")
        if len(runs) > _SHOWN:
            remarks.insert(0, f"and {len(runs) - _SHOWN:,} earlier runs")
        return Table("runs of this kernel", heads, rows, tuple(remarks))


_COLUMNS = ("name", "state", "calls", "cost", "tokens", "latency")


def _row(run: RunSummary) -> dict[str, Any]:
    """One run in words; `share` is the part of its budget that is spent."""
    troubles = [
        f"{number:,} {word}"
        for number, word in ((run.errors, "failed"), (run.refused, "refused"), (run.unpriced, "unpriced"))
        if number
    ]
    tokens = [("not known" if n is None else f"{n:,}") for n in (run.input_tokens, run.output_tokens)]
    limit = run.budget_usd
    return {
        "name": run.name,
        "open": run.status is Status.RUNNING,
        "state": word(run.status) + (f", {seconds(run.seconds)}" if run.seconds is not None else ""),
        "calls": count(run.calls, "call") + (f" ({', '.join(troubles)})" if troubles else ""),
        "cost": usd(run.cost_usd) + (f" of {usd(limit)}" if limit is not None else ""),
        "share": min(float(run.cost_usd / limit), 1.0) if limit else None,
        "tokens": f"{tokens[0]} in, {tokens[1]} out" if run.calls else "",
        "latency": f"{seconds(run.p50_seconds)} median, {seconds(run.p95_seconds)} p95" if run.calls else "",
        "simulated": run.simulated,
    }


def limits() -> list[dict[str, Any]]:
    """The project's budgets by day and month, as far as they are limited."""
    from prodkit.budget import Scopes
    from prodkit.stores import budgets_of

    balances = budgets_of(find_project()).balances(Scopes())
    return [
        {
            "name": balance.scope,
            "text": f"{usd(balance.spent)} of {usd(balance.limit)}",
            "share": min(float(balance.spent / balance.limit), 1.0) if balance.limit else 1.0,
        }
        for balance in balances
        if balance.limit is not None
    ]
