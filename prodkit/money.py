"""Amounts of money as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

_USUAL_PLACES = 4  # calls cost parts of a cent


def say_usd(amount: Decimal) -> str:
    """`$12.50`, `$0.0340`, `$0.000026`: an amount that isn't nothing is never shown as nothing."""
    if not amount:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.{max(_USUAL_PLACES, 1 - amount.adjusted())}f}"
