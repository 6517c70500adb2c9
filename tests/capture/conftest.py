"""A project whose ledger ships when it is told to, and a simulated provider for the real SDKs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prodkit.testing import simulated_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.manifest import Project
    from prodkit.testing import SimulatedProvider


@pytest.fixture(scope="session")
def provider() -> Iterator[SimulatedProvider]:
    """One simulated provider for all tests of this room."""
    with simulated_provider(latency=0.0) as running:
        yield running


@pytest.fixture
def client(provider: SimulatedProvider) -> Iterator[Any]:
    """The real openai client, talking to the simulated provider."""
    from openai import OpenAI

    with OpenAI(**provider.openai_options()) as made:
        yield made


@pytest.fixture
def claude(provider: SimulatedProvider) -> Iterator[Any]:
    """The real anthropic client, talking to the simulated provider."""
    from anthropic import Anthropic

    with Anthropic(**provider.anthropic_options()) as made:
        yield made


@pytest.fixture
def here(make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Project]]:
    """Makes a project that is the current directory: `here("budget: {per_run: 1}")`. Nothing ships by itself."""
    from prodkit.capture.context import open_runs
    from prodkit.ledger import Ledger

    monkeypatch.setenv("PRODKIT_SHIPPER", "inline")
    made: list[Project] = []

    def make(manifest: str = "") -> Project:
        project = make_project("service: {name: demo}\n" + manifest)
        monkeypatch.chdir(project.root)
        monkeypatch.setenv("PRODKIT_PROJECT", str(project.root))
        made.append(project)
        return project

    yield make
    left = [run.name for run in open_runs()]
    from prodkit.capture import close_run

    for run in reversed(open_runs()):
        close_run(run)
    for project in made:
        Ledger.open(project).close()
    assert not [name for name in left if name != "session"], f"runs were left open: {left}"


@pytest.fixture
def ask() -> Callable[..., str]:
    """Asks a chat model one question and returns the answer's text."""

    def ask(client: Any, question: str = "My invoice is wrong.", **more: Any) -> str:
        answer = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": question}], **more
        )
        return str(answer.choices[0].message.content)

    return ask
