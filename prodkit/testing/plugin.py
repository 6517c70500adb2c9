"""The pytest plugin: fixtures that are there as soon as prodkit is installed. Heavy imports wait until one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.testing.client import SimulatedProvider


@pytest.fixture(scope="session")
def prodkit_provider() -> Iterator[SimulatedProvider]:
    """A simulated OpenAI- and Anthropic-compatible provider that answers at once; one for the test session."""
    from prodkit.testing.client import simulated_provider

    with simulated_provider(latency=0.0, fresh=True) as provider:
        yield provider
