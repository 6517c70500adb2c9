"""Reading what a provider asks us to wait, and drawing a wait of our own."""

from __future__ import annotations

import email.utils
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMPOUND = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds to wait as a response's headers say; None when they say nothing that makes sense.

    Reads `retry-after-ms`, `retry-after` (seconds or an HTTP date) and, for a 429 without them, the
    `x-ratelimit-reset-*` of OpenAI. A date is compared with the response's own `date`, so that a provider's clock that
    goes wrong, or ours, doesn't turn two seconds into an hour.

    Args:
        headers: with lower-case or case-insensitive keys.
        wall: our own clock, seconds since the epoch, for a response without a `date`.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    said = headers.get("retry-after")
    if said:
        seconds = _number(said)
        return seconds if seconds is not None else _until(said, headers.get("date"), wall)
    resets = [_compound(headers.get(f"x-ratelimit-reset-{what}")) for what in ("requests", "tokens")]
    known = [reset for reset in resets if reset is not None]
    return max(known) if known else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < float("inf") else None


def _until(date: str, sent: str | None, wall: float) -> float | None:
    then = _epoch(date)
    if then is None:
        return None
    reference = _epoch(sent) if sent else None
    return max(0.0, then - (wall if reference is None else reference))


def _epoch(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _compound(text: str | None) -> float | None:
    """`6m0s` and `120ms`, as OpenAI writes them."""
    parts = _COMPOUND.findall(text or "")
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None
