"""One run of a job at a time: a lock that the system frees when its holder dies, and a lease over machines.

The lock file is for the processes that share the state folder. Where several machines share a database, a run also
holds the job's lease there, which is free some time after its holder died.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import TransientError
from prodkit.records import now
from prodkit.stores import owners
from prodkit.stores.leases import Held, Lease
from prodkit.stores.opening import leases_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prodkit.manifest import Project
    from prodkit.stores.leases import Leases

_LOOK_EVERY = 0.25  # seconds
_GLANCE = 0.02
_FIX = "wait for it to end, or stop it with `kill`; a lock whose holder is dead is free by itself"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who wrote into a lock file. `key` is the idempotency key that it runs under."""

    pid: int
    since: str
    place: str = ""
    key: str = ""


class Hold:
    """That this process may run a job; `check` says whether it still may."""

    def __init__(self, leases: Leases | None = None, lease: Lease | None = None) -> None:
        self._leases, self._lease = leases, lease

    def on_loss(self, listener: Callable[[], object]) -> None:
        """Call `listener` when others may begin the job although this process goes on; from a thread of the lease."""
        if self._lease is not None:
            self._lease.listeners.append(listener)

    def check(self) -> None:
        """Make sure of it, before anything is told that must be true.

        Raises:
            TransientError: `state.lease-lost`, or `state.unavailable`.
        """
        if self._leases is not None and self._lease is not None:
            self._leases.check(self._lease)


@contextmanager
def locked_job(project: Project, job: str, *, key: str = "", patience: float = 0.0) -> Iterator[Hold]:
    """Hold a job while the block runs, over all processes and machines that share the project's state.

    Args:
        project: whose job.
        job: its name.
        key: the idempotency key; while the same key is run elsewhere, its end is awaited.
        patience: seconds to wait for that, at most.

    Raises:
        TransientError: `jobs.locked`, with the holder and since when.
    """
    what, until = f"The job `{job}`", time.monotonic() + patience
    leases = leases_of(project)
    with _locked_file(project.state / "jobs" / job / "lock", what, key, until):
        if leases is None:
            yield Hold()
            return
        lease = _take(leases, f"job:{job}", what, key, until)
        try:
            yield Hold(leases, lease)
        finally:
            leases.release(lease)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file at `path` while the block runs.

    The lock belongs to the open file, not to the process id in it: a holder that was killed holds nothing any more, and
    a process id that was given to somebody else can't keep it.

    Raises:
        TransientError: `jobs.locked`, with the holder's process id and since when.
    """
    with _locked_file(path, what, "", 0.0):
        yield


def holder_of(path: Path) -> Holder | None:
    """Who has the lock file at `path`; None when nobody has."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(path)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def _locked_file(path: Path, what: str, key: str, until: float) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _try_lock(descriptor):
            holder = _written(path)
            if not key or holder is None or holder.key != key or time.monotonic() > until:
                told = f" in process {holder.pid} since {holder.since[:19]} UTC" if holder else ""
                raise _busy(what, told, str(path))
            time.sleep(_LOOK_EVERY)
        entry = {"pid": os.getpid(), "since": now().isoformat(), "place": owners.place(), "key": key}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(entry).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    for pause in (_GLANCE, 0.0):  # somebody may just be looking whether it is held
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return True
    return False


def _written(path: Path) -> Holder | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(known["pid"]), str(known["since"]), str(known.get("place", "")), str(known.get("key", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _take(leases: Leases, name: str, what: str, key: str, until: float) -> Lease:
    """Take a lease. One that its holder renews is refused; one of a holder that died meanwhile is awaited."""
    taken = leases.take(name, key)
    first = taken
    while isinstance(taken, Held):
        awaited = key and taken.about == key and time.monotonic() <= until
        alive = owners.is_alive(taken.owner) or (isinstance(first, Held) and taken.until > first.until)
        if alive and not awaited:
            told = f" in {taken.holder} since {taken.since:%Y-%m-%dT%H:%M:%S} UTC"
            raise _busy(what, told, leases.where)
        time.sleep(_LOOK_EVERY)
        taken = leases.take(name, key)
    return taken


def _busy(what: str, told: str, where: str) -> TransientError:
    return TransientError("jobs.locked", f"{what} is running already{told}.", where=where, fix=_FIX)
