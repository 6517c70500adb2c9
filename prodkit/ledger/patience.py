"""How MLflow's client behaves while it is asked by us: it tries for seconds and not for minutes, and prints nothing."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
BOUNDS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", _TIMEOUT: "60"}
"""What holds for our own questions where the user says nothing: MLflow's 7 retries of 120 s go on for minutes."""
_SILENT = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}  # a run of ours that ends isn't the user's cell's news
_ANSWER = 30.0  # seconds for one small answer, where the user says no other number

_lock = threading.Lock()
_holders: list[object] = []
_ours: list[str] = []  # settings that are there only while somebody holds them


@contextmanager
def bounded() -> Iterator[None]:
    """MLflow's retries end after seconds while this lasts, unless the user has said how long they may take.

    MLflow reads its settings from the environment at each request, and takes them no other way.
    """
    holder = object()
    with _lock:
        if not _holders:
            settings = {**BOUNDS, **_SILENT}
            _ours.extend(name for name in settings if name not in os.environ)
            os.environ.update({name: settings[name] for name in _ours})
        _holders.append(holder)
    try:
        yield
    finally:
        with _lock:
            _holders.remove(holder)
            while not _holders and _ours:
                os.environ.pop(_ours.pop(), None)


def answer_seconds() -> float:
    """How long one small answer is waited for: as long as the user has set for MLflow, else a bound of ours."""
    said = "" if _TIMEOUT in _ours else os.environ.get(_TIMEOUT, "")
    try:
        return float(said)
    except ValueError:
        return _ANSWER


def _after_fork() -> None:
    """A child has none of the threads that held the bound."""
    global _lock  # noqa: PLW0603  a lock that another thread held at the fork stays held for ever
    _lock = threading.Lock()
    _holders.clear()
    while _ours:
        os.environ.pop(_ours.pop(), None)


os.register_at_fork(after_in_child=_after_fork)
