"""A clock that doesn't wait: sleeping moves it on. For testing policies with minutes of waiting in milliseconds."""

from __future__ import annotations

import asyncio
import threading
import time


class VirtualClock:
    """Stands in for `prodkit.resilience`'s clock: `Policy(clock=VirtualClock())`, `resilient(clock=...)`.

    Time moves when somebody sleeps and when `advance` is called. Threads share it.

    >>> clock = VirtualClock(start=0)
    >>> clock.sleep(60)
    >>> clock.advance(5)
    >>> clock.now(), clock.sleeps
    (65.0, [60])

    Args:
        start: the first reading, in seconds.
        running: let real time pass, too. Waits are still skipped, but work takes the time that it takes; for tests
            against a server.

    Attributes:
        sleeps: every wait that was asked for, in order, in seconds.
    """

    def __init__(self, start: float = 1_000_000.0, *, running: bool = False) -> None:
        self._seconds = start
        self._running_since = time.monotonic() if running else None
        self._lock = threading.Lock()
        self.sleeps: list[float] = []

    def now(self) -> float:
        """Seconds of this clock; only differences mean anything."""
        passed = 0.0 if self._running_since is None else time.monotonic() - self._running_since
        return self._seconds + passed

    def wall(self) -> float:
        """The same seconds, as a date would be computed from them."""
        return self.now()

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds.

        Raises:
            ValueError: `seconds` is negative; this clock is monotonic.
        """
        if seconds < 0:
            raise ValueError("a monotonic clock doesn't go back")
        with self._lock:
            self._seconds += seconds

    def sleep(self, seconds: float) -> None:
        """Move on instead of waiting."""
        with self._lock:
            self.sleeps.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        """Move on instead of waiting, and let other tasks run once."""
        self.sleep(seconds)
        await asyncio.sleep(0)
