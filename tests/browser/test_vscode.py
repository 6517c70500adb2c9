"""Cards and the panels' static forms with the colours of VS Code, which has no variables of JupyterLab's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from prodkit.notebook.contract_editor import ContractEditor
from prodkit.notebook.raci import RaciEditor
from prodkit.notebook.wizard import ExportWizard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser

    from prodkit.manifest import Project

# as VS Code 1.9x sets them on the page that holds a notebook's outputs
THEMES = {
    "light": {"foreground": "#3b3b3b", "background": "#ffffff", "border": "#e5e5e5", "link": "#005fb8"},
    "dark": {"foreground": "#cccccc", "background": "#1f1f1f", "border": "#2b2b2b", "link": "#4daafc"},
}
PAGE = """<!doctype html><html style="color-scheme: normal; --vscode-editor-foreground: {foreground};
--vscode-editor-background: {background}; --vscode-panel-border: {border}; --vscode-textLink-foreground: {link}">
<body style="font: 13px system-ui, sans-serif; color: {foreground}; background: {background}">{outputs}</body></html>"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cards_and_static_forms_in_vscode(
    example: Project, browser: Browser, look: Callable, shots: Path, monkeypatch: pytest.MonkeyPatch, theme: str
):
    """In VS Code's light and dark colours no text of a card, or of a panel that is left without its widget, is paler
    than 4.5 to 1, at 900 pixels nothing sticks out, and nothing is fetched.
    """
    monkeypatch.setenv("PRODKIT_PROJECT", str(example.root))
    stored = [json.loads(file.read_text()) for file in sorted((example.root / "notebooks").glob("*-*.ipynb"))]
    outputs = ["".join(one["data"]["text/html"]) for book in stored for cell in book["cells"]
               for one in cell.get("outputs", ()) if "prodkit-card" in str(one.get("data", {}).get("text/html"))]  # fmt: skip
    assert len(outputs) > 5
    panels = (ContractEditor("tickets", {}), RaciEditor(), ExportWizard(example.root / "notebooks" / "triage.ipynb"))
    outputs += [panel.to_table().to_html() for panel in panels]
    page = browser.new_page(viewport={"width": 900, "height": 1400}, color_scheme=theme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(PAGE.format(outputs="".join(outputs), **THEMES[theme]))
    for summary in page.locator("summary").all():
        summary.click()
    page.screenshot(path=shots / f"vscode_{theme}.png", full_page=True)
    assert look(page) == {"wide": 0, "pale": []}
    assert asked == []
    page.close()
