"""The cost meter: what this kernel has spent, of which budgets, on which models, and what nobody has priced."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit.notebook.displays import count, usd
from prodkit.notebook.panel import limits
from prodkit.notebook.tables import Table
from prodkit.notebook.widgets import Face, Follower
from prodkit.records import ModelUse, Status

if TYPE_CHECKING:
    from prodkit.notebook.cells import CellRuns

_SHOWN = 30  # models


class CostMeter(Face):
    """Money, live: the sums are exact, and a call whose price isn't known is counted, never taken for 0."""

    script = "meter"

    def __init__(self, runs: CellRuns) -> None:
        self._runs = runs
        super().__init__()
        Follower(self, runs)

    @property
    def models(self) -> tuple[ModelUse, ...]:
        """What each model was used for in this kernel, the dearest first."""
        sums: dict[str, ModelUse] = {}
        for run in self._runs.snapshot():
            for use in run.by_model:
                sums[use.model] = sums[use.model] + use if use.model in sums else use
        return tuple(sorted(sums.values(), key=lambda use: (-use.cost_usd, -use.calls, use.model)))

    @property
    def spent(self) -> Decimal:
        """US dollars of all calls of this kernel whose price is known."""
        return sum((run.cost_usd for run in self._runs.snapshot()), Decimal(0))

    @property
    def unpriced(self) -> int:
        """Calls that may have cost something that nobody knows."""
        return sum(run.unpriced for run in self._runs.snapshot())

    def act(self, message: dict[str, Any]) -> None:
        """Nothing can be done here but to look."""

    def state(self) -> dict[str, Any]:
        """What the browser draws."""
        models, spent, unpriced = self.models, self.spent, self.unpriced
        calls = sum(use.calls for use in models)
        return {
            "spent": f"{usd(spent)} spent",
            "said": count(calls, "call") if calls else "no call so far",
            "unpriced": f"{count(unpriced, 'call')} without a price, not in this sum" if unpriced else "",
            "limits": [*self._own_limits(), *limits()],
            "models": [
                {**_row(use), "share": float(use.cost_usd / spent) if spent else 0.0} for use in models[:_SHOWN]
            ],
        }

    def to_table(self) -> Table:
        """The meter as a table, which stays when the kernel is gone."""
        state = self.state()
        rows = tuple(
            tuple(one[key] for key in ("model", "calls", "tokens", "cost", "unpriced")) for one in state["models"]
        )
        remarks = [state["spent"] + (f"; {state['unpriced']}" if state["unpriced"] else "")]
        remarks += [f"{limit['name']}: {limit['text']}" for limit in state["limits"]]
        heads = ("model", "calls", "tokens", "cost", "no price")
        return Table("cost of this kernel", heads, rows, tuple(remarks), "warn" if state["unpriced"] else "plain")

    def _own_limits(self) -> list[dict[str, Any]]:
        """The budgets of the runs that are open now."""
        return [
            {
                "name": f"run {run.name}",
                "text": f"{usd(run.cost_usd)} of {usd(run.budget_usd)}",
                "share": min(float(run.cost_usd / run.budget_usd), 1.0),
            }
            for run in self._runs.snapshot()
            if run.budget_usd and run.status is Status.RUNNING
        ]


def _row(use: ModelUse) -> dict[str, Any]:
    tokens = [("not known" if n is None else f"{n:,}") for n in (use.input_tokens, use.output_tokens)]
    return {
        "model": use.model or "not known",
        "calls": f"{use.calls:,}",
        "tokens": f"{tokens[0]} in, {tokens[1]} out",
        "cost": usd(use.cost_usd) if use.unpriced < use.calls else "not known",
        "unpriced": count(use.unpriced, "call") if use.unpriced else "",
    }
