"""A scheduler's signs of life: to those who ask for its status, and to systemd when that has started it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.jobs.schedules.store import ScheduleStore

_NOTE = "scheduler"


@dataclass(slots=True)
class Presence:
    """Of the scheduler that runs in this process."""

    store: ScheduleStore
    _pinged: float = field(default=0.0)

    @classmethod
    def open(cls, store: ScheduleStore, pools: Mapping[str, int]) -> Presence:
        """It serves from now on."""
        import psutil

        started = psutil.Process().create_time()
        value = {"pid": os.getpid(), "started": started, "since": now().isoformat(), "pools": dict(pools)}
        store.note(_NOTE, {**value, "store": str(store.path)})
        _notify("READY=1")
        return cls(store)

    def alive(self) -> None:
        """The loop turns: said to systemd's watchdog, no more than twice in its time."""
        within = int(os.environ.get("WATCHDOG_USEC") or 0) / 2e6
        if within and time.monotonic() - self._pinged >= within / 2:
            self._pinged = time.monotonic()
            _notify("WATCHDOG=1")

    def stopping(self) -> None:
        """It starts nothing any more and waits for what runs, as long as the service's time to stop allows."""
        _notify("STOPPING=1")

    def close(self) -> None:
        """It serves no more."""
        self.store.note(_NOTE, None)


def running(store: ScheduleStore) -> dict[str, Any] | None:
    """The process id, pools and beginning of the scheduler that runs; None when none does.

    One that serves what the project was copied from isn't meant.
    """
    import psutil

    value = store.noted(_NOTE)
    if value and value.pop("store", str(store.path)) != str(store.path):
        return None
    with contextlib.suppress(psutil.Error):
        if value and abs(psutil.Process(value["pid"]).create_time() - value["started"]) < 1.0:
            return dict(value)
    return None


def _notify(state: str) -> None:
    """sd_notify(3); nothing without a service manager."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
