"""A real JupyterLab and a real Chromium. Both are skipped, with the reason, where Debian's chromium isn't there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Frame, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROME_ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One browser at a time, on one worker: two Chromiums on two cores only make each other slow."""
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="Debian's chromium isn't installed: apt-get install chromium"))


@pytest.fixture(scope="module")  # an open Playwright keeps an event loop running, which async tests can't share
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROME_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: PRODKIT_SHOTS, to look at them, else a folder that is thrown away."""
    from pathlib import Path as RealPath

    folder = RealPath(os.environ.get("PRODKIT_SHOTS", tmp_path / "shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# what sticks out of the page, and texts that are hard to read: below WCAG's 4.5 against the page's own background
LOOK = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour, over) => { canvas.fillStyle = over; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = (c) => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
    return .2126 * r + .7152 * g + .0722 * b; };
  const page = getComputedStyle(document.body).backgroundColor;
  const pale = [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).filter(e => {
    let seen = 1; for (let one = e; one; one = one.parentElement) seen *= Number(getComputedStyle(one).opacity);
    const back = rgb(page, 'white'), ink = rgb(getComputedStyle(e).color, 'white').map((v, i) => v * seen + back[i] * (1 - seen));
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x); return (a + .05) / (b + .05) < 4.5; });
  return { wide: document.documentElement.scrollWidth - document.documentElement.clientWidth, pale: pale.map(e => e.textContent.slice(0, 40)) };
}"""


@pytest.fixture(scope="session")
def look() -> Callable[[Page | Frame], dict[str, object]]:
    """How a page looks, in figures: `look(page) == {"wide": 0, "pale": []}` where all is well."""
    return lambda place: place.evaluate(LOOK)


@dataclass
class Watched:
    """A page that may talk to one loopback address only; what it tried beside that, and its script errors."""

    page: Page
    base: str
    blocked: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def watch(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens pages: `watch(base, theme="dark")`."""
    opened = []

    def open_page(base: str, theme: str = "light", width: int = 1280, height: int = 900) -> Watched:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
        watched = Watched(page, base)
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        allowed = (base, "data:", "blob:", base.replace("http", "ws", 1))

        def guard(route) -> None:
            if route.request.url.startswith(allowed):
                route.continue_()
            else:
                watched.blocked.add(route.request.url)
                route.abort()

        page.route("**/*", guard)
        opened.append(page)
        return watched

    yield open_page
    for page in opened:
        page.close()


@dataclass(frozen=True)
class Node:
    """A part of the page as a screen reader meets it."""

    role: str
    name: str
    states: dict[str, object]


@pytest.fixture(scope="session")
def heard() -> Callable[[Page, str], list[Node]]:
    """Chromium's own accessibility tree below the region of a name, in the order of reading: `heard(page, "...")`."""

    def read(page: Page, region: str) -> list[Node]:
        session = page.context.new_cdp_session(page)
        nodes = {node["nodeId"]: node for node in session.send("Accessibility.getFullAXTree")["nodes"]}
        session.detach()
        said = {key: (node.get("role", {}).get("value", ""), _name(node)) for key, node in nodes.items()}
        (root,) = (key for key, one in said.items() if one == ("region", region))
        left, found = [root], []
        while left:
            key = left.pop()
            left += [child for child in reversed(nodes[key].get("childIds", ())) if child in nodes]
            states = {one["name"]: one["value"].get("value") for one in nodes[key].get("properties", ())}
            found.append(Node(*said[key], states))
        return found

    return read


def _name(node: dict) -> str:
    return str(node.get("name", {}).get("value", "")).strip()


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab, or Notebook 7, which is built of the same parts."""

    base: str
    token: str
    root: Path
    documents: str = "doc/tree"

    def open(self, watched: Watched, notebook: str) -> Page:
        """Open a notebook in single-document mode and wait for an idle kernel."""
        page = watched.page
        page.goto(f"{self.base}/{self.documents}/{notebook}?token={self.token}&reset")
        page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)").wait_for(timeout=90_000)
        page.wait_for_function(
            """() => { const w = window.jupyterapp && window.jupyterapp.restored && window.jupyterapp.shell.currentWidget;
            return w && w.sessionContext && w.sessionContext.session && w.sessionContext.session.kernel
                   && w.sessionContext.session.kernel.status === 'idle' }""",
            timeout=90_000,
        )
        return page

    def run_all(self, page: Page) -> None:
        """Run all cells through the command registry, never through menus."""
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")


@pytest.fixture(scope="session")
def wear() -> Callable[[Page, str], None]:
    """Changes JupyterLab's theme, and waits until it is drawn: `wear(page, "Dark")`."""

    def change(page: Page, theme: str) -> None:
        run = "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
        page.evaluate(run, f"JupyterLab {theme}")
        light = str(theme == "Light").lower()
        page.wait_for_function("(light) => document.body.dataset.jpThemeLight === light", arg=light)
        page.locator("#jupyterlab-splash").wait_for(state="detached")

    return change


@pytest.fixture
def start_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Starts a JupyterLab on loopback: `start_lab(root, theme="dark", env={...})`; Notebook 7 with `app="notebook"`."""
    running = []

    def start(root: Path, theme: str = "light", env: dict[str, str] | None = None, app: str = "jupyterlab") -> Lab:
        home = tmp_path / f"lab-{len(running)}"
        settings = home / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        name = "JupyterLab Dark" if theme == "dark" else "JupyterLab Light"
        (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": name}))
        (settings / "notification.jupyterlab-settings").write_text(
            json.dumps({"fetchNews": "false", "checkForUpdates": False})
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token = secrets.token_hex(16)
        folders = {
            "SETTINGS": "JUPYTERLAB_SETTINGS_DIR",
            "ws": "JUPYTERLAB_WORKSPACES_DIR",
            "cfg": "JUPYTER_CONFIG_DIR",
        }
        folders |= {"rt": "JUPYTER_RUNTIME_DIR", "ipy": "IPYTHONDIR"}
        environment = {**os.environ, **{variable: str(home / name.lower()) for name, variable in folders.items()}}
        command = [
            sys.executable, "-m", app, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={root}", "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ]  # fmt: skip
        with (home / "lab.log").open("w") as log:
            process = subprocess.Popen(command, env=environment | (env or {}), stdout=log, stderr=subprocess.STDOUT)
        running.append(process)
        base = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{base}/api?token={token}", timeout=1):  # noqa: S310  our own server
                    return Lab(base, token, root, "notebooks" if app == "notebook" else "doc/tree")
            except OSError:
                assert process.poll() is None, (home / "lab.log").read_text()
                time.sleep(0.25)
        raise AssertionError(f"{app} didn't start: " + (home / "lab.log").read_text())

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(20)
