from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prodkit.manifest import Project
    from prodkit.testing import SimulatedProvider


@pytest.fixture
def environment(example: Project, prodkit_provider: SimulatedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel needs to find the example and the simulated provider."""
    monkeypatch.setenv("PRODKIT_PROJECT", str(example.root))
    for name, value in prodkit_provider.environment().items():
        monkeypatch.setenv(name, value)
