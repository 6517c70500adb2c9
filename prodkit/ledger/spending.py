"""What this process has spent on models so far: a job's engine asks a kernel after each cell. Imports nothing."""

from __future__ import annotations

import threading
from decimal import Decimal

_lock = threading.Lock()
_sums: list[Decimal] = [Decimal(0), Decimal(0), Decimal(0)]  # calls, those without a price, US dollars of the others


def note(*, calls: int, unpriced: int, usd: Decimal) -> None:
    """Add calls that have ended."""
    with _lock:
        _sums[0] += calls
        _sums[1] += unpriced
        _sums[2] += usd


def told() -> str:
    """The sums since the process began: `calls unpriced usd`."""
    with _lock:
        return " ".join(map(str, _sums))
