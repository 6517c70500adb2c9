"""Every fault, with the real SDKs, sync and async: the right answer or the right error, soon, with few requests."""

from __future__ import annotations

import pytest

from prodkit.resilience import AnswerError
from prodkit.testing import FAULTS, Fault

RIGHT = "shipping"
SOON = 5.0
EACH = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


def judge(rig, fault: Fault, answer, error, seconds: float) -> None:
    """The same judgement for every stack: what the user got, how soon, and at what price for the provider."""
    requests = rig.server.requests
    assert seconds < SOON
    assert requests["primary"] <= fault.most_requests
    if fault.expect == "answer":
        assert (answer, error) == (RIGHT, None)
        assert requests["backup"] <= 1
        return
    assert answer is None
    assert requests["backup"] == 0, "our own fault must not be sent elsewhere"
    if fault.name == "filtered-200":
        assert isinstance(error, AnswerError)
        assert error.code == "resilience.filtered"
    else:
        assert type(error).__module__.startswith(rig.sdk), "the provider's own error reaches the user"
        assert "prodkit tried" in error.__notes__[0]


@EACH
def test_sync_survives(rig, fault: Fault):
    """A sync call under the policy survives this fault, or says at once why it can't."""
    rig.server.inject(fault.name, models={"primary"})
    policy, answer, error = rig.policy(fault), None, None
    started = policy.clock.now()
    try:
        answer = rig.ask(policy, stream=fault.kind == "stream")
    except Exception as caught:
        error = caught
    judge(rig, fault, answer, error, policy.clock.now() - started)


@EACH
async def test_async_survives(rig, fault: Fault):
    """An async call under the policy survives this fault, or says at once why it can't."""
    rig.server.inject(fault.name, models={"primary"})
    rig.clients.pop((rig.server.url, True), None)  # a client belongs to the event loop of its test
    policy, answer, error = rig.policy(fault), None, None
    started = policy.clock.now()
    try:
        answer = await rig.aask(policy, stream=fault.kind == "stream")
    except Exception as caught:
        error = caught
    finally:
        for (url, asynchronous), client in list(rig.clients.items()):
            if asynchronous:
                await client.close()
                del rig.clients[url, asynchronous]
    judge(rig, fault, answer, error, policy.clock.now() - started)
