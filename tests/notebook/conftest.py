"""A real IPython shell in this process, with the extension loaded, in a project of its own."""

from __future__ import annotations

import atexit
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.manifest import Project


@dataclass
class Ran:
    """What a cell left."""

    result: Any
    stdout: str
    outputs: list[Any]
    errors: list[str] = field(default_factory=list)

    @property
    def error(self) -> BaseException | None:
        """What the cell raised."""
        return self.result.error_before_exec or self.result.error_in_exec

    @property
    def cards(self) -> list[str]:
        """The plain text of the cards that were shown."""
        return [o.data["text/plain"] for o in self.outputs if "prodkit-card" in str(o.data.get("text/html", ""))]


class Notebook:
    """Runs cells as a notebook does: history is stored, outputs are caught."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.errors: list[str] = []
        shell._showtraceback = lambda etype, value, stb: self.errors.append("\n".join(stb))

    def run(self, source: str) -> Ran:
        """Run one cell."""
        self.errors.clear()
        with capture_output() as caught:
            result = self.shell.run_cell(source, store_history=True)
        return Ran(result, caught.stdout, list(caught.outputs), list(self.errors))


@pytest.fixture
def shell(project: Project) -> Iterator[InteractiveShell]:
    """A bare shell, without the extension."""
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    made = InteractiveShell.instance(config=config)
    yield made
    atexit.unregister(made.atexit_operations)  # it collects garbage for seconds, once a shell
    made.restore_sys_module_state()
    InteractiveShell.clear_instance()


@pytest.fixture
def notebook(shell: InteractiveShell) -> Iterator[Notebook]:
    """A notebook with prodkit loaded."""
    from prodkit.notebook.magics import load, unload

    load(shell)
    yield Notebook(shell)
    unload(shell)


@pytest.fixture
def run_in() -> Any:
    """Runs one cell in a shell: `run_in(shell, source)`."""
    return lambda shell, source: Notebook(shell).run(source)


@pytest.fixture
def client(notebook: Notebook, prodkit_provider: Any) -> Any:
    """An OpenAI client of the simulated provider, as `client` in the notebook."""
    from openai import OpenAI

    made = OpenAI(**prodkit_provider.openai_options(), max_retries=0)
    notebook.shell.user_ns["client"] = made
    yield made
    made.close()


@pytest.fixture
def in_kernel(project: Project, prodkit_provider: Any, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose kernels find the simulated provider and no user configuration."""
    for name, value in prodkit_provider.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IPYTHONDIR", str(project.root / "ipython"))
    return project
