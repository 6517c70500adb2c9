"""The run panel: what the open runs are doing and have cost, live, with a button that stops them."""

from __future__ import annotations

import signal
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from prodkit.manifest import find_project
from prodkit.notebook.displays import count, seconds, usd, word
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Shown, make_widget
from prodkit.records import Status

if TYPE_CHECKING:
    from prodkit.notebook.cells import CellRuns
    from prodkit.records import RunSummary

_TICK = 0.25  # seconds between two updates, at least
_SHOWN = 20  # runs, the newest
_EFFORT = 20  # an update may take a twentieth of the time


class RunPanel:
    """The runs of this kernel, the newest first. Shown, it follows them; `snapshot()` and `stop()` need no browser.

    Several panels of one kernel are in step, because each reads the same runs.
    """

    def __init__(self, runs: CellRuns) -> None:
        self._runs = runs
        self._widget: Any = make_widget("panel", self.state(), self._receive)
        self._shown: list[Shown] = []
        self._lock = threading.Lock()
        self._following = False
        panel = weakref.ref(self)
        runs.listeners.append(lambda: _notify(panel))

    def snapshot(self) -> tuple[RunSummary, ...]:
        """The figures of the open runs and of those that are over, the newest first."""
        open_now = [run.summary() for run in reversed(self._runs.open_runs)]
        return (*open_now, *reversed(self._runs.history))

    def stop(self) -> int:
        """Stop the open runs: no further call starts, and the running cell is interrupted. Returns how many."""
        found = self._runs.open_runs
        for run in found:
            run.stop()
        main = threading.main_thread()
        if found and main is not threading.current_thread() and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGINT)
        return len(found)

    def state(self) -> dict[str, Any]:
        """What the browser draws: texts, and shares for the bars."""
        shown = self.snapshot()[:_SHOWN]
        return {"runs": [_row(run) for run in shown], "limits": _limits(), "problem": self._problem()}

    def refresh(self) -> None:
        """Redraw once."""
        if self._widget is not None:
            self._widget.state = self.state()

    def _ipython_display_(self) -> None:
        self._shown.append(Shown(self._widget, self.to_table))

    def __repr__(self) -> str:
        """The plain form."""
        return self.to_table().to_text()

    def to_table(self) -> Table:
        """The panel as a table, which stays when the kernel is gone."""
        heads = ("run", "state", "calls", "cost", "tokens", "latency")
        rows = tuple(tuple(_row(run)[key] for key in _COLUMNS) for run in self.snapshot()[:_SHOWN])
        remarks = [f"{limit['name']}: {limit['text']}" for limit in _limits()]
        if not rows:
            remarks.insert(0, "no run yet: put `%%prodkit --name NAME` above a cell")
        return Table("runs of this kernel", heads, rows, tuple(remarks))

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("do") == "stop":
            self.stop()

    def _problem(self) -> str:
        open_now = self._runs.open_runs
        return str(open_now[-1].ledger.problem) if open_now else ""

    def follow(self) -> None:
        """Redraw at most four times a second while a run is open, and once when none is left."""
        with self._lock:
            if self._following or self._widget is None:
                return
            self._following = True
        threading.Thread(target=self._follow, name="prodkit-panel", daemon=True).start()

    def _follow(self) -> None:
        while True:
            began = time.monotonic()
            self.refresh()
            with self._lock:
                if not self._runs.open_runs:
                    self._following = False
                    break
            time.sleep(max(_TICK, _EFFORT * (time.monotonic() - began)))
        self.refresh()
        for shown in self._shown:
            shown.refresh()


_COLUMNS = ("name", "state", "calls", "cost", "tokens", "latency")


def _notify(panel: weakref.ref[RunPanel]) -> None:
    found = panel()
    if found is not None:
        found.follow()


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


def _limits() -> list[dict[str, Any]]:
    """The project's budgets by day and month, as far as they are limited."""
    from prodkit.budget import Budgets, Scopes

    project = find_project()
    balances = Budgets(project.state / "budget.db", project.manifest.budget).balances(Scopes())
    return [
        {
            "name": balance.scope,
            "text": f"{usd(balance.spent)} of {usd(balance.limit)}",
            "share": min(float(balance.spent / balance.limit), 1.0) if balance.limit else 1.0,
        }
        for balance in balances
        if balance.limit is not None
    ]
