"""The stranger's journey in real browsers: the example notebook in JupyterLab, then its run in the MLflow UI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from prodkit.ledger.ui import serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.manifest import Project
    from prodkit.testing import SimulatedProvider

# MLflow opens an assistant panel and a popover on the first visit: both are switched off beforehand
QUIET_MLFLOW = """() => { for (const [k, v] of Object.entries({
  'mlflow.assistant.fab.autoOpenedOnFirstLoad_v1': 'true', 'mlflow.assistant.panelOpen_v1': 'false',
  'mlflow.detectIssues.guidanceShown_v1': 'true', 'databricks-dark-mode-pref': 'light',
  '_mlflow_dark_mode_toggle_enabled': 'false'})) localStorage.setItem(k, v) }"""


@pytest.mark.timeout(300)
def test_notebook_in_jupyterlab_then_run_in_mlflow(
    example: Project,
    start_lab: Callable,
    watch: Callable,
    shots: Path,
    prodkit_provider: SimulatedProvider,
):
    """A person opens the notebook in JupyterLab, runs it, reads the cards, opens a card's details by click, and finds
    the same run with its figures and traces in the MLflow UI; nothing is fetched from outside and no script fails.
    """
    lab = start_lab(example.root, env={**prodkit_provider.environment(), "PRODKIT_PROJECT": str(example.root)})
    lab_page = watch(lab.base)
    page = lab.open(lab_page, "notebooks/triage.ipynb")
    lab.run_all(page)
    card = page.locator(".prodkit-card", has_text="classify")
    card.wait_for(timeout=120_000)
    page.locator(".prodkit-card", has_text="draft").wait_for(timeout=60_000)
    page.get_by_text("capture.unchecked-data").first.wait_for(timeout=60_000)
    assert "120 calls" in card.inner_text()
    details = card.locator("summary").first
    details.scroll_into_view_if_needed()
    details.click()
    assert card.locator("details").first.get_attribute("open") is not None
    assert "customer_email" not in page.content() or "@example.org" not in page.content()
    page.screenshot(path=shots / "lab_triage.png")
    assert lab_page.errors == []
    assert lab_page.blocked == set()

    from prodkit.ledger import Ledger
    from prodkit.ledger.review import runs_since
    from prodkit.records import now

    Ledger.open(example).flush(60.0)
    runs = runs_since(example, now().replace(hour=0, minute=0, second=0, microsecond=0))
    classify = next(run for run in runs if run.name == "classify")
    assert classify.metrics["llm_calls"] == 120
    with serve(example, run_id=classify.run_id) as server:
        review_page = watch(server.base, width=1600)
        review = review_page.page
        review.add_init_script(f"({QUIET_MLFLOW})()")
        review.goto(server.url, wait_until="domcontentloaded")
        review.get_by_text("cost_usd").first.wait_for(timeout=90_000)
        review.screenshot(path=shots / "mlflow_run.png")
        review.goto(f"{server.url}/traces", wait_until="domcontentloaded")
        review.get_by_text(re.compile(r"100 of 1\d\d|120 of 120")).first.wait_for(timeout=90_000)
        review.screenshot(path=shots / "mlflow_traces.png")
        assert review_page.errors == []
