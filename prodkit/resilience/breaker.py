"""A circuit breaker: after too many failures a target is left alone for a while, then one single call tries it.

No lock is held while a call runs. Time is monotonic. Of many callers that arrive when the pause is over, one is let
through as the probe; if it never reports back (cancelled, killed) another one is let through later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from prodkit.resilience.clock import SYSTEM_CLOCK, Clock


class BreakerState(StrEnum):
    """Closed lets calls through, open doesn't, half-open has one probe on its way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class SharedState(Protocol):
    """Where processes tell each other that a target is down. Its methods never raise."""

    def open_for(self, target: str) -> float | None:
        """Seconds that the target is to be left alone; 0 when it may be probed, None when nobody knows of trouble."""
        ...

    def opened(self, target: str, seconds: float) -> None:
        """Tell the others that the target is to be left alone for so long, and give the probe back."""
        ...

    def closed(self, target: str) -> None:
        """Tell the others that the target is well."""
        ...

    def probe(self, target: str, lease: float) -> bool:
        """Take the one probe that all processes have together; False when another process is at it."""
        ...


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, and for how long.

    Attributes:
        window: how many of the latest outcomes count.
        minimum: how many there must be before the share means anything; a notebook never sees a hundred calls.
        failure_share: the share of failures in the window that opens it, above 0 and at most 1.
        open_for: seconds for which it stays open.
    """

    window: int = 20
    minimum: int = 5
    failure_share: float = 0.5
    open_for: float = 30.0


class Breaker:
    """The breaker of one target.

    `enter()` gives a ticket, or None when the call must not be made. The ticket goes back with `success`, `failure` or
    `release`. A ticket from before the latest change of state changes nothing any more.
    """

    def __init__(
        self,
        target: str,
        settings: BreakerSettings | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        shared: SharedState | None = None,
    ) -> None:
        self.target, self.settings = target, settings or BreakerSettings()
        self.state = BreakerState.CLOSED
        self._now, self._shared = clock.now, shared
        self._lock = threading.Lock()
        self._outcomes = bytearray(self.settings.window)  # a ring of 0 (success) and 1 (failure)
        self._seen = self._failures = self._at = 0
        self._until = 0.0  # end of the pause when open, of the probe's lease when half-open
        self._epoch = 1  # counts changes of state; the ticket's number
        self._asked_shared = float("-inf")

    def enter(self) -> int | None:
        """A ticket for one call, or None when the target must be left alone."""
        if self.state is BreakerState.CLOSED and self._shared is None:
            return self._epoch
        return self._enter_slowly()

    def success(self, ticket: int) -> None:
        """The call with this ticket went well."""
        if ticket != self._epoch:
            return
        if self.state is BreakerState.CLOSED:
            if self._failures or self._seen < self.settings.window:  # else the ring is all successes already
                with self._lock:
                    self._record(ticket, failed=0)
            return
        with self._lock:
            if ticket == self._epoch:
                self._become(BreakerState.CLOSED, 0.0)

    def failure(self, ticket: int) -> None:
        """The call with this ticket failed in a way that counts against the target."""
        with self._lock:
            if ticket != self._epoch:
                return
            if self.state is BreakerState.HALF_OPEN:
                self._become(BreakerState.OPEN, self.settings.open_for)
                return
            self._record(ticket, failed=1)
            known = min(self._seen, self.settings.window)
            if known >= self.settings.minimum and self._failures >= self.settings.failure_share * known:
                self._become(BreakerState.OPEN, self.settings.open_for)

    def release(self, ticket: int) -> None:
        """The call with this ticket says nothing about the target: it was cancelled, refused or throttled."""
        with self._lock:
            if ticket == self._epoch and self.state is BreakerState.HALF_OPEN:
                self._become(BreakerState.OPEN, 0.0)  # the next caller is the probe

    def hold(self, seconds: float) -> None:
        """Leave the target alone for so long, because it asked for that. Never shortens a pause."""
        with self._lock:
            if self.state is BreakerState.OPEN and self._until >= self._now() + seconds:
                return
            self._become(BreakerState.OPEN, seconds)

    def remaining(self) -> float:
        """Seconds until the target may be tried again; 0 when it may now."""
        return max(0.0, self._until - self._now()) if self.state is not BreakerState.CLOSED else 0.0

    def _enter_slowly(self) -> int | None:
        self._ask_the_others()
        with self._lock:
            if self.state is BreakerState.CLOSED:
                return self._epoch
            now = self._now()
            if now < self._until:
                return None
            lease = max(self.settings.open_for, 1.0)
            if self._shared is not None and not self._shared.probe(self.target, lease):
                self._until = now + 1.0
                return None
            self._become(BreakerState.HALF_OPEN, lease)
            return self._epoch

    def _ask_the_others(self) -> None:
        """Learn at most once a second what other processes know of the target."""
        now = self._now()
        if self._shared is None or now - self._asked_shared < 1.0:
            return
        self._asked_shared = now
        seconds = self._shared.open_for(self.target)
        with self._lock:
            if seconds is not None and self.state is BreakerState.CLOSED:
                self._become(BreakerState.OPEN, seconds, tell=False)

    def _record(self, ticket: int, failed: int) -> None:
        if ticket != self._epoch or self.state is not BreakerState.CLOSED:
            return
        self._failures += failed - self._outcomes[self._at]
        self._outcomes[self._at] = failed
        self._at = (self._at + 1) % self.settings.window
        self._seen += 1

    def _become(self, state: BreakerState, seconds: float, *, tell: bool = True) -> None:
        self.state = state
        self._until = self._now() + seconds
        self._epoch += 1
        if state is BreakerState.CLOSED:
            self._outcomes = bytearray(self.settings.window)
            self._seen = self._failures = self._at = 0
        if self._shared is None or not tell:
            return
        if state is BreakerState.OPEN:
            self._shared.opened(self.target, seconds)
        elif state is BreakerState.CLOSED:
            self._shared.closed(self.target)
