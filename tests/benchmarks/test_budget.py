"""Reserving and settling one call, beside the same on SQLite with a connection for each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from prodkit.budget import Budgets, Scopes
from prodkit.manifest.model import Budget
from prodkit.stores import sqlite
from prodkit.stores.budget_tables import SCHEMA, BudgetTables
from prodkit.stores.opening import budget_file
from prodkit.stores.postgres import PostgresDatabase

SCOPES = Scopes(run="r", user="u", cell="c", cell_limit=Decimal(10**6))
AMOUNT = Decimal("0.0001")


def spend(budgets):
    budgets.settle(budgets.reserve(SCOPES, AMOUNT), AMOUNT)


@pytest.fixture
def budgets(tmp_path):
    return Budgets(budget_file(tmp_path / "budget.db"), Budget(per_run=10**6, per_day=10**6, per_month=10**6))


@pytest.mark.benchmark(group="reserve and settle")
def test_budget(benchmark, budgets):
    """One call after the other."""
    benchmark(spend, budgets)


@pytest.mark.benchmark(group="reserve and settle")
def test_budget_with_own_connections(benchmark, budgets):
    """The peer: each transaction on a connection of its own."""

    def spend_anew(budgets):
        spend(budgets)
        sqlite._close_all()

    benchmark(spend_anew, budgets)


@pytest.mark.benchmark(group="50 calls at once")
def test_budget_of_fifty_threads(benchmark, budgets):
    """Fifty calls at once."""
    with ThreadPoolExecutor(50) as pool:
        benchmark(lambda: list(pool.map(lambda _: spend(budgets), range(50))))


@pytest.mark.benchmark(group="reserve and settle")
def test_budget_on_postgresql(benchmark, shared_postgres):
    """One call after the other, on a server of several machines."""
    store = BudgetTables(PostgresDatabase(shared_postgres.new_database(), "bench", SCHEMA))
    benchmark(spend, Budgets(store, Budget(per_run=10**6, per_day=10**6, per_month=10**6)))
