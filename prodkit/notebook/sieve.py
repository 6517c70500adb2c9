"""Which calls fit a filter, kept up while calls pour in: a look costs what has come since the last one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from prodkit.records import CallRecord

CHOICES = {"run": "name", "model": "model", "status": "status"}
"""What can be chosen -> the field of a call that says it."""


@dataclass
class _Seen:
    """What is known of one list of calls, as far as it was looked at."""

    looked: int = 0
    found: list[int] = field(default_factory=list)  # positions, because calls let go of their texts as they get old
    names: dict[str, set[str]] = field(default_factory=lambda: {key: set() for key in CHOICES})


class Sieve:
    """Sifts lists of calls that only grow. A list that changes in another way needs another key.

    Args:
        fits: whether a call is wanted; None for all of them.
    """

    def __init__(self, fits: Callable[[CallRecord], bool] | None = None) -> None:
        self._fits = fits
        self._seen: dict[Hashable, _Seen] = {}
        self._lists: dict[Hashable, Sequence[CallRecord]] = {}

    def look(self, lists: Mapping[Hashable, Sequence[CallRecord]]) -> None:
        """Look at what is new in the lists, the oldest list first; lists that aren't given are forgotten."""
        self._lists = dict(lists)
        self._seen = {key: self._seen.get(key) or _Seen() for key in lists}
        for key, calls in self._lists.items():
            self._take(self._seen[key], calls)

    def _take(self, seen: _Seen, calls: Sequence[CallRecord]) -> None:
        for position in range(seen.looked, len(calls)):
            call = calls[position]
            for key, name in CHOICES.items():
                seen.names[key].add(str(getattr(call, name)))
            if self._fits is not None and self._fits(call):
                seen.found.append(position)
            seen.looked = position + 1

    @property
    def total(self) -> int:
        """Calls in all lists."""
        return sum(seen.looked for seen in self._seen.values())

    @property
    def found(self) -> int:
        """Calls that fit."""
        return sum(len(self._positions(seen)) for seen in self._seen.values())

    @property
    def choices(self) -> dict[str, list[str]]:
        """The names that occur, in order."""
        return {key: sorted(set().union(*(seen.names[key] for seen in self._seen.values())) - {""}) for key in CHOICES}

    def page(self, number: int, length: int) -> list[CallRecord]:
        """One page of the calls that fit, the newest first; the first page is 0."""
        return list(itertools.islice(self._newest(), number * length, (number + 1) * length))

    def _newest(self) -> Iterator[CallRecord]:
        for key in reversed(self._lists):
            yield from map(self._lists[key].__getitem__, reversed(self._positions(self._seen[key])))

    def _positions(self, seen: _Seen) -> Sequence[int]:
        return range(seen.looked) if self._fits is None else seen.found
