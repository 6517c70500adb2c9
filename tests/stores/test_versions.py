"""Files of 0.1.0 are read and brought up to date; files of a later prodkit are refused and left as they are."""

from __future__ import annotations

import os
import sqlite3
from decimal import Decimal

import pytest

from prodkit.budget import Budgets, Scopes
from prodkit.errors import BudgetError, ConfigError
from prodkit.jobs.ends import Outcome
from prodkit.jobs.history import SCHEMA, History
from prodkit.manifest.model import Budget
from prodkit.stores import sqlite
from prodkit.stores.database import Schema
from prodkit.stores.opening import budget_file
from prodkit.stores.sqlite import SqliteDatabase

BUDGET = """
PRAGMA journal_mode = WAL;
CREATE TABLE totals (
    key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE reservations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL, amount INTEGER NOT NULL, keys TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE settled (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE announced (key TEXT, threshold REAL, PRIMARY KEY (key, threshold)) WITHOUT ROWID;
PRAGMA user_version = 1;
INSERT INTO totals VALUES ('run:r', 900000000000, 90000000000);
INSERT INTO reservations VALUES ('bud-old', 'HOST|1|1.00', 9e12, 90000000000, 'run:r');
"""
HISTORY = """
CREATE TABLE runs (
  run TEXT PRIMARY KEY, job TEXT NOT NULL, key TEXT NOT NULL, params TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
  outcome TEXT NOT NULL, exit_code INTEGER, attempts INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
  output TEXT NOT NULL DEFAULT '', run_id TEXT NOT NULL DEFAULT '', url TEXT NOT NULL DEFAULT '', cost TEXT,
  pid INTEGER NOT NULL, process_started REAL NOT NULL, parent TEXT NOT NULL DEFAULT ''
);
CREATE INDEX runs_by_job ON runs (job, started);
CREATE INDEX runs_by_key ON runs (job, key) WHERE key != '';
INSERT INTO runs VALUES ('job-1', 'triage', 'tick', '{"n": 1}', '2026-11-01T00:00:00+00:00', '2026-11-01T00:00:02+00:00',
  'ok', 0, 1, '', '/x.ipynb', 'abc', 'http://x', '0.5', 1, 1.0, '');
INSERT INTO runs VALUES ('job-2', 'triage', '', '{}', '2026-11-02T00:00:00+00:00', NULL,
  'running', NULL, 0, '', '', '', '', NULL, 999999, 1.0, '');
"""
# how 0.1.0 began a run
BEGIN = (
    "INSERT INTO runs (run, job, key, params, started, outcome, pid, process_started, parent)"
    " VALUES ('job-3', 'triage', '', '{}', '2026-11-03T00:00:00+00:00', 'running', 999999, 1.0, '')"
)


def write(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def query(path, statement):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_budgets_of_0_1_0_go_on(tmp_path):
    """What 0.1.0 has spent counts, and what a dead process of it had reserved is free."""
    path = tmp_path / "budget.db"
    write(path, BUDGET.replace("HOST", os.uname().nodename))
    money = Budgets(budget_file(path), Budget(per_run=1))
    with pytest.raises(BudgetError, match=r"\$0\.90 are spent"):
        money.reserve(Scopes(run="r"), Decimal("0.20"))
    money.release(money.reserve(Scopes(run="r"), Decimal("0.10")))


def test_the_history_of_0_1_0_goes_on(tmp_path):
    """Runs of 0.1.0 are read, those that were killed are lost, and 0.1.0 can still write into the migrated file."""
    path = tmp_path / "jobs" / "history.db"
    write(path, HISTORY)
    second, first = History(path).entries("triage")
    assert (first.run, first.params, first.cost, first.seconds, first.host) == ("job-1", {"n": 1}, "0.5", 2.0, "")
    assert (second.run, second.outcome) == ("job-2", Outcome.LOST)
    assert History(path).done("triage", "tick").run == "job-1"
    assert query(path, "PRAGMA user_version") == [(len(SCHEMA.versions),)]
    write(path, BEGIN)
    assert History(path).find("job-3").outcome is Outcome.LOST


@pytest.mark.parametrize("name", ["budget", "history"])
def test_a_later_version_is_refused(tmp_path, name):
    """A file of a later prodkit is refused with one error that says the versions, and nothing in it changes."""
    path = tmp_path / "later.db"
    write(path, "CREATE TABLE later (x); PRAGMA user_version = 99")
    money = Budgets(budget_file(path), Budget(per_run=1))
    open_it = {"budget": lambda: money.reserve(Scopes(run="r"), Decimal(1)), "history": History(path).entries}[name]
    with pytest.raises((ConfigError, BudgetError), match="version 99; this prodkit knows them up to") as caught:
        open_it()
    assert caught.value.where == str(path)
    assert "pip install --upgrade prodkit" in caught.value.fix
    assert query(path, "SELECT name FROM sqlite_master") == [("later",)]


def test_half_a_migration_is_none(tmp_path):
    """A migration that fails in the middle leaves the file as it was."""
    path = tmp_path / "x.db"
    first = Schema("x", ("CREATE TABLE x (a BIGINT)",))
    SqliteDatabase(path, first).write(lambda db: db.change("INSERT INTO x VALUES (?)", (1,)))
    sqlite._close_all()  # as in the process that comes after an upgrade
    broken = Schema("x", (*first.versions, "CREATE TABLE y (b BIGINT); ALTER TABLE nothing ADD COLUMN c BIGINT"))
    with pytest.raises(ConfigError, match=r"state\.unusable"):
        SqliteDatabase(path, broken).write(lambda db: db.rows("SELECT 1"))
    assert query(path, "SELECT name FROM sqlite_master") == [("x",)]
    assert SqliteDatabase(path, first).read(lambda db: db.rows("SELECT a FROM x")) == [(1,)]


def test_looking_makes_no_file(tmp_path):
    """To look at a history that isn't there finds nothing, and makes neither file nor folder."""
    assert History(tmp_path / "jobs" / "history.db").find("job-1") is None
    assert list(tmp_path.iterdir()) == []
