"""The same promises over both places that keep sums: a SQLite file, and a schema of a PostgreSQL server."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from prodkit.stores.budget_tables import SCHEMA, BudgetTables
from prodkit.stores.opening import budget_file
from prodkit.stores.postgres import PostgresDatabase

_names = itertools.count()
# for processes: what `open_store` does, from the place in `sys.argv[1]`
OPEN = """
import sys
from pathlib import Path
from prodkit.stores.budget_tables import SCHEMA, BudgetTables
from prodkit.stores.opening import budget_file
from prodkit.stores.postgres import PostgresDatabase
url, _, project = sys.argv[1].rpartition(" ")
store = BudgetTables(PostgresDatabase(url, project, SCHEMA)) if url else budget_file(Path(project))
"""


def open_store(place: str):
    """The store at a place: a path, or an address and a project with a space between them."""
    url, _, project = place.rpartition(" ")
    return BudgetTables(PostgresDatabase(url, project, SCHEMA)) if url else budget_file(Path(project))


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a test's sums are kept, as text that other processes are given."""
    if request.param == "sqlite":
        return str(tmp_path / "state" / "budget.db")
    server = request.getfixturevalue("shared_postgres")
    return f"{server.url()} project-{next(_names)}"


@pytest.fixture
def store(place):
    """A store that nobody has used."""
    return open_store(place)
