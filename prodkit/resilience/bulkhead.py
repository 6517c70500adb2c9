"""How many calls may be on their way at once, so that a fan-out doesn't run into the provider's limit by itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from typing import TYPE_CHECKING

from prodkit.resilience.call import FullError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Bulkhead:
    """So many places for calls; the others wait outside.

    Threads of the process share the places, and the tasks of one event loop share as many of their own.

    Args:
        places: how many.
        patience: seconds that a call waits for a place; None: for ever.
    """

    def __init__(self, places: int, patience: float | None) -> None:
        self.places, self.patience = places, patience
        self._threads = threading.Semaphore(places)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            FullError: none became free in time.
        """
        if not self._threads.acquire(timeout=self.patience):
            raise self._full()
        try:
            yield
        finally:
            self._threads.release()

    @contextlib.asynccontextmanager
    async def aplace(self) -> AsyncIterator[None]:
        """Hold a place in a task; raises as `place`."""
        semaphore = self._loops.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.places))
        try:
            async with asyncio.timeout(self.patience):
                await semaphore.acquire()
        except TimeoutError:
            raise self._full() from None
        try:
            yield
        finally:
            semaphore.release()

    def _full(self) -> FullError:
        return FullError(
            "resilience.full",
            f"{self.places} calls are on their way, and none ended within {self.patience:g} s.",
            fix="raise resilience.max_concurrent, or send fewer calls at once",
        )
