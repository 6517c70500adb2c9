"""The fault server and the real SDKs in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from prodkit.resilience import (
    Call,
    Policy,
    Target,
    arun_call,
    arun_stream,
    inspect_chunk,
    run_call,
    run_stream,
    validator,
)
from prodkit.testing import Fault, FaultServer, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = (
    "Classify this support ticket as one of: billing, bug, access, shipping, other. Answer with the label only.\n\n"
    "Ticket: the courier lost my parcel"
)
SLOW = ("hang", "slow-head", "trickle", "stream-stall", "stream-silent")


class Rig:
    """One SDK, sync or async, before the fault server: the model `primary` is spoiled, `backup` answers well."""

    def __init__(self, server: FaultServer, sdk: str) -> None:
        self.server, self.sdk, self.clients = server, sdk, {}
        self.attempts: list[Any] = []

    def client(self, url: str, *, asynchronous: bool = False) -> Any:
        key = (url, asynchronous)
        if key not in self.clients:
            if self.sdk == "openai":
                from openai import AsyncOpenAI, OpenAI

                made = (AsyncOpenAI if asynchronous else OpenAI)(**self.server.openai_options(url))
            else:
                from anthropic import Anthropic, AsyncAnthropic

                made = (AsyncAnthropic if asynchronous else Anthropic)(**self.server.anthropic_options(url))
            self.clients[key] = made
        return self.clients[key]

    def body(self, **extra: Any) -> dict[str, Any]:
        limit = {} if self.sdk == "openai" else {"max_tokens": 20}
        return {"messages": [{"role": "user", "content": PROMPT}], **limit, **extra}

    def call(self, *, stream: bool = False, asynchronous: bool = False, **extra: Any) -> Call[Any]:
        def proceed(target: Target, timeout: float | None) -> Any:
            client = self.client(target.base_url or self.server.url, asynchronous=asynchronous)
            client = client.with_options(max_retries=0, timeout=timeout)
            create = client.chat.completions.create if self.sdk == "openai" else client.messages.create
            return create(model=target.model, stream=stream, **self.body(**extra))

        return Call(
            provider=self.sdk,
            model="primary",
            proceed=proceed,
            validate=None if stream else validator(self.body(**extra)),
            inspect=inspect_chunk if stream else None,
            on_attempt=self.attempts.append,
            isolate=not asynchronous,
        )

    def policy(self, fault: Fault | None = None, **changes: Any) -> Policy:
        address = self.server.url_for(fault) if fault is not None and fault.address else ""
        values = {
            "deadline": 4.0,
            # what is slow on purpose is cut off soon; the rest gets the time that a busy machine needs
            "attempt_timeout": 0.6 if fault is not None and fault.name in SLOW else 2.0,
            "wait_initial": 0.02,
            "wait_max": 0.1,
            "fallbacks": {"": (Target(self.sdk, "backup"),)},
            "models": {"primary": Target(self.sdk, "primary", base_url=address)},
            "clock": VirtualClock(running=True),
        }
        return Policy(**{**values, **changes})

    def text(self, response: Any) -> str:
        return response.choices[0].message.content if self.sdk == "openai" else response.content[0].text

    def piece(self, chunk: Any) -> str:
        if self.sdk == "openai":
            return (chunk.choices[0].delta.content or "") if chunk.choices else ""
        return getattr(getattr(chunk, "delta", None), "text", "") or ""

    def ask(self, policy: Policy, *, stream: bool, commit: str = "buffer") -> str:
        if stream:
            return "".join(map(self.piece, run_stream(policy, self.call(stream=True), commit=commit)))
        return self.text(run_call(policy, self.call()).value)

    async def aask(self, policy: Policy, *, stream: bool, commit: str = "buffer") -> str:
        call = self.call(stream=stream, asynchronous=True)
        if stream:
            return "".join([self.piece(chunk) async for chunk in arun_stream(policy, call, commit=commit)])
        return self.text((await arun_call(policy, call)).value)


@pytest.fixture(scope="session")
def fault_server() -> Iterator[FaultServer]:
    with FaultServer(scale=0.1) as server:
        yield server


@pytest.fixture(scope="session")
def warm_rigs(fault_server: FaultServer) -> dict[str, Rig]:
    """The SDKs import their parts on first use, which takes longer than an attempt may."""
    rigs = {sdk: Rig(fault_server, sdk) for sdk in ("openai", "anthropic")}
    for rig in rigs.values():
        rig.ask(rig.policy(attempt_timeout=None, deadline=None), stream=False)
        rig.ask(rig.policy(attempt_timeout=None, deadline=None), stream=True)
    return rigs


@pytest.fixture(params=["openai", "anthropic"])
def rig(request: pytest.FixtureRequest, warm_rigs: dict[str, Rig]) -> Iterator[Rig]:
    made = warm_rigs[request.param]
    made.server.heal()
    made.attempts.clear()
    yield made
    made.server.heal()


@pytest.fixture
def openai_rig(warm_rigs: dict[str, Rig]) -> Iterator[Rig]:
    made = warm_rigs["openai"]
    made.server.heal()
    made.attempts.clear()
    yield made
    made.server.heal()
