"""What a cell cost: the kernel's own sums, asked for in the same message that runs the cell."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "prodkit_spent"
EXPRESSION = "getattr(__import__('sys').modules.get('prodkit.ledger.spending'), 'told', str)()"
"""Gives "" where nothing was captured: asking must not import anything into somebody's kernel."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls, those of them whose price nobody knows, and US dollars of the others."""

    calls: int = 0
    unpriced: int = 0
    usd: Decimal = Decimal(0)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.calls - other.calls, self.unpriced - other.unpriced, self.usd - other.usd)

    @property
    def cost(self) -> Decimal | None:
        """US dollars; None when a call has no known price."""
        return None if self.unpriced else self.usd


NOTHING = Spent()


def read_spent(text: str) -> Spent | None:
    """What `EXPRESSION` gave; None when it says nothing."""
    try:
        calls, unpriced, usd = map(Decimal, text.strip("'\"").split())
    except (ValueError, InvalidOperation):
        return None
    return Spent(int(calls), int(unpriced), usd)


class AskingClient:
    """A kernel client whose cells also bring home what was spent; all else is the client's own."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def execute(self, code: str, **options: Any) -> Any:
        """Run code, and ask."""
        return self._client.execute(code, user_expressions={NAME: EXPRESSION}, **options)


def spent_in(reply: Mapping[str, Any]) -> Spent | None:
    """What the reply to a cell says; None when the cell failed or another kind of kernel ran it."""
    answer = (reply.get("content", {}).get("user_expressions") or {}).get(NAME) or {}
    return read_spent(answer.get("data", {}).get("text/plain", ""))
