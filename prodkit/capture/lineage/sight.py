"""The open watches, and how an access reaches them. Kept small: it runs inside the user's reads and writes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from prodkit.capture.lineage import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Access:
    """One source that was read (`input`) or written (`output`)."""

    source: str  # absolute path or URL, without credentials
    context: str
    kind: str = "file"
    rows: int | None = None
    columns: tuple[tuple[str, str], ...] = ()

    def joined(self, other: Access) -> Access:
        """Both together: a reader knows more than the file that it opened."""
        if other.kind == "file" and not other.columns:
            return self
        return replace(
            self,
            kind=self.kind if other.kind == "file" else other.kind,
            rows=self.rows if other.rows is None else other.rows,
            columns=other.columns or self.columns,
        )


class Noter(Protocol):
    """Whatever takes accesses down."""

    def note(self, access: Access) -> None:
        """Take one access down."""


_watches: tuple[Noter, ...] = ()
_lock = threading.Lock()
_installed = False
_silence = threading.local()
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR


def begin(watch: Noter) -> None:
    """Open a watch."""
    global _watches  # noqa: PLW0603  replaced as a whole, so that the hook reads it without a lock
    with _lock:
        _watches = (*_watches, watch)


def end(watch: Noter) -> None:
    """Close a watch."""
    global _watches  # noqa: PLW0603
    with _lock:
        _watches = tuple(one for one in _watches if one is not watch)


def is_watched() -> bool:
    """Whether any watch is open."""
    return bool(_watches)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """What this thread reads meanwhile is our own business."""
    _silence.on = True
    try:
        yield
    finally:
        _silence.on = False


def see(access: Access) -> None:
    """Tell all open watches."""
    if getattr(_silence, "on", False):
        return
    for watch in _watches:
        watch.note(access)


def see_place(
    place: Any, context: str, kind: str, rows: int | None = None, columns: tuple[tuple[str, str], ...] = ()
) -> None:
    """Tell of a path or URL as a reader was given it; what isn't one, or is none of the user's data, is left out."""
    source = places.normalise(place)
    if source and not places.is_internal(source):
        see(Access(source, context, kind, rows, columns))


def install() -> None:
    """Install hook and wrappers, once per process."""
    global _installed  # noqa: PLW0603
    with _lock:
        if _installed:
            return
        _installed = True
    from prodkit.capture.lineage import wrappers

    sys.addaudithook(_hook)
    wrappers.install()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's audit hook. It must not raise: an error here would be the user's `open` failing."""
    if not _watches:
        return
    handler = _HANDLERS.get(event)
    if handler is None:
        return
    with contextlib.suppress(Exception):  # a missed read is less than a broken one
        handler(arguments)


def _on_open(arguments: tuple[Any, ...]) -> None:
    path, mode, flags = arguments
    if isinstance(path, int):
        return
    path = os.fsdecode(path)
    if places.is_internal_file(path):
        return
    source = os.path.abspath(path)  # noqa: PTH100  pathlib takes ten times as long
    if places.is_internal_file(source):
        return
    if isinstance(mode, str):
        writes, reads = any(letter in mode for letter in "wax+"), "r" in mode or "+" in mode
    else:
        writes, reads = bool(flags & _WRITE_FLAGS), not flags & os.O_WRONLY
    if reads and not (writes and flags & os.O_CREAT):
        see(Access(source, "input"))
    if writes:
        see(Access(source, "output"))


def _on_rename(arguments: tuple[Any, ...]) -> None:
    """Safe writers write a temporary file and rename it."""
    target = places.normalise(arguments[1])
    if target and not places.is_internal(target):
        see(Access(target, "output"))


def _on_url(arguments: tuple[Any, ...]) -> None:
    from prodkit.capture.lineage import http

    http.see_request(arguments[3] or ("POST" if arguments[1] else "GET"), str(arguments[0]))


_HANDLERS: dict[str, Callable[[tuple[Any, ...]], None]] = {
    "open": _on_open,
    "os.rename": _on_rename,
    "urllib.Request": _on_url,
}
