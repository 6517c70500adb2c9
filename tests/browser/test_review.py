"""What a reviewer sees in a real MLflow UI: the note, the table of runs, and the review in the artifact preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import prodkit
from prodkit.ledger import Ledger
from prodkit.ledger.mlflow_view import COLUMNS
from prodkit.ledger.ui import serve
from prodkit.records import RunSpec, Status
from prodkit.review import decide, publish
from prodkit.review.rehearsals import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Frame, Page

    from prodkit.capture.runs import OpenRun
    from prodkit.manifest import Project
    from prodkit.testing import SimulatedProvider

# MLflow's assistant and popovers are switched off beforehand, its theme is chosen. The sandbox of the preview has no
# storage, so the same lines fail there.
QUIET = """(() => { try { for (const [k, v] of Object.entries({
  'mlflow.assistant.fab.autoOpenedOnFirstLoad_v1': 'true', 'mlflow.assistant.panelOpen_v1': 'false',
  'mlflow.detectIssues.guidanceShown_v1': 'true', 'databricks-dark-mode-pref': 'THEME',
  '_mlflow_dark_mode_toggle_enabled': String('THEME' === 'dark')})) localStorage.setItem(k, v) } catch (e) {} })()"""
BEFORE = "Sort the ticket into one queue: billing, bug, access, shipping or other.\n{ticket}"
AFTER = BEFORE.replace("\n", "\nAnswer with one word.\n")
NOTEBOOK = "notebooks/triage.ipynb"


def capture(client: object, template: str, tickets: object) -> OpenRun:
    """Sort three tickets with a prompt, as a captured run."""
    ask = prodkit.prompt("triage", template)
    with prodkit.run("classify", budget="0.50", inputs=["tickets"]) as run:
        for body in run.inputs["tickets"]["body"].head(3):
            message = {"role": "user", "content": ask.format(ticket=body)}
            client.chat.completions.create(model="gpt-4o-mini", max_tokens=5, messages=[message])
    Ledger.open(run.project).set_tags(run.handle, {"prodkit.source_notebook": NOTEBOOK})
    assert Ledger.open(run.project).flush(60.0).pending == 0
    return run


@pytest.fixture
def reviewed(example: Project, monkeypatch: pytest.MonkeyPatch, prodkit_provider: SimulatedProvider) -> str:
    """MLflow's id of a run whose prompt has changed since it was approved, which was rehearsed, and is approved."""
    from openai import OpenAI

    monkeypatch.chdir(example.root)
    monkeypatch.setenv("PRODKIT_PROJECT", str(example.root))
    tickets = prodkit.read("tickets", batch="2026-11")
    with OpenAI(**prodkit_provider.openai_options()) as client:
        decide(example, capture(client, BEFORE, tickets).run_id, verdict="approved", person="Ana Ruiz (ana)", note="")
        run_id = capture(client, AFTER, tickets).run_id
    ledger = Ledger.open(example)
    rehearsal = ledger.start_run(RunSpec("rehearse", "review", "r", tags=tags_of(NOTEBOOK, "sha256:old", ["hang"])))
    ledger.end_run(rehearsal, status=Status.OK, metrics={"faults_passed": 74.0, "faults_failed": 1.0})
    ledger.flush(60.0)
    publish(example, run_id)
    ledger.flush(60.0)
    return run_id


def preview(page: Page, url: str, file: str) -> Frame | Page:
    """Open an artifact as a reviewer does by a link, and wait until it is drawn; HTML lies in a frame of its own."""
    page.goto("about:blank")
    page.goto(f"{url}/artifacts/{file}", wait_until="domcontentloaded")
    if file.endswith(".html"):
        frame = page.locator("iframe").element_handle(timeout=90_000)
        assert "allow-same-origin" not in (frame.get_attribute("sandbox") or "")
        place = frame.content_frame()
    else:
        place = page
    place.get_by_role("heading", name="Who answers for it").wait_for(timeout=60_000)
    return place


def follow(page: Page, base: str, name: str) -> None:
    """Go where a link of the note leads; clicked, MLflow opens it in a tab of its own, which nobody watches."""
    place = page.get_by_role("link", name=name).get_attribute("href")
    page.goto("about:blank")
    page.goto(f"{base}/{place}", wait_until="domcontentloaded")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_review_in_mlflows_preview(
    example: Project, reviewed: str, watch: Callable, look: Callable, shots: Path, theme: str
):
    """In MLflow's sandboxed preview a reviewer reads all that a decision needs, at 1440 and 1000 pixels, in both themes:
    nothing is cut off or pale, no script fails and nothing is fetched from outside.
    """
    with serve(example, run_id=reviewed) as server:
        watched = watch(server.base, theme=theme, width=1440)
        page = watched.page
        page.add_init_script(QUIET.replace("THEME", theme))
        review = preview(page, server.url, "review.html")
        text = review.locator("main").inner_text()
        for needed in (
            "Sorts incoming support tickets into five queues",  # purpose
            "Answers for it: Ben Okafor",
            "tickets: 20 of 418 rows broke it",  # contract
            "eu, as asked for",  # residency
            "Dev Patel",  # who owns the data
            "triage, version 2 (differs from approved version 1)",
            "gpt-4o-mini",
            "74 of 75",  # faults
            "Not survived: hang",
            "There is no kill switch in the manifest.",  # a finding
            "Not decided yet",
        ):
            assert needed in text, needed
        assert review.locator(".diff .new").filter(has_text="+Answer with one word.").is_visible()
        assert review.get_by_text("$0.0000").first.is_visible()
        page.screenshot(path=shots / f"review_{theme}.png")
        review.get_by_role("heading", name="Prompts").scroll_into_view_if_needed()
        page.screenshot(path=shots / f"review_prompts_{theme}.png")
        for width in (1440, 1000):
            page.set_viewport_size({"width": width, "height": 900})
            assert look(review) == {"wide": 0, "pale": []}
        page.screenshot(path=shots / f"review_narrow_{theme}.png")
        page.set_viewport_size({"width": 1440, "height": 900})
        markdown = preview(page, server.url, "review.md")
        assert markdown.get_by_role("cell", name="tickets: 20 of 418 rows broke it").is_visible()
        assert markdown.get_by_text("+Answer with one word.").first.is_visible()
        page.screenshot(path=shots / f"review_md_{theme}.png")
        assert watched.errors == []
        assert watched.blocked == set()


@pytest.mark.timeout(300)
def test_note_leads_to_the_review_and_to_runs_with_their_figures(
    example: Project, reviewed: str, watch: Callable, shots: Path
):
    """The experiment's note says what this is and who answers; its links open the latest review, and the runs with the
    columns to sort by. The decision is on the page once somebody has made it.
    """
    with serve(example, run_id=reviewed) as server:
        watched = watch(server.base, width=1440)
        page = watched.page
        page.add_init_script(QUIET.replace("THEME", "light"))
        page.goto(f"{server.url.split('/runs/')[0]}/runs", wait_until="domcontentloaded")
        page.get_by_text("Answers for it:").wait_for(timeout=90_000)
        follow(page, server.base, "runs by cost and data")
        heads = {column: page.locator(f".ag-header-cell[col-id='metrics.`{column}`']") for column in COLUMNS}
        for head in heads.values():
            head.wait_for(timeout=30_000)
        heads["cost_usd"].click()
        page.get_by_text("Sort: cost_usd").wait_for(timeout=30_000)
        page.screenshot(path=shots / "mlflow_runs.png")
        decide(example, reviewed, verdict="rejected", person="Chloe Lang (chloe)", note="no kill switch")
        Ledger.open(example).flush(60.0)
        follow(page, server.base, "Latest review")
        review = page.locator("iframe").element_handle(timeout=90_000).content_frame()
        review.get_by_text("by Chloe Lang (chloe)").wait_for(timeout=30_000)
        assert "no kill switch" in review.locator(".decision").inner_text()
        page.screenshot(path=shots / "review_rejected.png")
        assert watched.errors == []
        assert watched.blocked == set()
