"""What the stores ask of a database, whichever it is: transactions, one SQL, a clock, and a version of its tables.

The SQL is what SQLite and PostgreSQL both understand: `?` for values, `BIGINT`, `DOUBLE PRECISION` and `TEXT` as types,
`ON CONFLICT`, `RETURNING`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one store.

    Args:
        name: the store's name.
        versions: the statements that lead from each version to the next, with `;` between them; the first version is
            what 0.1.0 wrote.
        forget: a statement that removes what is older than the second that it is given, and that age in seconds.
    """

    name: str
    versions: tuple[str, ...]
    forget: tuple[str, float] | None = None


class Transaction(Protocol):
    """One transaction: all of it happens, or nothing."""

    @property
    def repeated(self) -> bool:
        """Whether an earlier try was cut off, and may have been committed all the same."""

    @property
    def now(self) -> float:
        """Seconds since 1970 by the database's own clock."""

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run a statement and give its rows."""

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run a statement and give how many rows it has changed."""

    def change_each(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement for each of many rows."""


class Database(Protocol):
    """A database with the tables of its stores in it.

    Raises:
        TransientError: `state.unavailable`: it doesn't answer for the moment.
        ConfigError: `state.unusable`, `state.refused`, or `state.newer`: a later prodkit has changed its tables.
    """

    name: str  # what tells it from other databases and projects
    where: str  # the file, or the address without a password
    shared: bool  # by several machines, whose processes this one can't look at

    def write(self, work: Callable[[Transaction], T], *, patience: float | None = None) -> T:
        """Do `work` in a transaction that excludes other writers; rolled back when it raises.

        `work` may be called again, where the connection was lost in the middle. A server that is away may come back
        within `patience` seconds.
        """

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Do `work`, which only reads."""


def unusable(where: str, reason: object) -> ConfigError:
    """The one error for a database that refuses."""
    return ConfigError(
        "state.unusable",
        f"The database of the project's state can't be used ({reason}).",
        where=where,
        fix="make it writable for this user; a file that is no database can be moved away, and a new one is made",
    )


def newer(where: str, schema: Schema, found: int) -> ConfigError:
    """The one error for tables that a later version of prodkit has written."""
    return ConfigError(
        "state.newer",
        f"The tables of `{schema.name}` have version {found}; this prodkit knows them up to {len(schema.versions)}.",
        where=where,
        fix="upgrade prodkit here: pip install --upgrade prodkit",
    )
