"""A dry run says what would happen, from what has happened, and starts nothing."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from prodkit.errors import ConfigError, DataError, ParameterError
from prodkit.jobs.dry_run import Plan, plan_run
from prodkit.jobs.ends import Outcome
from prodkit.jobs.estimates import _quantile, estimate_sum
from prodkit.jobs.fanout import run_over
from prodkit.jobs.history import History
from prodkit.jobs.pace import Pace, say_seconds
from prodkit.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_quantile_is_students() -> None:
    """The expansion gives the table's values of Student's t for 90 %, two-sided."""
    table = {2: 2.9200, 3: 2.3534, 5: 2.0150, 10: 1.8125, 30: 1.6973, 1000: 1.6464}
    for freedom, expected in table.items():
        assert _quantile(freedom) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize(("seen", "runs"), [(3, 5), (8, 100), (40, 20)])
def test_the_interval_holds_nine_sums_in_ten(seen: int, runs: int) -> None:
    """Over 2,000 seeded draws of normal costs, 88 to 92 % of the true sums lie in the interval."""
    draw = random.Random(20261201)
    held = 0
    for _ in range(2000):
        costs = [Decimal(repr(max(0.0, draw.gauss(1.0, 0.2)))) for _ in range(seen + runs)]
        estimate = estimate_sum(costs[:seen], runs)
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= sum(costs[seen:]) <= estimate.high
    assert 0.88 <= held / 2000 <= 0.92


def test_what_was_not_seen_is_not_known() -> None:
    """Without observations there is no estimate, with one or two no interval, and nothing to run costs nothing."""
    assert estimate_sum([], 3) is None
    one = estimate_sum([Decimal("0.25")], 4)
    assert one is not None
    assert (one.expected, one.low, one.high, one.observations) == (Decimal("1.00"), None, None, 1)
    nothing = estimate_sum([], 0)
    assert nothing is not None
    assert (nothing.expected, nothing.high) == (0, 0)


def test_the_pace_follows_the_items_that_were_run() -> None:
    """Items that had succeeded before don't count into the rate; the time left follows from the rate."""
    clock = VirtualClock(start=0)
    pace = Pace(clock.now)
    for _ in range(40):
        pace.end(100, skipped=True)
    assert (pace.per_minute, pace.seconds_left) == (None, None)
    for _ in range(10):
        clock.advance(3)
        pace.end(100)
    assert pace.per_minute == pytest.approx(20)
    assert pace.seconds_left == pytest.approx(150)
    clock.advance(30)  # slower from here on
    for _ in range(50):
        clock.advance(6)
        pace.end(100)
    assert pace.per_minute == pytest.approx(10, rel=0.1)
    assert pace.seconds_left == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4, "4 s"), (89, "89 s"), (600, "10 min"), (7200, "2 h"), (12_060, "3 h 21 min"), (200_000, "2 d 7 h")],
)
def test_durations_read_as_a_person_says_them(seconds: float, said: str) -> None:
    """Two units at most, and none that is too fine."""
    assert say_seconds(seconds) == said


def _plan(job: Path, over: Path | None, **options: Any) -> Plan:
    return plan_run(job, over, **options)


def test_a_plan_rests_on_what_has_run(make_job: Callable[..., Path], remembering_ledger: Any) -> None:
    """Before the first run nothing is known; after it the plan says what is done, what is missing and what that takes."""
    job = make_job("x = n", parameters={"n": ("int", 0)}, manifest="budget: {per_run: 1.00}\n")
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n3\n4\n")
    before = _plan(job, over, workers=2)
    assert (before.rows, before.done, before.to_run, before.at_a_time) == (4, 0, 4, 2)
    assert (before.forecast.cost, before.forecast.seconds, before.forecast.basis) == (None, None, "")
    assert not (job.parents[1] / ".prodkit").exists(), "a dry run leaves nothing behind"

    whole = run_over(job, over, ledger=remembering_ledger, workers=2)
    assert whole.outcome is Outcome.OK
    history = History(job.parents[1] / ".prodkit" / "jobs" / "history.db")
    for item, cost in zip(whole.items, ("0.20", "0.22", "0.18", "0.20"), strict=True):
        history.note(item.run, cost=cost)
    assert _plan(job, over).to_run == 0

    over.write_text("n\n1\n2\n" + "".join(f"{n}\n" for n in range(10, 20)))
    after = _plan(job, over, workers=2)
    cost, seconds = after.forecast.cost, after.forecast.seconds
    assert cost is not None
    assert seconds is not None
    assert (after.rows, after.done, after.to_run) == (12, 2, 10)
    assert (cost.expected, cost.observations, after.forecast.basis) == (2, 4, "4 items of the same notebook")
    assert cost.low is not None
    assert cost.high is not None
    assert 1.5 < cost.low < 2 < cost.high < 2.5
    assert seconds.expected > 0
    assert (after.budget, after.spent) == (Decimal("1.0"), Decimal("0.42"))
    assert "more than the budget for all rows" in " ".join(after.notices)
    assert _plan(job, over, again=True).to_run == 12


def test_a_dry_run_refuses_what_a_run_would(make_job: Callable[..., Path]) -> None:
    """Rows that don't fit, and a kill switch that is on, end a dry run as they would end the run."""
    job = make_job("x = n", parameters={"n": ("int", 0)}, manifest="kill_switch: stop\n")
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\nx\n")
    with pytest.raises(ParameterError, match="1 of 2 rows"):
        _plan(job, over)
    (job.parents[1] / "stop").touch()
    with pytest.raises(ConfigError, match="kill switch"):
        _plan(job, None)


def test_a_dry_run_reads_the_rows_data(make_job: Callable[..., Path]) -> None:
    """The data that a row's run would read is read: what isn't there is an error that names the row."""
    source = (
        "data_sources: {t: {kind: csv, location: 'data/{batch}.csv', contract: contracts/t.odcs.yaml, owner: ana}}\n"
    )
    job = make_job(
        "import prodkit\nt = prodkit.read('t', batch=batch)", parameters={"batch": ("str", "a")}, manifest=source
    )
    root = job.parents[1]
    contract = (
        "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\n"
        "schema: [{name: t, properties: [{name: word, logicalType: string, required: true}]}]\n"
    )
    for folder in (root / "contracts", job / "contracts"):
        folder.mkdir(exist_ok=True)
        (folder / "t.odcs.yaml").write_text(contract)
    (root / "data").mkdir()
    (root / "data" / "a.csv").write_text("word\nhello\n")
    over = root / "items.csv"
    over.write_text("batch\na\n")
    assert _plan(job, over).to_run == 1
    over.write_text("batch\na\nb\n")
    with pytest.raises(DataError) as caught:
        _plan(job, over)
    assert caught.value.where.startswith("row 2")


def test_the_command_prints_a_plan(make_job: Callable[..., Path]) -> None:
    """`--dry-run` exits with 0, says what isn't known as such, and with --json prints null for it."""
    from prodkit.cli import cli

    job = make_job("raise SystemExit('it ran')", parameters={"n": ("int", 0)})
    over = job.parents[1] / "items.csv"
    over.write_text("n\n1\n2\n")
    for words, rows in ((["--over", str(over)], 2), (["-p", "n=7"], 1)):
        shown = CliRunner().invoke(cli, ["run", str(job), "--dry-run", *words], catch_exceptions=False)
        assert shown.exit_code == 0, shown.output
        assert "not known" in shown.output
        told = CliRunner().invoke(cli, ["run", str(job), "--dry-run", "--json", *words], catch_exceptions=False)
        plan = json.loads(told.stdout)
        assert (plan["rows"], plan["to_run"], plan["cost_usd"], plan["seconds"]) == (rows, rows, None, None)
