"""Where a project's stores lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.budget import Budgets
from prodkit.stores import budget_tables
from prodkit.stores.budget_tables import BudgetTables
from prodkit.stores.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.budget import Store
    from prodkit.manifest import Project


def budgets_of(project: Project) -> Budgets:
    """The budgets of a project, with its manifest's limits."""
    return Budgets(budget_store(project), project.manifest.budget)


def budget_store(project: Project) -> Store:
    """Where the sums of a project's budgets are kept."""
    return budget_file(project.state / "budget.db")


def budget_file(path: Path) -> Store:
    """Sums in a SQLite file."""
    return BudgetTables(SqliteDatabase(path, budget_tables.SCHEMA, fast=True))
