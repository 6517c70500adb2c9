"""Whose call is this: the run and the request stamp of the current thread or task."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import wrapt

from prodkit.errors import ParameterError, nearest
from prodkit.records import DataSource
from prodkit.resilience.policy import Commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.capture.runs import OpenRun

_run: ContextVar[OpenRun | None] = ContextVar("prodkit_run", default=None)
_open: list[OpenRun] = []
_lock = threading.Lock()
_MARK = "_prodkit_run"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who asks, for what, and where the content comes from. Empty means: not said."""

    user: str = ""
    session: str = ""
    source: str = ""
    purpose: str = ""

    def __bool__(self) -> bool:
        return bool(self.user or self.session or self.source or self.purpose)

    def over(self, other: Stamp) -> Stamp:
        """This stamp, with the other one's words where this one has none."""
        return Stamp(
            self.user or other.user,
            self.session or other.session,
            self.source or other.source,
            self.purpose or other.purpose,
        )


_NOBODY = Stamp()
_stamp: ContextVar[Stamp] = ContextVar("prodkit_stamp", default=_NOBODY)


def check_source(source: str | None) -> str:
    """A data source by its name; empty stays empty.

    Raises:
        ParameterError: `capture.unknown-source`.
    """
    if not source:
        return ""
    try:
        return DataSource(source).value
    except ValueError:
        raise ParameterError(
            "capture.unknown-source",
            f"`{source}` is not a data source.",
            where="source=",
            fix=nearest(str(source), [one.value for one in DataSource]),
        ) from None


_replay: ContextVar[bool] = ContextVar("prodkit_replay", default=True)


_commit: ContextVar[Commit | None] = ContextVar("prodkit_commit", default=None)


def stream_commit() -> Commit | None:
    """When the streams of this thread or task pass their pieces on; None: as the manifest says."""
    return _commit.get()


def replay_allowed() -> bool:
    """Whether the calls of this thread or task may be answered by kept answers, and theirs kept."""
    return _replay.get()


@contextmanager
def request(
    *,
    user: str | None = None,
    source: str | None = None,
    session: str | None = None,
    purpose: str | None = None,
    replay: bool | None = None,
    commit: Commit | None = None,
) -> Iterator[None]:
    """Stamp the calls inside with who asks and where the content comes from.

    Args:
        user: id of the person on whose behalf the calls are made.
        source: one of `user_input`, `crm`, `docs`, `database`, `files`, `stream`, `web`, `other`.
        session: id of the conversation or batch.
        purpose: what the answer is for.
        replay: False asks anew in every attempt of a job, and keeps no answer; None leaves it as it is around.
        commit: when the pieces of streams are passed on: "first_token", "buffer" or "restart"; None leaves it as it is
            around, or as `resilience.commit` of prodkit.yaml says.

    Raises:
        ParameterError: `capture.unknown-source` or `capture.unknown-commit`.
    """
    stamp = Stamp(user or "", session or "", check_source(source), purpose or "")
    allowed, committed = _replay.get(), _commit.get()
    if commit is not None and commit not in get_args(Commit):
        raise ParameterError(
            "capture.unknown-commit",
            f"`{commit}` is not a way to pass a stream on.",
            where="commit=",
            fix=nearest(str(commit), get_args(Commit)),
        )
    token = _stamp.set(stamp.over(_stamp.get()))
    _replay.set(allowed if replay is None else replay)
    _commit.set(commit or committed)
    try:
        yield
    finally:
        _replay.set(allowed)
        _commit.set(committed)
        try:
            _stamp.reset(token)
        except ValueError:  # left in another task than entered, as async generators do
            _stamp.set(_NOBODY)


_within: ContextVar[bool] = ContextVar("prodkit_within_call", default=False)


def within_call() -> bool:
    """Whether this is part of a call that is guarded already, further out."""
    return _within.get()


@contextmanager
def one_call() -> Iterator[None]:
    """What is requested inside is part of one guarded call."""
    token = _within.set(True)
    try:
        yield
    finally:
        _within.reset(token)


def current_stamp() -> Stamp:
    """The stamp of this thread or task."""
    return _stamp.get()


def current_run() -> OpenRun | None:
    """The open run of this thread or task; in a thread that knows none, the newest open one of the process."""
    run = _run.get() or getattr(threading.current_thread(), _MARK, None)
    while run is not None and run.closed:
        run = run.parent
    if run is not None:
        return run
    return _open[-1] if _open else None


def enter(run: OpenRun) -> None:
    """The run is open from now on, here and in every thread that begins here."""
    with _lock:
        _follow_threads()
        _open.append(run)
    _run.set(run)


def leave(run: OpenRun) -> None:
    """The run is over."""
    with _lock:
        if run in _open:
            _open.remove(run)
    if _run.get() is run:
        _run.set(run.parent)


def open_runs() -> tuple[OpenRun, ...]:
    """All open runs of the process, the newest last."""
    return tuple(_open)


class _Threads:
    followed = False


def _follow_threads() -> None:
    """A thread belongs to the run that it was started in (threads don't inherit context variables)."""
    if not _Threads.followed:
        _Threads.followed = True
        wrapt.wrap_function_wrapper(threading.Thread, "start", _mark)


def _mark(wrapped: Any, thread: Any, args: Any, kwargs: Any) -> Any:
    run = current_run()
    if run is not None:
        setattr(thread, _MARK, run)
    return wrapped(*args, **kwargs)
