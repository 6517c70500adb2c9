"""Budgets of one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from prodkit.budget import Budgets, Obstacle, Scopes
from prodkit.errors import BudgetError
from prodkit.manifest.model import Budget
from prodkit.stores.opening import budget_file

CENT = Decimal("0.01")


def budgets(store, lease=900.0, **limits):
    return Budgets(store, Budget(**limits), lease=lease)


def test_reserve_and_settle(store):
    """A settled call is spent with what it cost, and its reservation is gone."""
    money = budgets(store, per_run=1)
    reservation = money.reserve(Scopes(run="r"), 5 * CENT)
    assert [(b.spent, b.reserved) for b in money.balances(Scopes(run="r")) if b.scope == "run"] == [(0, 5 * CENT)]
    money.settle(reservation, 3 * CENT)
    assert [(b.spent, b.reserved) for b in money.balances(Scopes(run="r")) if b.scope == "run"] == [(3 * CENT, 0)]


@pytest.mark.parametrize("scope", ["run", "day", "month", "user", "cell"])
def test_each_limit_holds(store, scope):
    """The limit of each scope refuses the call that would break it, and says what was spent."""
    limits = {} if scope == "cell" else {f"per_{scope}": Decimal("0.10")}
    scopes = Scopes(run="r", user="u", cell="c", cell_limit=Decimal("0.10") if scope == "cell" else None)
    money = budgets(store, **limits)
    money.settle(money.reserve(scopes, 8 * CENT), 8 * CENT)
    with pytest.raises(BudgetError) as caught:
        money.reserve(scopes, 3 * CENT)
    assert caught.value.code == "budget.exceeded"
    assert f"the {scope} budget of $0.10; $0.08 are spent" in caught.value.what
    assert scope in caught.value.where
    assert caught.value.fix
    money.reserve(scopes, 2 * CENT)


def test_the_smallest_limit_is_shown(store):
    """A limit far below a cent is told with its digits, not as $0.000000."""
    with pytest.raises(BudgetError) as caught:
        budgets(store).reserve(Scopes(run="r", cell="c", cell_limit=Decimal("0.0000001")), CENT)
    assert "budget of $0.0000001;" in caught.value.what


def test_another_day(store):
    """A new day begins with nothing spent."""
    money = budgets(store, per_day=1)
    money.settle(money.reserve(Scopes(), 1, when=datetime(2026, 1, 31, 23, tzinfo=UTC)), Decimal(1))
    money.reserve(Scopes(), Decimal(1), when=datetime(2026, 2, 1, 0, tzinfo=UTC))


def test_fifty_concurrent_calls(store):
    """Fifty concurrent calls don't spend more than the limit."""
    money, scopes = budgets(store, per_run=1), Scopes(run="r")

    def call(_):
        try:
            reservation = money.reserve(scopes, 5 * CENT)
        except BudgetError:
            return 0
        money.settle(reservation, 5 * CENT)
        return 1

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(call, range(50))) == 20
    assert money.balances(scopes)[-1].spent == 1


def test_bounds_beside_others_and_alone(store):
    """Beside others a call needs room for the most it can cost; alone it needs room for its estimate."""
    money, scopes = budgets(store, per_run=1), Scopes(run="r")
    first = money.reserve(scopes, 10 * CENT, bound=70 * CENT)
    waiting = money.attempt(scopes, 10 * CENT, bound=70 * CENT)
    assert isinstance(waiting, Obstacle)
    assert (waiting.passing, waiting.spent, waiting.held) == (True, 0, 70 * CENT)
    with pytest.raises(BudgetError, match="reserved by running calls"):
        money.reserve(scopes, 10 * CENT, bound=70 * CENT)
    money.settle(money.reserve(scopes, 10 * CENT), 10 * CENT)  # a short one fits beside it
    money.settle(first, 65 * CENT)
    last = money.reserve(scopes, 10 * CENT, bound=70 * CENT)  # alone
    assert isinstance(money.attempt(scopes, CENT), Obstacle)
    money.settle(last, None)
    assert money.balances(scopes)[-1].spent == 85 * CENT
    with pytest.raises(BudgetError, match="would break the run budget"):
        money.attempt(scopes, 20 * CENT, bound=70 * CENT)


def test_thresholds(store):
    """Each threshold is announced once, by the call that crosses it."""
    money, scopes = budgets(store, per_run=1), Scopes(run="r")
    said = []
    for _ in range(10):
        said += [str(one) for one in money.settle(money.reserve(scopes, 10 * CENT), 10 * CENT)]
    assert said == [
        "50% of the run budget is spent: $0.50 of $1.00",
        "80% of the run budget is spent: $0.80 of $1.00",
        "95% of the run budget is spent: $1.00 of $1.00",
    ]


def test_unpriced_calls(store):
    """A call without a price is refused under a budget, allowed where the manifest says so, and free without one."""
    with pytest.raises(BudgetError) as caught:
        budgets(store, per_run=1).reserve(Scopes(run="r"), None)
    assert caught.value.code == "budget.unpriced"
    assert budgets(store, per_run=1, unpriced="allow").reserve(Scopes(run="r"), None).unpriced
    assert budgets(store).reserve(Scopes(run="r"), None).unpriced


def test_unknown_cost(store):
    """When a call's cost stays unknown, what was reserved counts as spent."""
    money = budgets(store, per_run=1)
    money.settle(money.reserve(Scopes(run="r"), 5 * CENT), None)
    assert money.balances(Scopes(run="r"))[-1].spent == 5 * CENT


def test_settling_twice(store):
    """A second settlement of one reservation changes nothing."""
    money = budgets(store, per_run=1)
    reservation = money.reserve(Scopes(run="r"), 5 * CENT)
    money.settle(reservation, 5 * CENT)
    money.settle(reservation, 5 * CENT)
    assert money.balances(Scopes(run="r"))[-1].spent == 5 * CENT


def test_tiny_amounts(store):
    """A thousand calls of a fraction of a cent add up exactly."""
    money = budgets(store)
    for _ in range(100):
        money.settle(money.reserve(Scopes(), Decimal("0.0000000125")), Decimal("0.0000000125"))
    assert money.balances(Scopes())[0].spent == Decimal("0.00000125")


def test_unusable_database(tmp_path):
    """Without its database a limited call is refused, and an unlimited one goes on."""
    (tmp_path / "state").write_text("a file where the folder should be")
    file = budget_file(tmp_path / "state" / "budget.db")
    with pytest.raises(BudgetError) as caught:
        budgets(file, per_run=1).reserve(Scopes(run="r"), CENT)
    assert caught.value.code == "budget.unavailable"
    assert budgets(file).balances(Scopes()) == ()
    money = budgets(file)
    assert money.settle(money.reserve(Scopes(run="r"), CENT), CENT) == ()
