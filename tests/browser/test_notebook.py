"""The same captured cells in Notebook 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.manifest import Project
    from prodkit.testing import SimulatedProvider

CELLS = [
    """%load_ext prodkit
from openai import OpenAI
from prodkit.testing import openai_options
client = OpenAI(**openai_options())
def ask(text):
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])""",
    "%%prodkit --name sort\nask('I was charged twice, write to mara@example.org').usage.total_tokens",
    "%%prodkit --matrix model=gpt-4o-mini,gpt-4o --name both\nask('My parcel is late').choices[0].message.content",
    "%%prodkit --nmae sort\n1",
]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_captured_cells_work_in_notebook_7(
    project: Project, start_lab: Callable, watch: Callable, shots: Path, prodkit_provider: SimulatedProvider
):
    """In Notebook 7 a captured cell shows its card, a compared one its table and picture, a wrong header our error; the
    saved file holds the card; no script fails after the start, and nothing is fetched from outside.
    """
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = project.root / "first.ipynb"
    nbformat.write(book, path)
    environment = {**prodkit_provider.environment(), "PRODKIT_PROJECT": str(project.root)}
    lab = start_lab(project.root, env=environment, app="notebook")
    watched = watch(lab.base, height=1800)
    page = lab.open(watched, path.name)
    of_its_start = list(watched.errors)  # Notebook 7.6 logs one of its own, before prodkit is loaded
    lab.run_all(page)
    page.get_by_text("notebook.unknown-option").first.wait_for(timeout=120_000)
    card = page.locator(".prodkit-card", has_text="sort")
    assert "1 call" in card.inner_text()
    assert "2 email" in card.inner_text()  # in the prompt and in the simulated answer, which repeats it
    table = page.locator(".prodkit-compare table").first
    assert table.is_visible()
    assert "gpt-4o-mini" in table.inner_text()
    assert page.locator(".jp-RenderedSVG, .jp-OutputArea svg").first.is_visible()
    page.screenshot(path=shots / "notebook7.png")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=30_000)
    saved = nbformat.read(path, as_version=4)
    assert any("sort finished" in output.get("data", {}).get("text/plain", "") for output in saved.cells[1].outputs)
    assert watched.errors == of_its_start
    assert watched.blocked == set()
