"""How fast the items of a fan-out come to their ends, and how long the rest will take at that rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WINDOW = 50
"""Ends that the rate rests on: recent enough to follow a provider that slows down, many enough to be steady."""


class Pace:
    """Counts items as they end. Items that had succeeded before aren't work and don't count into the rate.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = [clock()]  # when it began, then the ends of items
        self.ended = 0
        self.total = 0

    def end(self, total: int, *, skipped: bool = False) -> None:
        """One item of `total` has ended."""
        self.total = total
        self.ended += 1
        if skipped:
            if len(self._ends) == 1:
                self._ends[0] = self._clock()
            return
        self._ends = [*self._ends[-_WINDOW:], self._clock()]

    @property
    def per_minute(self) -> float | None:
        """Items a minute lately; None until one has ended."""
        seconds = self._ends[-1] - self._ends[0]
        return (len(self._ends) - 1) / seconds * 60 if len(self._ends) > 1 and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last item ends at this rate; None until it is known."""
        rate = self.per_minute
        return None if rate is None else (self.total - self.ended) / rate * 60


def say_seconds(seconds: float) -> str:
    """A duration as a person says it: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 90:  # noqa: PLR2004  below that, minutes are too coarse
        return f"{seconds:.0f} s"
    if minutes < 90:  # noqa: PLR2004  as above, for hours
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004  as above, for days
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
