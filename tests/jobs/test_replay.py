"""A job that is tried again, resumed or replayed doesn't pay twice: the provider's own count says so."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from prodkit.errors import ConfigError
from prodkit.jobs.fanout import run_over
from prodkit.jobs.runner import RunOptions
from prodkit.testing import simulated_provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CELL = """
import os
from pathlib import Path
from openai import OpenAI
from prodkit.capture import run
from prodkit.testing import openai_options

client = OpenAI(**openai_options())
with run("classify", budget="0.50") as opened:
    for number in range(3):
        question = [{"role": "user", "content": f"Ticket {number}: my invoice is wrong."}]
        print(client.chat.completions.create(model="gpt-4o-mini", messages=question).id)
        marker = Path("failures.txt")
        left = int(marker.read_text()) if marker.exists() else 0
        if number == 1 and left:
            marker.write_text(str(left - 1))
            raise ConnectionError("the database is down")
print(opened.cost)
"""


@pytest.fixture
def paid_job(
    make_job: Callable[..., Path], mlflow_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, Any]]:
    """A job of three calls that fails after its second one so many times, and the provider that it pays."""
    provider = simulated_provider(latency=0.0)
    for name, value in {**provider.environment(), "PRODKIT_SHIPPER": "inline"}.items():
        monkeypatch.setenv(name, value)

    def make(failures: int, **options: Any) -> tuple[Path, Any]:
        job = make_job(CELL, **options)
        root = job.parents[1]
        (root / ".prodkit").mkdir()
        shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
        (root / "notebooks" / "failures.txt").write_text(str(failures))
        return job, provider

    return make


def test_no_attempt_pays_for_what_another_has_paid(
    paid_job: Callable[[int], tuple[Path, Any]], run_here: Callable[..., Any], remembering_ledger: Any
) -> None:
    """Two attempts of three calls send three requests, each cell tells what its own cost; then nothing is kept."""
    job, provider = paid_job(1)
    before = provider.stats()["requests"]
    result = run_here(job, retries=1)
    assert (result.exit_code, len(result.attempts)) == (0, 2)
    assert provider.stats()["requests"] - before == 3
    first, second = (attempt.cells[-1] for attempt in result.attempts)
    assert (first.calls, second.calls) == (2, 3)
    assert (first.cost or 0) > (second.cost or 0) > 0  # two of three, then the one that was left
    (cell,) = nbformat.read(result.output, 4).cells
    told = cell.metadata.prodkit
    assert (told.calls, told.cost_usd, told.seconds) == (3, str(second.cost), second.seconds)
    report = remembering_ledger.of_kind("job")[0]["files"]["report.html"].decode()
    assert f'<td class="n">3<td class="n">{second.cost:.5f}' in report
    assert not list((job.parents[1] / ".prodkit" / "replay").iterdir())


@pytest.mark.slow
def test_a_resumed_run_and_a_replayed_one_pay_nothing_twice(
    paid_job: Callable[[int], tuple[Path, Any]], run_here: Callable[..., Any]
) -> None:
    """A resumed run has the answers of the failed one; kept on request, a later replay needs no provider at all."""
    job, provider = paid_job(1)
    with pytest.raises(ConfigError) as caught:
        run_here(job, replay="last")
    assert caught.value.code == "jobs.nothing-to-replay"
    before = provider.stats()["requests"]
    assert run_here(job).exit_code != 0
    assert run_here(job, resume="last", keep_answers=True).exit_code == 0
    assert provider.stats()["requests"] - before == 3
    provider.outage(100, 503)
    try:
        assert run_here(job, replay="last").exit_code == 0
    finally:
        provider.outage(0)
    assert provider.stats()["requests"] - before == 3


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh kernels", "forked kernels"])
@pytest.mark.slow
def test_an_item_that_runs_again_pays_nothing_twice(
    paid_job: Callable[..., tuple[Path, Any]], remembering_ledger: Any, fresh: bool
) -> None:
    """A failed item's answers wait for it: the same fan-out again sends what is left, and then nothing is kept."""
    job, provider = paid_job(1, parameters={"n": ("int", 0)})
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n")
    options = RunOptions(fresh_kernels=fresh)
    before = provider.stats()["requests"]
    first = run_over(job, over, ledger=remembering_ledger, options=options, workers=1)
    assert sorted(item.outcome.value for item in first.items) == ["ok", "transient"]
    assert provider.stats()["requests"] - before == 2 + 3  # the failed item had asked twice
    second = run_over(job, over, ledger=remembering_ledger, options=options, workers=1)
    assert [item.outcome.value for item in second.items] == ["ok", "ok"]
    assert provider.stats()["requests"] - before == 2 + 3 + 1
    assert not list((job.parents[1] / ".prodkit" / "replay").iterdir())


def test_a_run_under_the_same_key_pays_nothing_twice(
    paid_job: Callable[..., tuple[Path, Any]], run_here: Callable[..., Any]
) -> None:
    """A run that failed under an idempotency key has left its answers to the next one under it, and to no other."""
    job, provider = paid_job(1)
    before = provider.stats()["requests"]
    assert run_here(job, key="monday").exit_code == 75
    assert run_here(job, key="monday").exit_code == 0
    assert provider.stats()["requests"] - before == 3
    assert run_here(job, key="tuesday").exit_code == 0
    assert provider.stats()["requests"] - before == 6
