"""Redaction of prompts, beside the same rules without their gates."""

from __future__ import annotations

import json

import pytest

from prodkit.redaction import Redactor, personal, secrets
from prodkit.redaction.text import Text
from prodkit.redaction.tokens import TOKENS

CHAT = (
    "You are a support agent. Sort the ticket into one of: billing, login, shipping, bug, other. Ticket #48213 from "
    "2026-03-14: Hi, I was charged twice for order 991-223 on March 3rd (EUR 49.90). I already wrote to you last week "
    "but nobody answered. Please refund the second payment. Thanks, Anna\n"
)
PROMPTS = {
    "prose": ("The quarterly report shows that revenue in 2024 grew by 12.5 percent, while costs went down. " * 12)[
        :1000
    ],
    "chat": (CHAT * 4)[:1000],
    "json": json.dumps(
        [{"id": n, "name": f"Widget {n}", "price": 12.5 * n, "at": "2026-01-05T10:00:00Z"} for n in range(20)]
    )[:1000],
    "code": (
        "from __future__ import annotations\n\nimport hashlib\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass(frozen=True, slots=True)\nclass Reservation:\n"
        '    """Money that is set aside for one call."""\n\n    key: str\n    amount: Decimal\n\n'
        "    def settle(self, actual: Decimal | None) -> list[str]:\n"
        "        with self._database.begin() as connection:\n"
        "            rows = connection.execute(SELECT_OPEN, (self.key, self.amount.quantize(CENTS)))\n"
        "            return [row.announcement for row in rows if row.threshold_crossed >= 0.8]\n\n" * 3
    )[:1000],
    "personal": (CHAT + "Reach me at anna@example.org or +49 30 1234567. " + CHAT * 3)[:1000],
}


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.benchmark(group="redaction of 1 kB")
def test_redaction(benchmark, name):
    """A prompt of 1 kB is cleaned."""
    redactor = Redactor({}, None)
    benchmark(redactor.clean, PROMPTS[name])


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.benchmark(group="redaction of 1 kB")
def test_redaction_without_gates(benchmark, name):
    """The peer: the same patterns, each tried on the whole text."""

    def clean(text):
        for token in TOKENS:
            token.pattern.search(text)
        for finder in (*secrets.FINDERS, *personal.FINDERS):
            list(finder(Text(text)))

    benchmark(clean, PROMPTS[name])
