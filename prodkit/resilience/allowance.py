"""The retry budget: a token bucket for each provider, so that an outage isn't answered with a storm of retries."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from prodkit.resilience.failures import FailureClass

CAPACITY = 500
COST = 14
COST_OF_THROTTLE = 5


@dataclass
class Allowance:
    """Tokens for retries, as in botocore: 500 at first, a retry costs 14 (a throttled one 5), a success gives 1."""

    tokens: int = CAPACITY
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spend(self, kind: FailureClass) -> bool:
        """Take the price of one retry; False when there isn't enough left, and the retry must not happen."""
        price = COST_OF_THROTTLE if kind is FailureClass.RATE_LIMITED else COST
        with self._lock:
            if self.tokens < price:
                return False
            self.tokens -= price
            return True

    def earn(self) -> None:
        """A success gives one token back."""
        if self.tokens < CAPACITY:  # read without the lock: on the happy path the bucket is full
            with self._lock:
                self.tokens = min(CAPACITY, self.tokens + 1)
