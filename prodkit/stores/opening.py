"""Opens the stores of a project where its state lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.budget import Budgets
from prodkit.errors import ConfigError
from prodkit.stores import budget_tables
from prodkit.stores.address import state_url
from prodkit.stores.budget_tables import BudgetTables
from prodkit.stores.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from pathlib import Path

    from prodkit.budget import Store
    from prodkit.manifest import Project
    from prodkit.stores.database import Database, Schema
    from prodkit.stores.leases import Leases

LEASE_VARIABLE = "PRODKIT_STATE_LEASE"
_GLANCE = 2.0  # seconds in which a server must answer that is only looked at


@dataclass(frozen=True, slots=True)
class SharedState:
    """A server that holds a project's state, without its password, and whether the project's schema is there."""

    where: str
    namespace: str
    present: bool
    may_make: bool  # this user may make schemas in the database


def budgets_of(project: Project) -> Budgets:
    """The budgets of a project, with its manifest's limits."""
    return Budgets(budget_store(project), project.manifest.budget)


def budget_store(project: Project) -> Store:
    """Where the sums of a project's budgets are kept."""
    return BudgetTables(database_of(project, budget_tables.SCHEMA, project.state / "budget.db", fast=True))


def budget_file(path: Path) -> Store:
    """Sums in a SQLite file."""
    return BudgetTables(SqliteDatabase(path, budget_tables.SCHEMA, fast=True))


def database_of(project: Project, schema: Schema, path: Path, *, fast: bool = False) -> Database:
    """The database that holds a store: the shared one that the project names, else the file at `path`."""
    url = state_url(project)
    if not url:
        return SqliteDatabase(path, schema, fast=fast)
    from prodkit.stores.postgres import PostgresDatabase

    return PostgresDatabase(url, project.manifest.service.name, schema)


def leases_of(project: Project) -> Leases | None:
    """Leases over all machines that share the project's state; None where it isn't shared."""
    url = state_url(project)
    if not url:
        return None
    from prodkit.stores import leases
    from prodkit.stores.postgres import PostgresDatabase

    database = PostgresDatabase(url, project.manifest.service.name, leases.SCHEMA)
    return leases.Leases(database, seconds=_lease_seconds())


def look_at_shared(project: Project) -> SharedState | None:
    """The server that holds a project's state; None where its own files do. Nothing is made there.

    Raises:
        ConfigError: `state.address`, `state.variable`, `state.refused`, or `state.newer`.
        TransientError: `state.unavailable`.
    """
    url = state_url(project)
    if not url:
        return None
    from prodkit.stores.postgres import PostgresDatabase

    service = project.manifest.service.name
    database = PostgresDatabase(url, service, budget_tables.SCHEMA, patience=_GLANCE)
    present, may_make = database.look()
    return SharedState(database.where, database.namespace, present=present, may_make=may_make)


def _lease_seconds() -> float:
    from prodkit.stores.leases import SECONDS, SHORTEST

    said = os.environ.get(LEASE_VARIABLE)
    if not said:
        return SECONDS
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds <= 3600:  # noqa: PLR2004  an hour is long enough for everybody
        what = f"{LEASE_VARIABLE} is no number of seconds from {SHORTEST:g} to 3600."
        raise ConfigError("state.lease", what, where=LEASE_VARIABLE, fix=f"leave it away for {SECONDS:g} seconds")
    return seconds
