"""The pytest plugin: fixtures that are there as soon as prodkit is installed. Heavy imports wait until one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.testing.client import SimulatedProvider
    from prodkit.testing.clock import VirtualClock
    from prodkit.testing.faults import FaultServer


@pytest.fixture(scope="session")
def prodkit_provider() -> Iterator[SimulatedProvider]:
    """A simulated OpenAI- and Anthropic-compatible provider that answers at once; one for the test session."""
    from prodkit.testing.client import simulated_provider

    with simulated_provider(latency=0.0, fresh=True) as provider:
        yield provider


@pytest.fixture
def prodkit_faults() -> Iterator[FaultServer]:
    """A server that fails as it is told to: `prodkit_faults.inject("503", models={"gpt-4o"})`.

    Clients get to it by `OpenAI(**prodkit_faults.openai_options())`, and by `anthropic_options()` likewise;
    `prodkit_faults.requests` counts what came, by model. Durations are scaled to a tenth.
    """
    from prodkit.testing.faults import FaultServer

    with FaultServer(scale=0.1) as server:
        yield server


@pytest.fixture
def prodkit_clock() -> VirtualClock:
    """A clock that doesn't wait, for `Policy(clock=...)` and `resilient(clock=...)`."""
    from prodkit.testing.clock import VirtualClock

    return VirtualClock()
