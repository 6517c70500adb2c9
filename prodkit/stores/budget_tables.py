"""The sums and reservations of budgets in a database. Amounts are whole 10^-12 dollars, so that sums are exact."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from prodkit.budget import UnavailableError
from prodkit.errors import ConfigError, TransientError
from prodkit.stores import owners
from prodkit.stores.database import Schema, T

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.budget import Book
    from prodkit.stores.database import Database, Transaction

_UNIT = Decimal(10) ** 12
_SEPARATOR = "\x1f"
_KEPT_SECONDS = 7 * 86_400.0  # how long a second settlement of the same reservation is recognised

_TABLES = """
CREATE TABLE IF NOT EXISTS totals (
  key TEXT PRIMARY KEY, spent BIGINT NOT NULL DEFAULT 0, held BIGINT NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, until DOUBLE PRECISION NOT NULL, amount BIGINT NOT NULL, keys TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (id TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS announced (
  key TEXT, threshold DOUBLE PRECISION, PRIMARY KEY (key, threshold)
) WITHOUT ROWID
"""
SCHEMA = Schema("budget", versions=(_TABLES,), forget=("DELETE FROM settled WHERE at < ?", _KEPT_SECONDS))


class BudgetTables:
    """The store of budgets in a database.

    Args:
        database: with the tables of `SCHEMA`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    def name(self) -> str:
        """The file, or the address and the project."""
        return self.database.name

    @property
    def where(self) -> str:
        """The file or the address, for messages."""
        return self.database.where

    def write(self, work: Callable[[Book], T], *, patience: float | None = None) -> T:
        """Do `work` in one transaction.

        Raises:
            UnavailableError: the database can't be used.
        """
        try:
            return self.database.write(
                lambda transaction: work(_Book(transaction, shared=self.database.shared)), patience=patience
            )
        except (ConfigError, TransientError) as error:
            if not error.code.startswith("state."):
                raise
            raise UnavailableError(error) from error


class _Book:
    __slots__ = ("_shared", "_transaction")

    def __init__(self, transaction: Transaction, *, shared: bool) -> None:
        self._transaction, self._shared = transaction, shared

    @property
    def now(self) -> float:
        return self._transaction.now

    def totals(self, keys: Sequence[str]) -> dict[str, tuple[Decimal, Decimal]]:
        marks = ", ".join("?" * len(keys))
        rows = self._transaction.rows(f"SELECT key, spent, held FROM totals WHERE key IN ({marks})", keys)  # noqa: S608
        return {key: (_usd(spent), _usd(held)) for key, spent, held in rows}

    def holds(self, name: str) -> bool:
        return self._transaction.repeated and bool(
            self._transaction.rows("SELECT 1 FROM reservations WHERE id = ?", (name,))
        )

    def hold(self, name: str, keys: Sequence[str], amount: Decimal, lease: float) -> None:
        units = _units(amount)
        self._transaction.change(
            "INSERT INTO reservations (id, owner, until, amount, keys) VALUES (?, ?, ?, ?, ?)",
            (name, owners.me(), self.now + lease, units, _SEPARATOR.join(keys)),
        )
        self._add(keys, 0, units)

    def settle(self, name: str, keys: Sequence[str], cost: Decimal) -> None:
        once = "INSERT INTO settled (id, at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
        if not self._transaction.change(once, (name, self.now)):
            return
        held = self._transaction.rows("DELETE FROM reservations WHERE id = ? RETURNING amount", (name,))
        self._add(keys, _units(cost), -held[0][0] if held else 0)

    def expire(self) -> None:
        rows = self._transaction.rows("SELECT id, owner, until, amount, keys FROM reservations")
        if not rows:
            return
        gone = {owner: owners.is_gone(owner, shared=self._shared) for owner in {row[1] for row in rows}}
        moment = self.now
        for name, owner, until, amount, keys in rows:
            if until < moment or gone[owner]:
                self._transaction.change("DELETE FROM reservations WHERE id = ?", (name,))
                self._add(keys.split(_SEPARATOR), 0, -amount)

    def announce(self, key: str, threshold: float) -> bool:
        entry = "INSERT INTO announced (key, threshold) VALUES (?, ?) ON CONFLICT (key, threshold) DO NOTHING"
        return self._transaction.change(entry, (key, threshold)) > 0

    def _add(self, keys: Sequence[str], spent: int, held: int) -> None:
        self._transaction.change_each(
            "INSERT INTO totals (key, spent, held) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
            " SET spent = totals.spent + excluded.spent, held = totals.held + excluded.held",
            [(key, spent, held) for key in keys],
        )


def _units(amount: Decimal) -> int:
    return int((amount * _UNIT).to_integral_value(rounding=ROUND_CEILING))


def _usd(units: int) -> Decimal:
    return Decimal(units) / _UNIT
