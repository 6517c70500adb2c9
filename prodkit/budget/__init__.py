"""Hard limits that hold over threads and processes: reserve before a call, settle after it.

A limit is compared with what is spent plus what is reserved, in one SQLite transaction; so concurrent calls can't all
pass the check before the first of them has paid. Reserved is the most that a call can cost, so calls side by side stay
below the limit however long their answers are. Where a call's most no longer fits, it waits until it is alone; then
what can still go over the limit is the error of one estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from prodkit.budget import owners, store
from prodkit.budget.store import DEFAULT_LEASE, Limit, Obstacle
from prodkit.errors import BudgetError
from prodkit.records import new_id, now

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from prodkit.manifest.model import Budget

__all__ = ["Announcement", "Balance", "Budgets", "Obstacle", "Reservation", "Scopes", "is_spent_for_all", "refusal"]

_SHARED = ("fan-out", "day", "month")


@dataclass(frozen=True, slots=True)
class Scopes:
    """Whom a call is charged to. Day and month follow from the clock (UTC)."""

    run: str = ""  # stable key of the run; a job's attempts share it
    user: str = ""
    cell: str = ""  # stable key of the cell's execution, with its own limit
    cell_limit: Decimal | None = None
    fan_out: str = ""  # stable key of many runs together, with their own limit
    fan_out_limit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """A threshold that was crossed; each is announced once per scope, by whichever process crosses it."""

    scope: str  # "run", "day", "month", "user", "cell" or "fan-out"
    threshold: float
    spent: Decimal
    limit: Decimal

    def __str__(self) -> str:
        return f"{self.threshold:.0%} of the {self.scope} budget is spent: {_usd(self.spent)} of {_usd(self.limit)}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one call."""

    id: str
    amount: Decimal  # what the call will probably cost; 0 for an unpriced call that the manifest allows
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

    def reserve(
        self, scopes: Scopes, amount: Decimal | None, *, bound: Decimal | None = None, when: datetime | None = None
    ) -> Reservation:
        """Set a call's money aside in all scopes, or refuse the call.

        Args:
            scopes: whom the call is charged to.
            amount: what the call will cost, estimated generously, in US dollars; None when the price isn't known.
            bound: the most that it can cost, which is what is reserved; the same as `amount` by default.
            when: the call's time, now by default.

        Raises:
            BudgetError: `budget.exceeded`, `budget.unpriced` (the manifest refuses unpriced calls under a budget), or
                `budget.unavailable` (limits are set and the database can't be used).
        """
        asked = self.attempt(scopes, amount, bound=bound, when=when)
        if isinstance(asked, Obstacle):
            raise refusal(asked, amount or Decimal(0))
        return asked

    def attempt(
        self, scopes: Scopes, amount: Decimal | None, *, bound: Decimal | None = None, when: datetime | None = None
    ) -> Reservation | Obstacle:
        """As `reserve`; where the call has only to wait for others, gives the obstacle instead of raising."""
        limits = self._limits(scopes, when or now())
        bounded = [limit for limit in limits if limit.usd is not None]
        if amount is None and bounded and self.budget.unpriced == "refuse":
            raise _unpriced_error(bounded)
        if amount is not None and amount < 0:
            raise BudgetError("budget.negative", "A reservation can't be negative.", fix="pass an amount of 0 or more")
        name, keys, asked = new_id("bud"), tuple(limit.key for limit in limits), amount or Decimal(0)
        most = asked if bound is None else max(asked, bound)
        try:
            with store.transaction(self.path) as connection:
                store.expire(connection, owners.is_gone)
                obstacle = store.first_obstacle(connection, limits, asked, most)
                if obstacle is not None and obstacle.passing:
                    return obstacle
                if obstacle is not None:
                    raise refusal(obstacle, asked)
                store.hold(connection, name, keys, most, owners.me(), self.lease)
                crossed = store.cross(connection, limits, self.budget.thresholds)
        except store.UnavailableError as error:
            if bounded:
                raise _unavailable_error(error) from error
            return Reservation(name, asked, keys, amount is None, (), limits)
        return Reservation(name, asked, keys, amount is None, _announce(crossed), limits)

    def settle(self, reservation: Reservation, actual: Decimal | None) -> tuple[Announcement, ...]:
        """Replace a reservation by what the call has cost; a second settlement of the same one changes nothing.

        Args:
            reservation: as `reserve` gave it.
            actual: the cost in US dollars; 0 when the call was never made; None when its cost isn't known: then the
                estimated amount counts as spent.

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
        if scopes.fan_out:
            limits.append(
                Limit("fan-out", f"fan-out:{scopes.fan_out}", scopes.fan_out_limit, "--budget or budget.per_run")
            )
        return tuple(limits)


def _announce(crossed: Sequence[tuple[Limit, float, Decimal]]) -> tuple[Announcement, ...]:
    return tuple(
        Announcement(limit.scope, threshold, spent, limit.usd) for limit, threshold, spent in crossed if limit.usd
    )


def _usd(amount: Decimal) -> str:
    """`$1.50`, with more places below a cent."""
    if amount >= Decimal("0.01") or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.{max(6, -amount.adjusted())}f}"  # a limit is never shown as nothing


def refusal(obstacle: Obstacle, amount: Decimal) -> BudgetError:
    """The error of a call that would probably cost `amount` and may not start."""
    limit = obstacle.limit
    reserved = f" and {_usd(obstacle.held)} are reserved by running calls" if obstacle.held else ""
    return BudgetError(
        "budget.exceeded",
        f"The call was refused: up to {_usd(amount)} more would break {_budget_of(limit.scope)} "
        f"{_usd(limit.usd or Decimal(0))}; {_usd(obstacle.spent)} are spent{reserved}.",
        where=limit.setting,
        fix=f"raise {limit.setting}, lower the call's max_tokens, or use a cheaper model",
    )


def is_spent_for_all(message: str) -> bool:
    """Whether a refusal's text says that a budget is spent which other runs share: they would be refused as well."""
    return any(_budget_of(scope) in message for scope in _SHARED)


def _budget_of(scope: str) -> str:
    return f"the {scope} budget of"


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
