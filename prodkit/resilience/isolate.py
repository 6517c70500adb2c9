"""Sync work that can be left behind: a worker thread, so that a deadline holds whatever the client does."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from prodkit.resilience.call import AttemptTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

GRACE = 0.02
"""Seconds that the client's own timeout gets to say it more tidily than we would."""

_IDLE_SECONDS = 30.0
_idle: list[_Worker] = []  # threads that wait for work: starting one takes longer than all else that we do for a call


class _Worker:
    """A thread that does one piece of work after the other, and ends when there is none for a while."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="prodkit-attempt", daemon=True).start()

    @classmethod
    def take(cls) -> _Worker:
        """An idle thread, or a new one."""
        try:
            return _idle.pop()
        except IndexError:
            return cls()

    def do(self, work: Callable[[], None]) -> None:
        """Begin `work`, which makes the thread idle itself."""
        self._work.put(work)

    def _run(self) -> None:
        while True:
            try:
                self._work.get(timeout=_IDLE_SECONDS)()
            except queue.Empty:
                try:
                    _idle.remove(self)
                except ValueError:  # it is at work for somebody who has taken it this moment
                    continue
                return


def run_isolated(work: Callable[[], R], timeout: float) -> R:
    """Run `work` in a thread with a copy of the caller's context, and stop waiting for it after `timeout` seconds.

    Raises:
        AttemptTimeoutError: it isn't done. The thread lives on until its client gives up; its result is dropped.
        BaseException: what `work` has raised.
    """
    context, worker = contextvars.copy_context(), _Worker.take()
    answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer: tuple[bool, Any] = (True, context.run(work))
        except BaseException as error:
            answer = (False, error)
        _idle.append(worker)  # before the answer: the caller's next call finds it
        answers.put(answer)

    worker.do(run)
    try:
        good, result = answers.get(timeout=timeout + GRACE)
    except queue.Empty:
        raise AttemptTimeoutError(f"no answer within {timeout:.3g} s") from None
    if good:
        return result
    raise result


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


os.register_at_fork(after_in_child=_idle.clear)  # threads don't come along
