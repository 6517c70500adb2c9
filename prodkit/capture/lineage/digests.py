"""Ids of files' bytes. A file is looked at when its run ends and read afterwards, which costs the cell nothing.

An id is given only for the bytes that were there when the file was looked at: a file that has changed until it was read
keeps an id of its place, size and times, which begins with `st1:` and not with `pf1:`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from prodkit.capture.lineage.sight import muted
from prodkit.errors import DataError

READ_UP_TO = 256 * 1024 * 1024  # bytes; a larger file isn't read once more for its id
_SETTLED_NS = 2 * 10**9  # a file that has changed later than this may change again without its times telling
_REMEMBERED = 4_096
_lock = threading.Lock()
_known: OrderedDict[FileState, str] = OrderedDict()


@dataclass(frozen=True, slots=True)
class FileState:
    """What the file system tells of a file; equal as long as nobody writes to it."""

    path: str
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @property
    def stand_in(self) -> str:
        """An id for a file that isn't read."""
        return "st1:" + hashlib.sha256(repr((self.path, self.modified_ns, self.size)).encode()).hexdigest()[:32]


def look(path: str) -> FileState | None:
    """The present state of a file; None when there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return FileState(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def known(state: FileState) -> str | None:
    """The id of a file in this state, as far as it is known without reading it."""
    if state.size > READ_UP_TO:
        return state.stand_in
    with _lock:
        return _known.get(state)


def read(state: FileState) -> str:
    """The id of the bytes of a file in this state: `pf1:`, or its stand-in when it has changed or can't be read."""
    identity = known(state)
    if identity is not None:
        return identity
    from prodkit.fingerprints import fingerprint_file

    now = time.time_ns()
    try:
        with muted():
            identity = fingerprint_file(Path(state.path)) if look(state.path) == state else state.stand_in
    except DataError:
        return state.stand_in
    if look(state.path) != state:
        return state.stand_in
    if now - max(state.changed_ns, state.modified_ns) > _SETTLED_NS:
        _remember(state, identity)
    return identity


def _remember(state: FileState, identity: str) -> None:
    with _lock:
        _known[state] = identity
        if len(_known) > _REMEMBERED:
            _known.popitem(last=False)
