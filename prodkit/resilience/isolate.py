"""Sync work that can be left behind: a worker thread, so that a deadline holds whatever the client does."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, TypeVar

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
