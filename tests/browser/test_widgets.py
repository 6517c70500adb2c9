"""The widgets in a real JupyterLab: used by hand, read by a screen reader, in both themes, with nothing from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Node
    from playwright.sync_api import Locator, Page

    from prodkit.manifest import Project
    from prodkit.testing import SimulatedProvider

SETUP = """%load_ext prodkit
from openai import OpenAI
from prodkit.testing import openai_options
client = OpenAI(**openai_options())
def ask(text, model="gpt-4o-mini"):
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content"""
PAIR = """%%prodkit --name pair --budget 0.05
[ask("Label this ticket: I was charged twice, write to mira@example.org", model) for model in ("gpt-4o-mini", "gpt-4o")]"""
LONG = """%%prodkit --name long --budget 0.50
import time
for number in range(2000):
    ask(f"my parcel {number} is lost")
    time.sleep(0.1)"""


def write_notebook(project: Project, *cells: str) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, project.root / "widgets.ipynb")


def run_cell(page: Page, index: int) -> None:
    """Run one cell without waiting for it."""
    page.evaluate(
        """(index) => { const panel = window.jupyterapp.shell.currentWidget;
        panel.content.activeCellIndex = index;
        window.jupyterapp.commands.execute('notebook:run-cell'); }""",
        index,
    )


def hear_panel(nodes: list[Node]) -> None:
    """What a screen reader finds in the run panel while the cell works."""
    told = [(node.role, node.name) for node in nodes]
    (status,) = (node for node in nodes if node.role == "status")
    assert status.states["live"] == "polite"
    (stop,) = (node for node in nodes if node.role == "button")
    assert stop.name == "Stop long"
    assert not stop.states.get("disabled")
    assert ("table", "runs") in told
    assert [name for role, name in told if role == "columnheader"] == [
        "run", "state", "calls", "cost", "tokens", "latency",
    ]  # fmt: skip
    bars = [name for role, name in told if role == "progressbar"]
    assert len(bars) == 2
    assert all("% of the budget of" in name for name in bars)
    assert told.index(("button", "Stop long")) < told.index(("table", "runs"))


def tab_to(page: Page, wanted: Locator) -> int:
    """Press Tab, as a person without a mouse does, until something has the focus. Returns how often."""
    for count in range(1, 80):
        page.keyboard.press("Tab")
        if wanted.evaluate("node => node === document.activeElement"):
            return count
    raise AssertionError("Tab never came there")


def stop_by_keyboard(page: Page, panel: Locator, heard: Callable, shots: Path) -> None:
    """Start the long cell, watch it, and stop it while it works, with Tab and Enter alone."""
    run_cell(page, 3)
    stop = panel.get_by_role("button", name="Stop long")
    stop.wait_for(timeout=60_000)
    panel.get_by_text("long is running").wait_for(timeout=30_000)
    panel.get_by_role("progressbar", name="the budget of long").wait_for(timeout=60_000)
    hear_panel(heard(page, "prodkit run panel"))
    page.keyboard.press("Escape")
    tab_to(page, stop)
    page.screenshot(path=shots / "panel_light.png")
    page.keyboard.press("Enter")
    page.locator("section.prodkit-card", has_text="long").get_by_text("stopped in").first.wait_for(timeout=60_000)
    panel.get_by_text("nothing is running").wait_for(timeout=30_000)
    assert "KeyboardInterrupt" in page.content()


@pytest.mark.timeout(400)
def test_panel_and_request_browser(
    project: Project,
    start_lab: Callable,
    watch: Callable,
    heard: Callable,
    wear: Callable,
    shots: Path,
    prodkit_provider: SimulatedProvider,
):
    """A person watches a run, stops it by the keyboard while it works, then filters and compares two requests; the
    parts have names and roles, both themes are readable, no script fails and nothing is fetched from outside.
    """
    write_notebook(project, SETUP, PAIR, "%prodkit panel", LONG, "%prodkit requests")
    lab = start_lab(project.root, env={**prodkit_provider.environment(), "PRODKIT_PROJECT": str(project.root)})
    watched = watch(lab.base, height=1300)
    page = lab.open(watched, "widgets.ipynb")
    for index in (0, 1, 2):
        run_cell(page, index)
    panel = page.get_by_role("region", name="prodkit run panel")
    panel.get_by_text("pair", exact=True).wait_for(timeout=120_000)
    stop = panel.get_by_role("button", name="Stop: nothing runs")
    assert stop.is_disabled()

    stop_by_keyboard(page, panel, heard, shots)

    run_cell(page, 4)
    browser = page.get_by_role("region", name="prodkit request browser")
    browser.wait_for(timeout=60_000)
    twins = page.locator("section[class*=prodkit-twin]")
    assert twins.count() == 2
    assert not any(twin.is_visible() for twin in twins.all())
    browser.get_by_role("searchbox", name="Filter").fill("charged")
    browser.get_by_text("2 of ").wait_for(timeout=10_000)
    for box in browser.get_by_role("checkbox").all():
        box.check()
    browser.get_by_role("region", name="request of pair").nth(1).wait_for(timeout=10_000)
    assert "mira@example.org" not in browser.inner_text()
    browser.scroll_into_view_if_needed()
    page.screenshot(path=shots / "requests_light.png")
    wear(page, "Dark")
    page.screenshot(path=shots / "requests_dark.png")
    panel.scroll_into_view_if_needed()
    page.screenshot(path=shots / "panel_dark.png")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=30_000)
    stored = (project.root / "widgets.ipynb").read_text()
    assert "requests of this kernel" in stored
    assert len(stored) < 200_000
    outputs = [output for cell in json.loads(stored)["cells"][2:] for output in cell["outputs"]]
    assert "charged twice" not in json.dumps(outputs)
    assert page.locator("mjx-container").count() == 0  # "$0.01 of $0.50" is no formula
    static = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--stdout", "widgets.ipynb"],
        cwd=project.root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert static.count("requests of this kernel") >= 1
    assert "stopped, " in static
    assert watched.errors == []
    assert watched.blocked == set()


@pytest.mark.timeout(240)
def test_tab_offers_panels_and_what_they_open(example: Project, start_lab: Callable, watch: Callable, shots: Path):
    """In JupyterLab the Tab key offers the panels, then the contracts that one can open; what is chosen opens."""
    write_notebook(example, "%load_ext prodkit", "")
    lab = start_lab(example.root, env={"PRODKIT_PROJECT": str(example.root)})
    watched = watch(lab.base)
    page = lab.open(watched, "widgets.ipynb")
    run_cell(page, 0)
    page.locator(".jp-InputPrompt", has_text="[1]").wait_for(timeout=60_000)
    page.locator(".jp-Cell .cm-content").nth(1).click()
    offered = page.locator(".jp-Completer-match:visible")
    page.keyboard.type("%prodkit panel ", delay=20)
    page.keyboard.press("Tab")
    offered.first.wait_for(timeout=20_000)
    page.screenshot(path=shots / "completion.png")
    panels = ["contract", "costs", "export", "owners", "requests", "runs"]
    assert offered.all_inner_texts()[: len(panels)] == panels  # JupyterLab adds the words of the cell below
    page.keyboard.type("cont", delay=20)
    page.keyboard.press("Enter")
    page.keyboard.type(" ", delay=20)
    page.keyboard.press("Tab")
    offered.filter(has_text="tickets").wait_for(timeout=20_000)
    page.screenshot(path=shots / "completion_contract.png")
    page.keyboard.press("Enter")
    page.locator(".cm-line", has_text="%prodkit panel contract tickets").wait_for(timeout=20_000)
    page.keyboard.press("Shift+Enter")
    page.get_by_role("region", name="prodkit contract editor").wait_for(timeout=60_000)
    assert watched.errors == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_stop_that_is_not_heard_is_said(
    project: Project, start_lab: Callable, watch: Callable, shots: Path, prodkit_provider: SimulatedProvider
):
    """Where a kernel hears no button while a cell runs, the panel says so and what to press; that one stops the run."""
    deaf = "\nimport prodkit.notebook.widgets as w\nw._hear_while_busy = lambda comm: None"
    write_notebook(project, SETUP + deaf, "%prodkit panel", LONG)
    lab = start_lab(project.root, env={**prodkit_provider.environment(), "PRODKIT_PROJECT": str(project.root)})
    watched = watch(lab.base)
    page = lab.open(watched, "widgets.ipynb")
    for index in range(3):
        run_cell(page, index)
    panel = page.get_by_role("region", name="prodkit run panel")
    panel.get_by_role("button", name="Stop long").click(timeout=60_000)
    panel.get_by_role("alert").get_by_text("doesn't hear the button").wait_for(timeout=20_000)
    page.screenshot(path=shots / "unheard.png")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    page.locator("section.prodkit-card", has_text="long").get_by_text("stopped in").first.wait_for(timeout=60_000)
    panel.get_by_text("nothing is running").wait_for(timeout=30_000)
    assert not panel.get_by_text("doesn't hear the button").is_visible()
    assert watched.errors == []
