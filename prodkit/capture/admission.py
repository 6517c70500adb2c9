"""Whether a call may start: the kill switch, then the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.budget import Budgets, Scopes
from prodkit.capture import payload
from prodkit.errors import BudgetError, ProdkitError
from prodkit.pricing import estimate

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from prodkit.budget import Reservation
    from prodkit.capture.calls import Call
    from prodkit.capture.runs import OpenRun

_FIRST_GUESS = 1_024  # output tokens, for a call that sets no limit
_LEAST_GUESS = 64
_NO_CONTENT = frozenset({"model", "stream", "stream_options"})


class Admission:
    """Money that is set aside for one call."""

    def __init__(self, run: OpenRun, budgets: Budgets | None, reservation: Reservation | None) -> None:
        self._run, self._budgets, self._reservation = run, budgets, reservation

    def settle(self, actual: Decimal | None) -> None:
        """Replace what was set aside by what the call has cost; None keeps the reserve as spent."""
        if self._budgets is None or self._reservation is None:
            return
        try:
            crossed = self._budgets.settle(self._reservation, actual)
        except BudgetError as error:  # the call has been made; the next one is refused by the same error
            self._run.note(f"A cost couldn't be settled: {error.what}")
            return
        for announcement in crossed:
            self._run.announce(str(announcement))


def admit(call: Call) -> Admission:
    """Let a call start, with its upper price set aside.

    Raises:
        ProdkitError: `capture.kill-switch`, or `capture.stopped` after `run.stop()`.
        BudgetError: `budget.exceeded`, `budget.unpriced` or `budget.unavailable`.
    """
    run = call.run
    check_kill_switch(run)
    budget, limit = run.manifest.budget, run.budget_limit
    if limit is None and all(
        one is None for one in (budget.per_run, budget.per_day, budget.per_month, budget.per_user)
    ):
        return Admission(run, None, None)
    budgets = budgets_of(run)
    scopes = Scopes(
        run=run.budget_key, user=call.stamp.user, cell=run.key if limit is not None else "", cell_limit=limit
    )
    reservation = budgets.reserve(scopes, upper_cost(call))
    for announcement in reservation.announcements:
        run.announce(str(announcement))
    return Admission(run, budgets, reservation)


def budgets_of(run: OpenRun) -> Budgets:
    """The project's budgets."""
    return Budgets(_path(run), run.manifest.budget)


def _path(run: OpenRun) -> Path:
    return run.project.state / "budget.db"


def check_kill_switch(run: OpenRun) -> None:
    """Refuse when the run was stopped, and while the manifest's kill switch lies there.

    Raises:
        ProdkitError: `capture.stopped` or `capture.kill-switch`.
    """
    if run.stopped:
        what, fix = "The run was stopped by hand: no further call starts.", "run the cell again"
        raise ProdkitError("capture.stopped", what, where=run.name, fix=fix)
    name = run.manifest.kill_switch
    if name and run.project.path(name).exists():
        raise ProdkitError(
            "capture.kill-switch",
            "The kill switch is on: no call starts.",
            where=str(run.project.path(name)),
            fix="find out who put the file there and why, then remove it",
        )


def upper_cost(call: Call) -> Decimal | None:
    """What the call can cost at most, as far as its request tells; None when the price isn't known."""
    limit = payload.output_limit(call.body)
    guess = limit if limit is not None else call.run.guess_output(call.model, _FIRST_GUESS, _LEAST_GUESS)
    tokens = payload.upper_input_tokens([value for key, value in call.body.items() if key not in _NO_CONTENT])
    manifest = call.run.manifest
    cost = estimate(call.provider, call.model, prompt_tokens=tokens, max_output_tokens=guess, manifest=manifest)
    if cost is None and limit is None:  # embeddings have no price for output
        return estimate(call.provider, call.model, prompt_tokens=tokens, max_output_tokens=0, manifest=manifest)
    return cost
