"""The editors in a real JupyterLab: used by keyboard, read by a screen reader, in both themes, saved to real files."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from prodkit.manifest import Project
    from prodkit.testing import SimulatedProvider

READ = """import prodkit
tickets = prodkit.read("tickets", batch="2026-11")"""
CALLS = """%%prodkit --name answers --budget 0.05
from openai import OpenAI
from prodkit.testing import openai_options
client = OpenAI(**openai_options())
for model in ("gpt-4o-mini", "gpt-4o", "house-model"):
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Label this ticket: charged twice"}])"""


def write_notebook(project: Project, *cells: str, name: str = "widgets") -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, project.root / f"{name}.ipynb")


def run_cell(page: Page, index: int) -> None:
    """Run one cell without waiting for it."""
    page.evaluate(
        """(index) => { const panel = window.jupyterapp.shell.currentWidget;
        panel.content.activeCellIndex = index;
        window.jupyterapp.commands.execute('notebook:run-cell'); }""",
        index,
    )


@pytest.fixture
def show(wear: Callable, shots: Path) -> Callable[[Page, Locator, str], None]:
    """Pictures of a widget in both themes."""

    def take(page: Page, widget: Locator, name: str) -> None:
        widget.scroll_into_view_if_needed()
        for theme in ("Light", "Dark"):
            wear(page, theme)
            widget.screenshot(path=shots / f"{name}_{theme.lower()}.png")

    return take


FIELDS = {
    "button", "textbox", "searchbox", "combobox", "checkbox", "table", "progressbar", "meter", "navigation",
}  # fmt: skip


@pytest.fixture
def fields_without_name(heard: Callable) -> Callable[[Page, str], list[str]]:
    """What a screen reader would meet without a name."""

    def look(page: Page, region: str) -> list[str]:
        met = [node for node in heard(page, region) if node.role in FIELDS]
        assert len(met) > 1, "no field was met at all"
        return [node.role for node in met if not node.name]

    return look


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_editors_by_keyboard_in_both_themes(
    example: Project,
    start_lab: Callable,
    watch: Callable,
    show: Callable,
    prodkit_provider: SimulatedProvider,
    fields_without_name: Callable,
):
    """A person looks at costs, edits and tests a contract, mends the RACI, exports a job and sends feedback, without a
    mouse; files hold what was typed, every field has a name, no script fails and nothing is fetched from outside.
    """
    manifest = example.root / "prodkit.yaml"
    manifest.write_text(manifest.read_text().replace("  per_day: 20.00\n", "  per_day: 20.00\n  unpriced: allow\n"))
    write_notebook(
        example, READ, CALLS, "%load_ext prodkit", "%prodkit panel costs", "%prodkit panel contract tickets",
        "%prodkit panel owners", "%prodkit panel export notebooks/triage.ipynb", "%prodkit panel requests",
    )  # fmt: skip
    lab = start_lab(example.root, env={**prodkit_provider.environment(), "PRODKIT_PROJECT": str(example.root)})
    watched = watch(lab.base, width=1400, height=1600)
    page = lab.open(watched, "widgets.ipynb")
    for index in (2, 0, 1, 3):
        run_cell(page, index)
    look_at_costs(page, show, fields_without_name)
    run_cell(page, 4)
    edit_contract(page, show, fields_without_name, example.root / "contracts" / "tickets.odcs.yaml")
    run_cell(page, 5)
    edit_raci(page, show, fields_without_name, manifest)
    run_cell(page, 6)
    export_job(page, show, fields_without_name, example.root)
    run_cell(page, 7)
    send_feedback(page, show, fields_without_name, example)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=30_000)
    static = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--stdout", "widgets.ipynb"],
        cwd=example.root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for part in ("cost of this kernel", "Contract tickets 1.0.0", "who answers for what", "Export triage.ipynb"):
        assert part in static
    outputs = [cell["outputs"] for cell in json.loads((example.root / "widgets.ipynb").read_text())["cells"][3:]]
    assert "charged twice" not in json.dumps(outputs)
    assert watched.errors == []
    assert watched.blocked == set()


def look_at_costs(page: Page, show: Callable, fields_without_name: Callable) -> None:
    meter = page.get_by_role("region", name="prodkit cost meter")
    meter.get_by_text("1 call without a price").wait_for(timeout=120_000)
    assert meter.get_by_role("progressbar", name="the budget of the day").count() == 1
    assert fields_without_name(page, "prodkit cost meter") == []
    show(page, meter, "meter")


def edit_contract(page: Page, show: Callable, fields_without_name: Callable, file: Path) -> None:
    editor = page.get_by_role("region", name="prodkit contract editor")
    editor.wait_for(timeout=60_000)
    editor.get_by_role("button", name="Test", exact=True).focus()
    page.keyboard.press("Enter")
    editor.get_by_text("rows break the contract").wait_for(timeout=60_000)
    pattern = editor.get_by_role("textbox", name="value of ticket_id.pattern")
    pattern.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("^T-[0-9]{5}$")
    page.keyboard.press("Tab")
    editor.get_by_text("ticket_id.pattern is set").wait_for(timeout=20_000)
    editor.get_by_role("combobox", name="Column").select_option("body")
    editor.get_by_role("combobox", name="Rule").select_option("maxLength")
    editor.get_by_role("textbox", name="Value", exact=True).focus()
    page.keyboard.type("many")
    page.keyboard.press("Enter")
    editor.get_by_role("alert").get_by_text("contract.bad-value").wait_for(timeout=20_000)
    editor.get_by_role("textbox", name="Value", exact=True).focus()
    page.keyboard.type("4000")
    page.keyboard.press("Enter")
    editor.get_by_role("button", name="Remove body.maxLength").wait_for(timeout=20_000)
    editor.get_by_role("button", name="Test", exact=True).press("Enter")
    editor.get_by_text("rows break the contract").wait_for(timeout=60_000)
    assert fields_without_name(page, "prodkit contract editor") == []
    show(page, editor, "contract")
    before = file.read_text()
    editor.get_by_role("button", name="Save", exact=True).press("Enter")
    editor.get_by_text("saved to contracts/tickets.odcs.yaml").wait_for(timeout=20_000)
    changed = set(file.read_text().splitlines()) - set(before.splitlines())
    assert {line.strip() for line in changed} == {
        "pattern: '^T-[0-9]{5}$'",
        "logicalTypeOptions:",
        "maxLength: 4000",
    } & {line.strip() for line in changed}
    options = {
        one["name"]: one.get("logicalTypeOptions")
        for one in yaml.safe_load(file.read_text())["schema"][0]["properties"]
    }
    assert options["ticket_id"]["pattern"] == "^T-[0-9]{5}$"
    assert options["body"]["maxLength"] == 4000


def edit_raci(page: Page, show: Callable, fields_without_name: Callable, manifest: Path) -> None:
    editor = page.get_by_role("region", name="prodkit RACI editor")
    editor.wait_for(timeout=60_000)
    field = editor.get_by_role("textbox", name="uptime, Ana Ruiz")
    field.focus()
    page.keyboard.type("a")
    editor.get_by_text("`uptime` has 2 accountable; it needs exactly one.").wait_for(timeout=20_000)
    assert field.get_attribute("aria-invalid") == "true"
    assert fields_without_name(page, "prodkit RACI editor") == []
    show(page, editor, "raci")
    editor.get_by_role("button", name="Save prodkit.yaml").press("Enter")
    editor.get_by_role("alert").get_by_text("owners.accountable").wait_for(timeout=20_000)
    field.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    editor.get_by_text("each row has exactly one A").wait_for(timeout=20_000)
    before = manifest.read_text()
    editor.get_by_role("button", name="Save prodkit.yaml").press("Enter")
    editor.get_by_text("saved to prodkit.yaml").wait_for(timeout=20_000)
    new = [line for line in manifest.read_text().splitlines() if line not in before.splitlines()]
    assert new == ["    uptime:               {R: [platform], A: ana, C: [data-science], I: [security]}"]


def export_job(page: Page, show: Callable, fields_without_name: Callable, root: Path) -> None:
    wizard = page.get_by_role("region", name="prodkit export wizard")
    wizard.wait_for(timeout=60_000)
    retries = wizard.get_by_role("textbox", name="Retries")
    retries.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("many")
    page.keyboard.press("Tab")
    wizard.get_by_text("export.plan").wait_for(timeout=30_000)
    assert wizard.get_by_role("button", name="Export", exact=True).is_disabled()
    retries.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("4")
    page.keyboard.press("Tab")
    wizard.get_by_role("button", name="job.yaml").wait_for(timeout=60_000)
    wizard.get_by_role("button", name="job.yaml").press("Enter")
    wizard.get_by_text("retries: 4").wait_for(timeout=20_000)
    assert fields_without_name(page, "prodkit export wizard") == []
    show(page, wizard, "wizard")
    wizard.get_by_role("button", name="Export", exact=True).press("Enter")
    wizard.get_by_text("exported to jobs/triage").wait_for(timeout=120_000)
    assert yaml.safe_load((root / "jobs" / "triage" / "job.yaml").read_text())["execution"]["retries"] == 4
    assert yaml.safe_load((root / "prodkit.yaml").read_text())["job"]["retries"] == 4


def send_feedback(page: Page, show: Callable, fields_without_name: Callable, project: Project) -> None:
    browser = page.get_by_role("region", name="prodkit request browser")
    browser.get_by_text("3 of 3 requests").wait_for(timeout=60_000)
    for box in browser.get_by_role("checkbox").all()[:2]:
        box.focus()
        page.keyboard.press("Space")
    sections = browser.get_by_role("region", name="request of answers")
    sections.nth(1).wait_for(timeout=20_000)
    first = sections.first
    first.get_by_role("button", name="bad answer").press("Enter")
    first.get_by_role("textbox", name="Comment").fill("wrong queue")
    first.get_by_role("textbox", name="By").fill("ana")
    assert fields_without_name(page, "prodkit request browser") == []
    first.get_by_role("button", name="Send feedback").press("Enter")
    browser.get_by_text("bad, says Ana Ruiz (ana): wrong queue").wait_for(timeout=20_000)
    show(page, browser, "requests")

    from mlflow import MlflowClient

    from prodkit.ledger import Ledger
    from prodkit.ledger.audit import Audit

    Ledger.open(project).flush(60.0)
    told = [call for _, call, _ in Audit(project).calls() if Audit(project).explain(call.request_id).reviews]
    assert len(told) == 1
    (shown,) = MlflowClient(project.tracking_uri).get_trace(told[0].trace_id).info.assessments
    assert (shown.value, shown.source.source_type, shown.rationale) == (False, "HUMAN", "wrong queue")
