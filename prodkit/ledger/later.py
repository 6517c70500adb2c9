"""Work that ends in records and needn't be waited for: one thread does it, in order."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from prodkit.errors import ProdkitError

if TYPE_CHECKING:
    from collections.abc import Callable

_GRACE = 0.05  # seconds


class Later:
    """A queue with a thread that lives while there is work."""

    def __init__(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Forget all work, in a forked child: the parent's thread does it."""
        self._work: deque[Callable[[], None]] = deque()
        self._change = threading.Condition()
        self._busy = self._hurry = False

    def do(self, work: Callable[[], None]) -> None:
        """Do this after what was given before; at once where no thread can be started any more."""
        with self._change:
            self._work.append(work)
            if self._busy:
                return
            self._busy = True
        try:
            threading.Thread(target=self._drain, name="prodkit-later", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end
            self._hurry = True
            self._drain()

    def wait(self, timeout: float | None = None) -> bool:
        """Return when all work is done, or after so many seconds; says whether it is."""
        with self._change:
            self._hurry = self._busy
            self._change.notify_all()
            return self._change.wait_for(lambda: not self._busy, timeout)

    def _drain(self) -> None:
        with self._change:  # whoever has given the work is about to be done: two threads of Python slow each other
            self._change.wait_for(lambda: self._hurry, _GRACE)
        while True:
            with self._change:
                if not self._work:
                    self._busy = self._hurry = False
                    self._change.notify_all()
                    return
                work = self._work.popleft()
            try:
                work()
            except Exception as error:  # nobody is there to catch it, and the next piece is still to be done
                said = (
                    error if isinstance(error, ProdkitError) else type(error).__name__
                )  # others' texts may hold values
                logging.getLogger("prodkit").error("A record that was left for later wasn't written: %s", said)  # noqa: TRY400
