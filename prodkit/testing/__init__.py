"""What tests need in place of a real provider: a simulated one, a server of faults, and a clock that doesn't wait.

Public: use it from your own tests. With pytest the fixtures `prodkit_provider`, `prodkit_faults` and `prodkit_clock`
are there without an import:

    from openai import OpenAI
    from prodkit import resilient

    def test_my_call_survives_an_outage(prodkit_faults, prodkit_clock):
        client = OpenAI(**prodkit_faults.openai_options(), max_retries=0)
        prodkit_faults.inject("503", models={"gpt-4o-mini"})  # every other model answers well

        def ask(model: str) -> str:
            question = [{"role": "user", "content": "Label as billing or shipping: my parcel is lost"}]
            return client.chat.completions.create(model=model, messages=question).choices[0].message.content

        @resilient(clock=prodkit_clock, fallback=lambda: ask("gpt-4o"))
        def label() -> str:
            return ask("gpt-4o-mini")

        assert label() == "shipping"
        assert prodkit_faults.requests == {"gpt-4o-mini": 3, "gpt-4o": 1}  # three attempts, then the other model
        assert len(prodkit_clock.sleeps) == 2  # and the two waits took no time

`FAULTS` lists what can be injected, `FaultServer` and `VirtualClock` are the same without pytest, and the simulated
provider answers well: `OpenAI(**prodkit_provider.openai_options())`.
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
