"""The time as the policy sees it. `prodkit.testing.VirtualClock` has the same four methods and never waits."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the policy needs to know of time."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch; only for dates in headers and for state that processes share."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait, blocking."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Wait, in a task."""
        ...


class SystemClock:
    """The machine's own clock."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep = staticmethod(time.sleep)
    asleep = staticmethod(asyncio.sleep)


SYSTEM_CLOCK: Clock = SystemClock()
