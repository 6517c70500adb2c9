"""Which process holds a reservation, and whether it still lives."""

from __future__ import annotations

import functools
import os
import socket


def me() -> str:
    """This process: host, pid and start time, so that a reused pid isn't taken for it."""
    return _identify(os.getpid())


def is_gone(owner: str) -> bool:
    """True when the process is known to have ended; False when it lives or runs on another host."""
    if owner == me():
        return False
    host, pid, started = owner.rsplit("|", 2)
    if host != socket.gethostname():
        return False
    return _start_time(int(pid)) != started


@functools.lru_cache(maxsize=8)
def _identify(pid: int) -> str:
    return f"{socket.gethostname()}|{pid}|{_start_time(pid)}"


def _start_time(pid: int) -> str:
    """When the process began, in the system's own unit; empty when it is gone or a zombie."""
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""
