"""30,000 calls: what goes to the browser stays small, comes at most four times a second, and leaves the file alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from prodkit.notebook.meter import CostMeter
from prodkit.notebook.panel import RunPanel
from prodkit.notebook.requests import RequestBrowser
from prodkit.records import CallRecord, Cost, Status, Usage, new_id, now

MANY = 30_000
MODELS = ("gpt-4o-mini", "gpt-4o", "house-model")
WIDGET = "application/vnd.jupyter.widget-view+json"


def make_call(number: int, model: str = "gpt-4o-mini", usd: str | None = "0.001") -> CallRecord:
    began = now()
    return CallRecord(
        request_id=new_id("req"),
        name="many",
        started=began,
        ended=began + timedelta(milliseconds=100 + number % 400),
        status=Status.OK,
        provider="openai",
        model=model,
        prompt={"messages": [{"role": "user", "content": f"ticket {number}: the parcel is lost"}]},
        response={"choices": [{"message": {"content": f"shipping {number}"}}]},
        usage=Usage(100, 10),
        cost=Cost(None if usd is None else Decimal(usd), "unpriced" if usd is None else "priced"),
    )


@pytest.fixture
def runs(notebook: Any) -> Any:
    return notebook.shell._prodkit_magics.runs


@pytest.fixture
def busy(notebook: Any, runs: Any) -> Any:
    """A kernel in which a run with 30,000 calls is open; a third of them is unpriced."""
    run = runs.open({"name": "many", "budget": Decimal(100)})
    pour(run, MANY)
    return run


def pour(run: Any, count: int) -> None:
    """Let a run make calls of three models, of which the third has no price."""
    template = make_call(0)
    first = len(run.tally.calls)
    for number in range(first, first + count):
        model = MODELS[number % 3]
        cost = Cost(None, "unpriced") if number % 3 == 2 else template.cost
        made = template if number < MANY - 1_000 else make_call(number)
        run.tally.add(dataclasses.replace(made, request_id=f"req-{number}", model=model, cost=cost))


def test_what_the_browser_gets_stays_small(busy: Any, runs: Any) -> None:
    """With 30,000 calls the panel, the meter and the browser each draw less than 30 kB, the calls by the page."""
    browser = RequestBrowser(runs)
    for face in (RunPanel(runs), CostMeter(runs), browser):
        assert len(json.dumps(face.state())) < 30_000, face.script
        assert len(face.to_table().to_html()) < 40_000, face.script
    state = browser.state()
    assert (state["total"], state["pages"], len(state["calls"])) == (MANY, 600, 50)
    browser.receive({"do": "page", "page": 599})
    assert browser.state()["calls"][-1]["id"] == "req-0"
    browser.receive({"do": "page", "page": 10**9})
    assert browser.state()["page"] == 599
    browser.receive({"do": "find", "text": f"{MANY - 7}"})
    assert browser.state()["found"] == 1
    browser.receive({"do": "find", "model": "house-model"})
    assert browser.state()["found"] == MANY // 3


def test_the_meter_is_exact_and_shows_what_has_no_price(busy: Any, runs: Any) -> None:
    """The sums over 30,000 calls are exact to the cent, per model, with the unpriced calls beside them."""
    meter = CostMeter(runs)
    assert meter.spent == Decimal("20.000")
    assert meter.unpriced == MANY // 3
    assert {use.model: (use.calls, use.cost_usd, use.unpriced) for use in meter.models} == {
        "gpt-4o-mini": (10_000, Decimal(10), 0),
        "gpt-4o": (10_000, Decimal(10), 0),
        "house-model": (10_000, Decimal(0), 10_000),
    }
    state = meter.state()
    assert state["unpriced"] == "10,000 calls without a price, not in this sum"
    assert next(one for one in state["models"] if one["model"] == "house-model")["cost"] == "not known"
    assert next(one for one in state["limits"] if one["name"] == "run many")["text"] == "$20.00 of $100.00"


def test_updates_come_at_most_four_times_a_second(busy: Any, runs: Any) -> None:
    """While calls pour in, each of three faces is drawn at most four times a second; the last figures are drawn."""
    faces = [RunPanel(runs), CostMeter(runs), RequestBrowser(runs)]
    drawn: dict[str, list[float]] = {face.script: [] for face in faces}
    for face in faces:
        face._widget.observe(lambda _change, name=face.script: drawn[name].append(time.monotonic()), names="state")
    runs._tell()
    end = time.monotonic() + 2.0
    number = MANY
    while time.monotonic() < end:
        for _ in range(20):
            busy.tally.add(make_call(number))
            number += 1
        time.sleep(0.005)
    for name, times in drawn.items():
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert times, name
        assert all(gap > 0.2 for gap in gaps), (name, gaps)


def bytecodes(draw: Any) -> int:
    """How many of Python's operations a function takes."""
    count = 0

    def step(frame: Any, event: str, _arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        draw()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("wanted", [{}, {"text": "parcel"}, {"model": "gpt-4o"}], ids=["all", "text", "model"])
def test_a_draw_costs_what_is_new(runs: Any, wanted: dict[str, str]) -> None:
    """To draw 20 new calls a panel, a meter and a browser, also one that filters, take no more steps among 30,000 calls
    than among 300: so they keep their four times a second.
    """
    run = runs.open({"name": "many", "budget": Decimal(100)})
    faces = [RunPanel(runs), CostMeter(runs), RequestBrowser(runs)]
    runs.listeners.clear()  # nobody else draws
    steps = []
    for calls in (300, MANY):
        pour(run, calls - len(run.tally.calls))
        faces[-1].receive({"do": "find", **wanted})
        pour(run, 20)
        runs._seen = (0.0, ())
        steps.append([bytecodes(face.state) for face in faces])
    for among_few, among_many in zip(*steps, strict=True):
        assert 0 < among_many < 1.5 * among_few


def test_the_notebook_does_not_grow_with_the_calls(notebook: Any, client: Any) -> None:
    """However many calls a run makes, a panel's stored output is rewritten when it ends, not by call, and stays small."""
    ask = 'client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])'
    written: list[list[int]] = []
    for calls in (2, 12):
        panel = notebook.run("%prodkit panel").result.result
        updates: list[int] = []
        for shown in panel._shown:
            shown._handle.update = lambda table, seen=updates: seen.append(len(table.to_html()))
        notebook.run(
            f"%%prodkit --name n{calls}\nimport time\nfor _ in range({calls}):\n    {ask}\n    time.sleep(0.1)"
        )
        end = time.monotonic() + 20
        while not updates and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)
        written.append(list(updates))
    assert all(1 <= len(updates) <= 2 for updates in written)
    assert abs(written[1][-1] - written[0][-1]) < 600  # one row more for the second run


def test_memory_keeps_figures_and_lets_old_texts_go(runs: Any) -> None:
    """Of 30,000 calls that are over all figures stay at hand, and prompts of the latest 2,000; the browser says where
    the others are.
    """
    for batch in range(10):
        runs._keep([make_call(batch * 3_000 + number) for number in range(3_000)])
    browser = RequestBrowser(runs)
    assert len(browser.calls) == MANY
    assert sum(call.prompt is not None for call in browser.calls) == 2_000
    assert browser.calls[0].prompt is not None
    old = browser.calls[-1]
    assert old.cost.usd == Decimal("0.001")
    assert f"prodkit audit show {old.request_id}" in browser.entries(old.request_id)[0]["prompt"]
