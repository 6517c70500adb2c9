"""Which process holds something, where it runs, and whether it still lives.

A process id means something only in the same process namespace of the same machine. So a place is named by host,
machine and namespace, and by the machine's boot; in a database of several machines the boot must be the same too,
because names of hosts and images are given twice.
"""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

_SEPARATOR = "|"


def me() -> str:
    """This process: place, pid and start time, so that a reused pid isn't taken for it."""
    return _identify(os.getpid())


def is_gone(owner: str, *, shared: bool = False) -> bool:
    """Whether a process is known to have ended.

    Args:
        owner: as `me` gave it there.
        shared: the owner may be on another machine, also when its names are the same as this one's.

    Returns:
        False when it lives, and when it runs where this process can't look.
    """
    if owner == me():
        return False
    where, pid, started = owner.rsplit(_SEPARATOR, 2)
    return is_here(where, shared=shared) and start_time(int(pid)) != started


def is_alive(owner: str) -> bool:
    """Whether a process is known to live: it runs here, and can be looked at."""
    where, pid, started = owner.rsplit(_SEPARATOR, 2)
    return is_here(where, shared=True) and start_time(int(pid)) == started


def is_here(where: str, *, shared: bool = False) -> bool:
    """Whether a place is this one, whose processes can be looked at.

    In a file of this machine a place may be from before the last boot, or only a host's name, as 0.1.0 wrote it.
    """
    if shared:
        return where == place()
    return where == socket.gethostname() or _without_boot(where) == _without_boot(place())


def host_of(where: str) -> str:
    """The host's name in a place or an owner."""
    return where.partition(_SEPARATOR)[0]


@functools.cache
def place() -> str:
    """Host, machine, process namespace and boot."""
    parts = (
        socket.gethostname(),
        _read("/etc/machine-id"),
        _namespace(),
        _read("/proc/sys/kernel/random/boot_id"),
    )
    return _SEPARATOR.join(part.replace(_SEPARATOR, "-") for part in parts)


def start_time(pid: int) -> str:
    """When the process began, in the system's own unit; empty when it is gone or a zombie."""
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""


@functools.lru_cache(maxsize=8)
def _identify(pid: int) -> str:
    return _SEPARATOR.join((place(), str(pid), start_time(pid)))


def _without_boot(where: str) -> str:
    return where.rpartition(_SEPARATOR)[0]


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
