"""The run panel: the same figures in the browser, as a table, and in Python; and a button that keeps its word."""

from __future__ import annotations

import sys
import threading
import time
import types
from typing import Any

import pytest

from prodkit.notebook.panel import RunPanel
from prodkit.records import Status

ASK = (
    'client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "I was charged twice"}])'
)


@pytest.fixture
def panel(notebook: Any) -> RunPanel:
    return RunPanel(notebook.shell._prodkit_magics.runs)


def wait_until(true: Any, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


WIDGET = "application/vnd.jupyter.widget-view+json"


def test_an_empty_panel_says_what_to_do(notebook: Any) -> None:
    """Before the first run the panel shows the line that starts one, as a static twin and as a live widget."""
    twin, live = notebook.run("%prodkit panel").outputs
    assert "%%prodkit --name NAME" in twin.data["text/plain"]
    assert "prodkit-card" in twin.data["text/html"]
    assert WIDGET not in twin.data
    assert WIDGET in live.data
    assert f"prodkit-twin-{live.data[WIDGET]['model_id']}" in twin.data["text/html"]


def test_it_follows_a_run_and_keeps_its_figures(notebook: Any, client: Any, panel: RunPanel) -> None:
    """While the cell runs the panel shows its calls; afterwards the panel says what the card says."""
    seen: list[dict[str, Any]] = []
    panel._widget.observe(lambda change: seen.append(change["new"]), names="state")
    ran = notebook.run(
        f"%%prodkit --name classify --budget 0.50\nimport time\nfor _ in range(4):\n    {ASK}\n    time.sleep(0.3)"
    )
    assert ran.error is None
    assert wait_until(lambda: not panel._widget.state["runs"][0]["open"])
    assert any(state["runs"] and state["runs"][0]["open"] for state in seen)
    row = panel._widget.state["runs"][0]
    assert row["calls"] == "4 calls"
    assert row["name"] == "classify"
    assert 0 < row["share"] < 1
    assert "4 calls" in repr(panel)
    assert panel.snapshot()[0].calls == 4


def test_panels_of_one_kernel_are_in_step(notebook: Any, client: Any, panel: RunPanel) -> None:
    """Two panels show the same runs."""
    other = RunPanel(notebook.shell._prodkit_magics.runs)
    notebook.run(f"%%prodkit --name a\n{ASK}")
    assert wait_until(lambda: panel._widget.state["runs"] and not panel._widget.state["runs"][0]["open"])
    assert wait_until(lambda: other._widget.state == panel._widget.state)


def test_stop_interrupts_the_cell_and_refuses_further_calls(notebook: Any, client: Any, panel: RunPanel) -> None:
    """The button stops a cell that works in many threads: the queue's remaining calls aren't made."""
    cell = (
        "%%prodkit --name many\nimport time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        f"def ask(_):\n    time.sleep(0.05)\n    return {ASK}\n"
        "with ThreadPoolExecutor(2) as pool:\n    answers = list(pool.map(ask, range(400)))"
    )

    def press() -> None:
        wait_until(lambda: panel.snapshot() and panel.snapshot()[0].calls >= 3)
        panel.receive({"do": "stop"})

    presser = threading.Thread(target=press)
    presser.start()
    began = time.monotonic()
    ran = notebook.run(cell)
    presser.join()
    assert isinstance(ran.error, KeyboardInterrupt)
    assert time.monotonic() - began < 60
    summary = panel.snapshot()[0]
    assert summary.status is Status.ABORTED
    assert 3 <= summary.calls < 100
    assert "many stopped" in ran.cards[0]


def test_nothing_to_stop_does_nothing(panel: RunPanel) -> None:
    """Pressing the button late harms nobody."""
    assert panel.stop() == 0


def test_colab_is_asked_to_show_widgets(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colab shows only the widgets that it knows until it is asked for others: a panel, through anywidget, asks it."""
    from anywidget._util import enable_custom_widget_manager_once

    asked: list[int] = []
    colab = types.ModuleType("google.colab.output")
    colab.enable_custom_widget_manager = lambda: asked.append(1)
    colab._widgets = types.SimpleNamespace(_installed_url="https://colab.test/manager.js")
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)
    enable_custom_widget_manager_once.cache_clear()
    notebook.run("%prodkit panel")
    _, live = notebook.run("%prodkit panel costs").outputs
    assert asked == [1]
    assert live.metadata[WIDGET]["colab"]["custom_widget_manager"]["url"] == "https://colab.test/manager.js"


def test_without_anywidget_the_static_twin_remains(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the front end's package isn't installed the panel is a table."""
    monkeypatch.setattr("prodkit.notebook.widgets.importlib.util.find_spec", lambda _name: None)
    (twin,) = notebook.run("%prodkit panel").outputs
    assert set(twin.data) == {"text/html", "text/plain"}


def test_stop_while_a_stream_is_silent(notebook: Any, panel: RunPanel) -> None:
    """A stream that has stalled in the middle is left at once; the call is recorded as stopped, never as answered."""
    from openai import OpenAI

    from prodkit.testing import FaultServer

    with FaultServer() as faults:
        faults.inject("stream-stall")
        with OpenAI(**faults.openai_options(), max_retries=0) as client:
            notebook.shell.user_ns["client"] = client
            presser = threading.Thread(target=lambda: (time.sleep(1.5), panel.receive({"do": "stop"})))
            presser.start()
            began = time.monotonic()
            ran = notebook.run(
                "%%prodkit --name streamed\nfor part in client.chat.completions.create(model='gpt-4o-mini', stream=True, "
                "messages=[{'role': 'user', 'content': 'hello'}]):\n    pass"
            )
            presser.join()
    assert isinstance(ran.error, KeyboardInterrupt)
    assert time.monotonic() - began < 15
    summary = panel.snapshot()[0]
    assert summary.status is Status.ABORTED
    (call,) = notebook.shell._prodkit_magics.runs.calls
    assert call.status is Status.ABORTED
    assert call.streamed
