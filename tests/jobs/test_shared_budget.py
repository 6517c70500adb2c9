"""The items of a fan-out share one budget, over processes and restarts; what each has cost is told."""

from __future__ import annotations

import shutil
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from prodkit.jobs.ends import Outcome
from prodkit.jobs.fanout import run_over
from prodkit.jobs.history import History
from prodkit.jobs.runner import RunOptions
from prodkit.testing import simulated_provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALL = """
question = [{"role": "user", "content": f"Ticket {n}: my invoice is wrong."}]
with run("classify"):
    client.chat.completions.create(model="gpt-4o-mini", messages=question, max_tokens=8)
"""
IMPORTS = """
from openai import OpenAI
from prodkit.capture import run
from prodkit.testing import openai_options
client = OpenAI(**openai_options())
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_items_share_a_budget(
    make_job: Callable[..., Path], mlflow_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels of several items never spend more than the fan-out may; what can't be paid is refused and ends with 65,
    a restart doesn't begin with a full purse, and with more money it runs only what is missing.
    """
    provider = simulated_provider(latency=0.0)
    for name, value in {**provider.environment(), "PRODKIT_SHIPPER": "inline"}.items():
        monkeypatch.setenv(name, value)
    job = make_job(IMPORTS, CALL, parameters={"n": ("int", 0)})
    root = job.parents[1]
    (root / ".prodkit").mkdir()
    shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
    over = root / "items.csv"
    over.write_text("n\n" + "\n".join(map(str, range(6))) + "\n")
    free = run_over(job, over, workers=2, again=True)
    assert free.counts == {"ok": 6}
    assert all(item.cost for item in free.items)
    assert free.cost == sum(item.cost for item in free.items if item.cost)
    price = max(item.cost for item in free.items if item.cost)

    tight = RunOptions(budget=price * 4)
    first = run_over(job, over, workers=2, options=tight)
    assert (first.outcome, first.outcome.exit_code) == (Outcome.REFUSED, 65)
    assert set(first.counts) == {"ok", "refused"}, first
    assert first.counts["ok"] + first.counts["refused"] == 6
    assert first.cost is None or first.cost <= price * 4
    again = run_over(job, over, workers=2, options=tight)
    assert again.counts == first.counts
    assert all(item.skipped for item in again.items if item.outcome is Outcome.OK)

    enough = run_over(job, over, workers=2, options=RunOptions(budget=Decimal(1)))
    assert enough.counts == {"ok": 6}
    assert sum(item.skipped for item in enough.items) == first.counts["ok"]
    entry = History(root / ".prodkit" / "jobs" / "history.db").find(enough.run)
    assert entry is not None
    assert Decimal(entry.cost or "0") == enough.cost
