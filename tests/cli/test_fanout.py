"""What `prodkit run --over` shows while items run."""

from __future__ import annotations

import io
import re
from decimal import Decimal

import pytest
from rich.console import Console

from prodkit.cli import fanout
from prodkit.cli.fanout import ItemProgress, say_pace
from prodkit.jobs.ends import Outcome
from prodkit.jobs.fanout import ItemResult
from prodkit.jobs.pace import Pace
from prodkit.money import say_usd
from prodkit.testing import VirtualClock


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_says_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    """On a terminal beside the bar, elsewhere in plain lines: how many, how fast, how long still; and each failure."""
    monkeypatch.setattr(fanout, "_LINE_EVERY", 0.0)
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=110)
    with ItemProgress(console) as progress:
        progress.show(ItemResult(1, Outcome.OK), 1500)
        progress.show(ItemResult(2, Outcome.FAILED, error="ValueError"), 1500)
    shown = written.getvalue()
    assert "row 2: failed ValueError" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "a minute" in shown
    assert "left" in shown
    assert ("2 of 1,500 items" in shown) is not terminal
    assert ("\x1b[" in shown) is terminal


def test_quiet_progress_shows_nothing() -> None:
    """With --json nothing is written beside the result."""
    written = io.StringIO()
    with ItemProgress(Console(file=written, force_terminal=True), quiet=True) as progress:
        progress.show(ItemResult(1, Outcome.FAILED, error="ValueError"), 2)
    assert written.getvalue() == ""


def test_the_pace_is_said_in_units_that_fit() -> None:
    """Few items a minute keep a digit behind the point; without an end there is nothing to say."""
    clock = VirtualClock(start=0)
    pace = Pace(clock.now)
    assert say_pace(pace) == ""
    clock.advance(20)
    pace.end(100)
    assert say_pace(pace) == "3.0 a minute, 33 min left"


def test_money_that_was_spent_is_never_shown_as_nothing() -> None:
    """Parts of a cent keep two digits, a cost of nothing is `$0`, and large sums have cents."""
    amounts = {"0": "$0", "0.000026": "$0.000026", "0.0303": "$0.0303", "12.5": "$12.50", "1234.567": "$1,234.57"}
    assert {text: say_usd(Decimal(text)) for text in amounts} == amounts
