"""Hard limits that hold over threads and processes: reserve before a call, settle after it.

A limit is compared with what is spent plus what is reserved, in one transaction; so concurrent calls can't all
pass the check before the first of them has paid. Reserved is the most that a call can cost, so calls side by side stay
below the limit however long their answers are. Where a call's most no longer fits, it waits until it is alone; then
what can still go over the limit is the error of one estimate. Where the sums are kept is not the rule's business: it is
handed a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, TypeVar

from prodkit.budget.limits import Limit, Obstacle, cross, first_obstacle, totals_of
from prodkit.budget.store import Book, Store, UnavailableError
from prodkit.errors import BudgetError, ProdkitError
from prodkit.records import new_id, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.manifest.model import Budget

__all__ = [
    "Announcement",
    "Balance",
    "Book",
    "Budgets",
    "Obstacle",
    "Reservation",
    "Scopes",
    "Store",
    "UnavailableError",
    "is_spent_for_all",
    "refusal",
]

DEFAULT_LEASE = 900.0
T = TypeVar("T")
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
        store: keeps the sums for all processes, see `prodkit.stores`.
        budget: the manifest's limits.
        lease: seconds after which a reservation that nobody settled is released; one whose process is known to have
            died is released at the next reservation.
    """

    def __init__(self, store: Store, budget: Budget, *, lease: float = DEFAULT_LEASE) -> None:
        self.store, self.budget, self.lease = store, budget, lease

    def reserve(
        self, scopes: Scopes, amount: Decimal | None, *, bound: Decimal | None = None, when: datetime | None = None
    ) -> Reservation:
        """Set a call's money aside in all scopes, or refuse the call.

        Args:
            scopes: whom the call is charged to.
            amount: what the call will cost, estimated generously, in US dollars; None when the price isn't known.
            bound: the most that it can cost, which is what is reserved; the same as `amount` by default.
            when: the call's time, by default now, by the store's clock.

        Raises:
            BudgetError: `budget.exceeded`, `budget.unpriced` (the manifest refuses unpriced calls under a budget), or
                `budget.unavailable` (limits are set and the store can't be used).
            TransientError: `budget.unavailable`: limits are set and the store doesn't answer for the moment.
            ConfigError: `budget.unavailable`: limits are set and the store refuses this user or this version.
        """
        asked = self.attempt(scopes, amount, bound=bound, when=when)
        if isinstance(asked, Obstacle):
            raise refusal(asked, amount or Decimal(0))
        return asked

    def attempt(
        self, scopes: Scopes, amount: Decimal | None, *, bound: Decimal | None = None, when: datetime | None = None
    ) -> Reservation | Obstacle:
        """As `reserve`; where the call has only to wait for others, gives the obstacle instead of raising."""
        if amount is not None and amount < 0:
            raise BudgetError("budget.negative", "A reservation can't be negative.", fix="pass an amount of 0 or more")
        name, asked, owed = new_id("bud"), amount or Decimal(0), _Owed(self.store)
        most = asked if bound is None else max(asked, bound)

        def enter(book: Book) -> Reservation | Obstacle:
            limits = self._limits(scopes, when or _moment(book))
            bounded = [limit for limit in limits if limit.usd is not None]
            if amount is None and bounded and self.budget.unpriced == "refuse":
                raise _unpriced_error(bounded)
            keys, crossed = tuple(limit.key for limit in limits), tuple[Announcement, ...]()
            if not book.holds(name):
                owed.book(book)
                book.expire()
                totals = totals_of(book, bounded)
                obstacle = first_obstacle(totals, bounded, asked, most)
                if obstacle is not None and obstacle.passing:
                    return obstacle
                if obstacle is not None:
                    raise refusal(obstacle, asked)
                book.hold(name, keys, most, self.lease)
                crossed = _announce(cross(book, totals, bounded, self.budget.thresholds))
            return Reservation(name, asked, keys, amount is None, crossed, limits)

        try:
            return owed.forget(self.store.write(enter))
        except UnavailableError as error:
            limits = self._limits(scopes, when or now())
            if any(limit.usd is not None for limit in limits):
                raise _unavailable_error(error, self.store.where) from error
            return Reservation(name, asked, tuple(limit.key for limit in limits), amount is None, (), limits)

    def settle(self, reservation: Reservation, actual: Decimal | None) -> tuple[Announcement, ...]:
        """Replace a reservation by what the call has cost; a second settlement of the same one changes nothing.

        Args:
            reservation: as `reserve` gave it.
            actual: the cost in US dollars; 0 when the call was never made; None when its cost isn't known: then the
                estimated amount counts as spent.

        Returns:
            The thresholds crossed by this call.

        Raises:
            BudgetError: `budget.unavailable`, when limits are set and the store can't be used.
            TransientError: the same, when it doesn't answer for the moment. In both cases the cost is booked with this
                process's next call.
        """
        owed = _Owed(self.store)
        owed.add(reservation.id, reservation.keys, reservation.amount if actual is None else actual)

        def book_cost(book: Book) -> tuple[Announcement, ...]:
            owed.book(book)
            limits = [limit for limit in reservation.limits if limit.usd]
            return _announce(cross(book, totals_of(book, limits), limits, self.budget.thresholds))

        try:
            return owed.forget(self.store.write(book_cost))
        except UnavailableError as error:
            if any(limit.usd is not None for limit in reservation.limits):
                raise _unavailable_error(error, self.store.where) from error
            return ()

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: the call was never made."""
        self.settle(reservation, Decimal(0))

    def balances(self, scopes: Scopes, *, when: datetime | None = None) -> tuple[Balance, ...]:
        """What is spent and reserved in each scope, for cards and reports. Empty when the store can't be used."""

        def look(book: Book) -> tuple[Balance, ...]:
            book.expire()
            limits, nothing = self._limits(scopes, when or _moment(book)), (Decimal(0), Decimal(0))
            totals = book.totals([limit.key for limit in limits])
            return tuple(Balance(limit.scope, *totals.get(limit.key, nothing), limit.usd) for limit in limits)

        try:
            return self.store.write(look, patience=0.0)  # whoever only looks isn't kept waiting for a server
        except UnavailableError:
            return ()

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


class _Owed:
    """Costs that this process couldn't book yet, because the store was away; the next transaction books them first."""

    _all: ClassVar[dict[str, dict[str, tuple[tuple[str, ...], Decimal]]]] = {}

    def __init__(self, store: Store) -> None:
        self._costs = self._all.setdefault(store.name, {})
        self._booked: tuple[str, ...] = ()

    def add(self, name: str, keys: tuple[str, ...], cost: Decimal) -> None:
        self._costs[name] = keys, cost

    def book(self, book: Book) -> None:
        if self._costs:
            costs = dict(self._costs)  # other threads add to it
            for name, (keys, cost) in costs.items():
                book.settle(name, keys, cost)
            self._booked = tuple(costs)

    def forget(self, result: T) -> T:
        """What was booked is committed."""
        for name in self._booked:
            self._costs.pop(name, None)
        return result


def _moment(book: Book) -> datetime:
    return datetime.fromtimestamp(book.now, UTC)


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


def _unavailable_error(error: UnavailableError, where: str) -> ProdkitError:
    kind = BudgetError if error.cause.code == "state.unusable" else type(error.cause)
    return kind(
        "budget.unavailable",
        f"The call was refused: limits are set and their store can't be used. {error}",
        where=error.cause.where or where,
        fix=f"{error.cause.fix}; or remove the limits under `budget` in prodkit.yaml",
    )
