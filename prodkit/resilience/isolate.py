"""Sync work that can be left behind: a worker thread, so that a deadline holds whatever the client does."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from prodkit.resilience.call import AttemptTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

GRACE = 0.02
"""Seconds that the client's own timeout gets to say it more tidily than we would."""


def run_isolated(work: Callable[[], R], timeout: float) -> R:
    """Run `work` in a thread with a copy of the caller's context, and stop waiting for it after `timeout` seconds.

    Raises:
        AttemptTimeoutError: it isn't done. The thread lives on until its client gives up; its result is dropped.
        BaseException: what `work` has raised.
    """
    context = contextvars.copy_context()
    done = threading.Event()
    results: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(context.run(work))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="prodkit-attempt", daemon=True).start()
    if not done.wait(timeout + GRACE):
        raise AttemptTimeoutError(f"no answer within {timeout:.3g} s")
    if errors:
        raise errors[0]
    return results[0]


class Pump:
    """Reads a blocking stream in a thread, one piece at a time and only when asked, so that silence can be limited.

    Args:
        opener: called with `target` and `timeout` in the thread; returns an iterable.
    """

    END: Any = object()

    def __init__(self, opener: Callable[..., Any], target: Any, timeout: float | None) -> None:
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._pieces: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._open = functools.partial(opener, target, timeout)
        self._source: Any = None
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="prodkit-stream", daemon=True).start()

    def next(self, timeout: float | None) -> Any:
        """The next piece, or `END`.

        Raises:
            AttemptTimeoutError: it didn't come in `timeout` seconds.
            BaseException: what the stream has raised.
        """
        self._asked.put(True)
        try:
            good, piece = self._pieces.get(timeout=timeout)
        except queue.Empty:
            raise AttemptTimeoutError(f"no piece of the stream within {timeout:.3g} s") from None
        if good:
            return piece
        raise piece

    def close(self) -> None:
        """Stop reading and close the stream. Doesn't wait for the thread."""
        self._asked.put(False)

    def _run(self) -> None:
        try:
            iterator = None
            while self._asked.get():
                if iterator is None:
                    self._source = self._open()
                    iterator = iter(self._source)
                self._pieces.put((True, next(iterator, self.END)))
        except BaseException as error:
            self._pieces.put((False, error))
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    close()
