"""What tests need in place of a real provider: a simulated one, a server of faults, and a clock that doesn't wait.

Public: use it from your own tests. With pytest the fixtures `prodkit_provider`, `prodkit_faults` and `prodkit_clock`
are there without an import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.testing.catalogue import FAULTS, Fault
    from prodkit.testing.client import SimulatedProvider, anthropic_options, openai_options, simulated_provider
    from prodkit.testing.clock import VirtualClock
    from prodkit.testing.faults import FaultServer

_HOMES = {
    "FAULTS": "catalogue",
    "Fault": "catalogue",
    "FaultServer": "faults",
    "VirtualClock": "clock",
    "SimulatedProvider": "client",
    "anthropic_options": "client",
    "openai_options": "client",
    "simulated_provider": "client",
}

__all__ = [
    "FAULTS",
    "Fault",
    "FaultServer",
    "SimulatedProvider",
    "VirtualClock",
    "anthropic_options",
    "openai_options",
    "simulated_provider",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
