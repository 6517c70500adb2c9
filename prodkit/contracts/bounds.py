"""Bounds of numbers and times as exact values: `Decimal`, date, time, datetime."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any


def bound_of(kind: str, value: Any, *, lenient: bool = False) -> Any:
    """A value of a contract as what the data is compared with.

    Numbers become `Decimal` (exact: 0.1 is 0.1), times become their classes. With `lenient`, what is no number or time
    stays as it is; enumerations of text use that.

    Raises:
        ValueError, ArithmeticError: it is no value of this logical type.
    """
    try:
        return _strict(kind, value)
    except (ValueError, ArithmeticError, TypeError):
        if lenient:
            return value
        raise


def _strict(kind: str, value: Any) -> Any:
    if kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
            raise ValueError("not a number")
        number = Decimal(str(value))
        if not number.is_finite():
            raise ValueError("not finite")
        return number
    if kind == "date":
        return value if type(value) is date else datetime.fromisoformat(str(value)).date()
    if kind == "timestamp":
        return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if kind == "time":
        return value if isinstance(value, time) else time.fromisoformat(str(value))
    return value


def order_of(value: Any) -> Any:
    """A key that orders bounds of one column: naive times count as UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return value


def text_of(value: Any) -> Any:
    """A bound as the standard writes it: numbers as numbers, times as text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 10**18 else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value
