"""Hard limits that hold over threads and processes: reserve before a call, settle after it.

A limit is compared with what is spent plus what is reserved, in one SQLite transaction; so concurrent calls can't all
pass the check before the first of them has paid. What can still go over a limit is the error of one estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.budget import owners, store
from prodkit.budget.store import DEFAULT_LEASE, Limit
from prodkit.errors import BudgetError
from prodkit.records import new_id, now

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from prodkit.manifest.model import Budget

__all__ = ["Announcement", "Balance", "Budgets", "Reservation", "Scopes"]


@dataclass(frozen=True, slots=True)
class Scopes:
    """Whom a call is charged to. Day and month follow from the clock (UTC)."""

    run: str = ""  # stable key of the run; a job's attempts share it
    user: str = ""
    cell: str = ""  # stable key of the cell's execution, with its own limit
    cell_limit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """A threshold that was crossed; each is announced once per scope, by whichever process crosses it."""

    scope: str  # "run", "day", "month", "user" or "cell"
    threshold: float
    spent: Decimal
    limit: Decimal

    def __str__(self) -> str:
        return f"{self.threshold:.0%} of the {self.scope} budget is spent: {_usd(self.spent)} of {_usd(self.limit)}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one call."""

    id: str
    amount: Decimal  # 0 for an unpriced call that the manifest allows
    keys: tuple[str, ...]
    unpriced: bool = False
    announcements: tuple[Announcement, ...] = ()
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """What a scope has spent and reserved. `limit` is None when there is none."""

    scope: str
    spent: Decimal
    reserved: Decimal
    limit: Decimal | None


class Budgets:
    """The budgets of one project.

    Args:
        path: SQLite file, shared by all processes; its folder is made when missing.
        budget: the manifest's limits.
        lease: seconds after which a reservation that nobody settled is released; one whose process has died is
            released at the next reservation.
    """

    def __init__(self, path: Path, budget: Budget, *, lease: float = DEFAULT_LEASE) -> None:
        self.path, self.budget, self.lease = path, budget, lease

    def reserve(self, scopes: Scopes, amount: Decimal | None, *, when: datetime | None = None) -> Reservation:
        """Set `amount` aside in all scopes, or refuse the call.

        Args:
            scopes: whom the call is charged to.
            amount: an upper bound in US dollars; None when the price isn't known.
            when: the call's time, now by default.

        Raises:
            BudgetError: `budget.exceeded`, `budget.unpriced` (the manifest refuses unpriced calls under a budget), or
                `budget.unavailable` (limits are set and the database can't be used).
        """
        limits = self._limits(scopes, when or now())
        bounded = [limit for limit in limits if limit.usd is not None]
        if amount is None and bounded and self.budget.unpriced == "refuse":
            raise _unpriced_error(bounded)
        if amount is not None and amount < 0:
            raise BudgetError("budget.negative", "A reservation can't be negative.", fix="pass an amount of 0 or more")
        reservation = Reservation(
            new_id("bud"), amount or Decimal(0), tuple(limit.key for limit in limits), amount is None, (), limits
        )
        try:
            with store.transaction(self.path) as connection:
                store.expire(connection, owners.is_gone)
                refusing = store.first_exceeded(connection, limits, reservation.amount)
                if refusing is not None:
                    raise _exceeded_error(*refusing, reservation.amount)
                store.hold(connection, reservation.id, reservation.keys, reservation.amount, owners.me(), self.lease)
                crossed = store.cross(connection, limits, self.budget.thresholds)
        except store.UnavailableError as error:
            if bounded:
                raise _unavailable_error(error) from error
            return reservation
        return Reservation(
            reservation.id, reservation.amount, reservation.keys, reservation.unpriced, _announce(crossed), limits
        )

    def settle(self, reservation: Reservation, actual: Decimal | None) -> tuple[Announcement, ...]:
        """Replace a reservation by what the call has cost; a second settlement of the same one changes nothing.

        Args:
            reservation: as `reserve` gave it.
            actual: the cost in US dollars; 0 when the call was never made; None when its cost isn't known: then the
                reserved amount counts as spent.

        Returns:
            The thresholds crossed by this call.

        Raises:
            BudgetError: `budget.unavailable`, when limits are set and the database can't be used.
        """
        cost = reservation.amount if actual is None else actual
        try:
            with store.transaction(self.path) as connection:
                store.settle(connection, reservation.id, reservation.keys, cost)
                return _announce(store.cross(connection, reservation.limits, self.budget.thresholds))
        except store.UnavailableError as error:
            if any(limit.usd is not None for limit in reservation.limits):
                raise _unavailable_error(error) from error
            return ()

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: the call was never made."""
        self.settle(reservation, Decimal(0))

    def balances(self, scopes: Scopes, *, when: datetime | None = None) -> tuple[Balance, ...]:
        """What is spent and reserved in each scope, for cards and reports. Empty when the database can't be used."""
        limits = self._limits(scopes, when or now())
        try:
            with store.transaction(self.path) as connection:
                store.expire(connection, owners.is_gone)
                totals = [store.totals(connection, limit.key) for limit in limits]
        except store.UnavailableError:
            return ()
        return tuple(
            Balance(limit.scope, spent, held, limit.usd) for limit, (spent, held) in zip(limits, totals, strict=True)
        )

    def _limits(self, scopes: Scopes, when: datetime) -> tuple[Limit, ...]:
        budget, day = self.budget, f"{when:%Y-%m-%d}"
        limits = [
            Limit("day", f"day:{day}", budget.per_day, "budget.per_day"),
            Limit("month", f"month:{when:%Y-%m}", budget.per_month, "budget.per_month"),
        ]
        if scopes.run:
            limits.append(Limit("run", f"run:{scopes.run}", budget.per_run, "budget.per_run"))
        if scopes.user:
            limits.append(Limit("user", f"user:{day}:{scopes.user}", budget.per_user, "budget.per_user"))
        if scopes.cell:
            limits.append(Limit("cell", f"cell:{scopes.cell}", scopes.cell_limit, "the cell's --budget"))
        return tuple(limits)


def _announce(crossed: Sequence[tuple[Limit, float, Decimal]]) -> tuple[Announcement, ...]:
    return tuple(
        Announcement(limit.scope, threshold, spent, limit.usd) for limit, threshold, spent in crossed if limit.usd
    )


def _usd(amount: Decimal) -> str:
    """`$1.50`, with more places below a cent."""
    return f"${amount:,.2f}" if amount >= Decimal("0.01") or amount == 0 else f"${amount:.6f}"


def _exceeded_error(limit: Limit, spent: Decimal, held: Decimal, amount: Decimal) -> BudgetError:
    reserved = f" and {_usd(held)} are reserved by running calls" if held else ""
    return BudgetError(
        "budget.exceeded",
        f"The call was refused: up to {_usd(amount)} more would break the {limit.scope} budget of "
        f"{_usd(limit.usd or Decimal(0))}; {_usd(spent)} are spent{reserved}.",
        where=limit.setting,
        fix=f"raise {limit.setting}, lower the call's max_tokens, or use a cheaper model",
    )


def _unpriced_error(limits: Sequence[Limit]) -> BudgetError:
    return BudgetError(
        "budget.unpriced",
        "The call was refused: its price isn't known, so no budget could hold.",
        where=limits[0].setting,
        fix="give the model a `price` under `models` in prodkit.yaml, or set `budget.unpriced: allow`",
    )


def _unavailable_error(error: store.UnavailableError) -> BudgetError:
    return BudgetError(
        "budget.unavailable",
        f"The call was refused: limits are set and the budget's database can't be used ({error}).",
        where=str(error.path),
        fix="make the folder writable, or remove the limits under `budget` in prodkit.yaml",
    )
