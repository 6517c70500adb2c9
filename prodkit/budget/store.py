"""What the rule asks of the place that keeps the sums. `prodkit.stores` has them; the rule knows none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from prodkit.errors import ProdkitError

T = TypeVar("T")


class UnavailableError(Exception):
    """The store can't be read or written.

    Args:
        cause: why, as an error that says where and how to mend it.
    """

    def __init__(self, cause: ProdkitError) -> None:
        super().__init__(cause.what)
        self.cause = cause


class Book(Protocol):
    """The sums and reservations, open for one transaction. Amounts are US dollars."""

    @property
    def now(self) -> float:
        """Seconds since 1970 by the clock that all who share the store have in common."""

    def totals(self, keys: Sequence[str]) -> dict[str, tuple[Decimal, Decimal]]:
        """Spent and reserved by key; a key that nothing was booked on is missing."""

    def holds(self, name: str) -> bool:
        """Whether an earlier try of this very transaction has entered the reservation already."""

    def hold(self, name: str, keys: Sequence[str], amount: Decimal, lease: float) -> None:
        """Enter a reservation that lasts `lease` seconds."""

    def settle(self, name: str, keys: Sequence[str], cost: Decimal) -> None:
        """Book a reservation's cost once, also when its lease has run out in between."""

    def expire(self) -> None:
        """Release reservations whose lease has run out or whose process has ended."""

    def announce(self, key: str, threshold: float) -> bool:
        """Note that a threshold is announced; False when it was before."""


class Store(Protocol):
    """Keeps sums for all processes that share a budget."""

    @property
    def name(self) -> str:
        """What tells it from other stores in this process."""

    @property
    def where(self) -> str:
        """The file or the address, for messages; holds no password."""

    def write(self, work: Callable[[Book], T], *, patience: float | None = None) -> T:
        """Do `work` in one transaction that excludes all others; rolled back when it raises.

        Args:
            work: may be called again, where a server was lost in the middle.
            patience: seconds in which a server that is away may come back; the store's own by default.

        Raises:
            UnavailableError: the store can't be used; nothing was written.
        """
