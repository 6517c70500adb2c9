"""One run of a job at a time: a lock that the system frees when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prodkit.errors import TransientError
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock at `path` while the block runs.

    The lock belongs to the open file, not to the process id in it: a holder that was killed holds nothing any more, and
    a process id that was given to somebody else can't keep it.

    Raises:
        TransientError: `jobs.locked`, with the holder's process id and since when.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TransientError(
                "jobs.locked",
                f"{what} is running already{_holder(path)}.",
                where=str(path),
                fix="wait for it to end, or stop it with `kill`; a lock whose holder is dead is free by itself",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "since": now().isoformat()}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return f" in process {holder['pid']} since {holder['since'][:19]} UTC"
