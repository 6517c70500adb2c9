"""Which schedule is next: a heap of moments, one for each name."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Timetable:
    """Moments by name. Setting one and taking the next cost the logarithm of how many there are."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, str]] = []
        self._current: dict[str, int] = {}
        self._number = 0

    def set(self, name: str, moment: datetime | None) -> None:
        """A name's next moment, in place of the one before; None takes it out."""
        self._current.pop(name, None)
        if moment is not None:
            self._number += 1
            self._current[name] = self._number
            heapq.heappush(self._heap, (moment, self._number, name))

    def take(self, moment: datetime) -> list[str]:
        """The names whose moment has come; they are out of it then."""
        taken = []
        while (first := self.first()) is not None and first <= moment:
            _, _, name = heapq.heappop(self._heap)
            del self._current[name]
            taken.append(name)
        return taken

    def first(self) -> datetime | None:
        """The earliest moment."""
        while self._heap and self._current.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
