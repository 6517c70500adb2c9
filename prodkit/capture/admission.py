"""Whether a call may start: the kill switch, then the budget.

A call reserves the most that it can cost. Where that no longer fits beside the calls that are under way, it waits for
them, and at the edge of a budget the calls go one by one.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.budget import Budgets, Obstacle, Scopes, refusal
from prodkit.capture import bounds
from prodkit.errors import ProdkitError
from prodkit.stores import budget_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.budget import Reservation
    from prodkit.capture.calls import Call
    from prodkit.capture.runs import OpenRun

FAN_OUT, FAN_OUT_USD = "PRODKIT_FAN_OUT", "PRODKIT_FAN_OUT_USD"
PATIENCE = 120.0  # seconds to wait while none of the others is settled
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2
_WAITED = (
    "Calls waited for each other, because together they could have broken the budget; a `max_tokens` lets more of them "
    "run at once."
)
_held: Counter[object] = Counter()  # reservations of calls under way, by the thread or task that they were begun in
_lock = threading.Lock()


class Admission:
    """Money that is set aside for one call."""

    def __init__(self, run: OpenRun, budgets: Budgets | None = None, reservation: Reservation | None = None) -> None:
        self._run, self._budgets, self._reservation = run, budgets, reservation
        self._places = _places() if reservation is not None else ()
        _count(self._places, 1)

    def settle(self, actual: Decimal | None) -> None:
        """Replace what was set aside by what the call has cost; None keeps the estimate as spent."""
        if self._budgets is None or self._reservation is None:
            return
        _count(self._places, -1)
        self._places = ()
        try:
            crossed = self._budgets.settle(self._reservation, actual)
        except ProdkitError as error:  # the call has been made; the next one is refused
            self._run.note(f"A cost couldn't be settled: {error.what}")
            return
        for announcement in crossed:
            self._run.announce(str(announcement))


def admit(call: Call) -> Admission:
    """Let a call start, with the most that it can cost set aside.

    Raises:
        ProdkitError: `capture.kill-switch`, or `capture.stopped` after `run.stop()`.
        BudgetError: `budget.exceeded`, `budget.unpriced` or `budget.unavailable`.
        TransientError: `budget.unavailable`: the server that keeps the sums doesn't answer.
    """
    asking = _Asking(call)
    for pause in asking.pauses(alone=bool(_held[threading.get_ident()])):
        time.sleep(pause)
    return asking.admission


async def aadmit(call: Call) -> Admission:
    """`admit` for an async client: other tasks go on while this one waits."""
    asking = _Asking(call)
    for pause in asking.pauses(alone=bool(_held[asyncio.current_task()])):
        await asyncio.sleep(pause)
    return asking.admission


@dataclass(slots=True)
class _Asking:
    """One call at the door."""

    call: Call
    admitted: Admission | None = None

    @property
    def admission(self) -> Admission:
        return self.admitted or Admission(self.call.run)

    def pauses(self, *, alone: bool) -> Iterator[float]:
        """Seconds to wait before each further try; ends when the call may start.

        Args:
            alone: those that hold the budget go on in this very thread or task, so waiting for them would be in vain.
        """
        run = self.call.run
        check_kill_switch(run)
        if not _is_limited(run):
            return
        budgets, scopes = budgets_of(run), _scopes(self.call)
        amount, bound = bounds.of_call(self.call)
        pause, seen, until = _FIRST_PAUSE, None, 0.0
        while isinstance(asked := budgets.attempt(scopes, amount, bound=bound), Obstacle):
            state = asked.spent, asked.held
            if state != seen:
                seen, until = state, time.monotonic() + PATIENCE
            if alone or time.monotonic() > until:
                raise refusal(asked, amount or Decimal(0))
            run.note(_WAITED)
            yield pause
            pause = min(_LONGEST_PAUSE, pause * 2)
            check_kill_switch(run)
        for announcement in asked.announcements:
            run.announce(str(announcement))
        self.admitted = Admission(run, budgets, asked)


def _is_limited(run: OpenRun) -> bool:
    budget = run.manifest.budget
    limits = (
        run.limited_by.budget_limit,
        _fan_out_limit(),
        budget.per_run,
        budget.per_day,
        budget.per_month,
        budget.per_user,
    )
    return any(limit is not None for limit in limits)


def _scopes(call: Call) -> Scopes:
    holder = call.run.limited_by
    limit = holder.budget_limit
    cell = holder.key if limit is not None else ""
    user = call.run.ledger.keyring.pseudonym(call.stamp.user)  # the database is no place for somebody's address
    return Scopes(
        run=call.run.budget_key,
        user=user,
        cell=cell,
        cell_limit=limit,
        fan_out=os.environ.get(FAN_OUT, ""),
        fan_out_limit=_fan_out_limit(),
    )


def _fan_out_limit() -> Decimal | None:
    """What all items of a fan-out may spend together, as it tells its kernels."""
    said = os.environ.get(FAN_OUT_USD)
    return Decimal(said) if said else None


def _places() -> tuple[object, ...]:
    """This thread, and this task where there is one."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return (threading.get_ident(),) if task is None else (threading.get_ident(), task)


def _count(places: tuple[object, ...], change: int) -> None:
    with _lock:
        for place in places:
            _held[place] += change
            if not _held[place]:
                del _held[place]


def budgets_of(run: OpenRun) -> Budgets:
    """The project's budgets."""
    return Budgets(budget_store(run.project), run.manifest.budget)


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
