from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prodkit.contracts import Contract

TICKETS = Path(__file__).parents[2] / "contracts" / "tickets.odcs.yaml"


@pytest.fixture(scope="session")
def tickets_path() -> Path:
    return TICKETS


@pytest.fixture(scope="session")
def tickets_contract() -> Contract:
    return Contract.load(TICKETS)


def make_tickets(rows: int, seed: int = 0) -> pd.DataFrame:
    """Clean made-up tickets."""
    random = np.random.default_rng(seed)
    amounts = pd.Series(random.gamma(2.0, 40.0, rows).round(2))
    amounts[random.random(rows) < 0.3] = np.nan
    return pd.DataFrame(
        {
            "ticket_id": [f"T-{number}" for number in range(10_000, 10_000 + rows)],
            "created_at": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(random.integers(0, 300 * 86_400, rows), unit="s"),
            "customer_email": [f"user{number}@example.org" for number in random.integers(0, 900, rows)],
            "channel": random.choice(["email", "chat", "phone", "web"], rows),
            "subject": [f"Question {number}" for number in random.integers(0, 50, rows)],
            "body": ["I was charged twice " * int(number) for number in random.integers(1, 9, rows)],
            "priority": random.choice(["low", "normal", "high", "urgent"], rows),
            "amount_eur": amounts,
            "label": random.choice(["billing", "bug", "access", "shipping", "other"], rows),
        }
    )


@pytest.fixture
def tickets() -> pd.DataFrame:
    return make_tickets(200)


@pytest.fixture
def bad_tickets(tickets: pd.DataFrame) -> pd.DataFrame:
    """One fault a row in rows 1 to 7."""
    tickets = tickets.copy()
    tickets.loc[1, "created_at"] = pd.NaT
    tickets.loc[2, "channel"] = "fax-secret"
    tickets.loc[3, "priority"] = "URGENT"
    tickets.loc[4, "ticket_id"] = tickets.loc[0, "ticket_id"]
    tickets.loc[5, "body"] = ""
    tickets.loc[6, "amount_eur"] = -777.77
    tickets.loc[7, "customer_email"] = "not-an-address-secret"
    return tickets
