"""SIGTERM and SIGINT as a request to stop that everything which waits can see."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """While it is open, SIGTERM and SIGINT are noted instead of ending the process.

    Only the main thread of a process may handle signals; elsewhere it holds a request that somebody makes by `request`.
    A second signal means "now": listeners are called again and see `count == 2`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.signal = 0
        self._asked = threading.Event()
        self._listeners: list[Callable[[], object]] = []
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    @property
    def asked(self) -> bool:
        """Whether somebody asked to stop."""
        return self._asked.is_set()

    @property
    def reason(self) -> str:
        """`SIGTERM`, `SIGINT`, or `a request`."""
        return signal.Signals(self.signal).name if self.signal else "a request"

    def request(self, number: int = 0) -> None:
        """Ask to stop, as the signal `number` does. Safe in a signal handler and from other threads."""
        self.count += 1
        self.signal = number
        self._asked.set()
        for listener in tuple(self._listeners):
            listener()

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until somebody asks to stop; True if so."""
        return self._asked.wait(seconds)

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener` at each request; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.request(number)
