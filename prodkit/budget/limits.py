"""What keeps a call from starting, and which thresholds have been crossed: sums are compared with limits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.budget.store import Book

_NOTHING = Decimal(0), Decimal(0)


@dataclass(frozen=True, slots=True)
class Limit:
    """One scope of a call, and its limit in US dollars; None means that it is only counted."""

    scope: str
    key: str
    usd: Decimal | None
    setting: str  # where the limit is set, for messages


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The limit that keeps a call from starting, and what of it is spent and reserved.

    `passing` means that the call fits as soon as those that are under way have been settled.
    """

    limit: Limit
    spent: Decimal
    held: Decimal
    passing: bool = False


def first_obstacle(
    totals: Mapping[str, tuple[Decimal, Decimal]], limits: Sequence[Limit], amount: Decimal, bound: Decimal
) -> Obstacle | None:
    """What keeps a call from starting that will probably cost `amount` and can't cost more than `bound`.

    Beside others it may start while all bounds together stay below the limit. Where its bound is too much, it may
    still start alone: then what goes over the limit is the error of one estimate. A scope whose limit is used up
    refuses free and unpriced calls too.
    """
    crowded = None
    for limit in limits:
        if limit.usd is None:
            continue
        spent, held = totals.get(limit.key, _NOTHING)
        if spent + amount > limit.usd or (amount == 0 and spent >= limit.usd):
            return Obstacle(limit, spent, held)
        if held and spent + held + bound > limit.usd:
            crowded = crowded or Obstacle(limit, spent, held, passing=True)
    return crowded


def cross(
    book: Book, totals: Mapping[str, tuple[Decimal, Decimal]], limits: Sequence[Limit], thresholds: Sequence[float]
) -> list[tuple[Limit, float, Decimal]]:
    """The thresholds that what is spent has reached and that nobody has announced; marks them as announced."""
    crossed = []
    for limit in limits:
        if not limit.usd:
            continue
        spent = totals.get(limit.key, _NOTHING)[0]
        for threshold in sorted(thresholds):
            if spent < limit.usd * Decimal(str(threshold)):
                break
            if book.announce(limit.key, threshold):
                crossed.append((limit, threshold, spent))
    return crossed


def totals_of(book: Book, limits: Sequence[Limit]) -> dict[str, tuple[Decimal, Decimal]]:
    """Spent and reserved dollars of the scopes that have a limit, by key; an unused one is missing."""
    keys = [limit.key for limit in limits if limit.usd is not None]
    return book.totals(keys) if keys else {}
