"""The fault server, the virtual clock and the pytest plugin: what users' own tests rely on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time

import openai
import pytest

from prodkit.errors import ConfigError
from prodkit.testing import FAULTS, FaultServer, VirtualClock

pytest_plugins = ["pytester"]


def ask(server: FaultServer, model: str = "m", **options):
    client = openai.OpenAI(**server.openai_options(), max_retries=0, timeout=5)
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], **options)


def test_there_are_enough_faults():
    """More than forty faults of all four kinds, each with a line for reports."""
    assert len(FAULTS) >= 45
    assert {fault.kind for fault in FAULTS.values()} == {"status", "connection", "body", "stream"}
    assert len({fault.what for fault in FAULTS.values()}) == len(FAULTS)


def test_well_server_answers(prodkit_faults):
    """Without a fault it answers well, and counts by model."""
    assert ask(prodkit_faults).choices[0].message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in ask(prodkit_faults, "other", stream=True))
    assert prodkit_faults.requests == {"m": 1, "other": 1}


def test_fault_hits_its_models_only(prodkit_faults):
    """A fault that is injected for one model leaves the others alone, and `heal` takes it back."""
    prodkit_faults.inject("503", models={"m"})
    with pytest.raises(openai.InternalServerError):
        ask(prodkit_faults)
    assert ask(prodkit_faults, "other").choices
    prodkit_faults.heal()
    assert ask(prodkit_faults).choices
    assert prodkit_faults.requests == {"m": 1}


def test_faults_follow_each_other(prodkit_faults):
    """Faults that are injected one after the other happen in this order, each so many times."""
    prodkit_faults.inject("503", times=1)
    prodkit_faults.inject("401", times=1)
    with pytest.raises(openai.InternalServerError):
        ask(prodkit_faults)
    with pytest.raises(openai.AuthenticationError):
        ask(prodkit_faults)
    assert ask(prodkit_faults).choices


def test_unknown_fault_is_refused(prodkit_faults):
    """A misspelt fault is refused with the nearest one, instead of testing nothing."""
    with pytest.raises(ConfigError, match="did you mean `stream-stall`"):
        prodkit_faults.inject("stream-stal")


def test_hanging_clients_do_not_hold_the_server(prodkit_faults):
    """Closing takes no longer than a moment, with requests that still hang."""
    prodkit_faults.inject("hang")
    caught = []

    def hang() -> None:
        try:
            ask(prodkit_faults)
        except openai.APIConnectionError as error:
            caught.append(error)

    waiting = threading.Thread(target=hang)
    waiting.start()
    while not prodkit_faults.requests:
        time.sleep(0.01)
    began = time.monotonic()
    prodkit_faults.close()
    assert time.monotonic() - began < 3
    waiting.join(10)
    assert caught


def test_clock_moves_only_when_told():
    """Sleeping moves the clock and is remembered, nothing else does, and it never goes back."""
    clock = VirtualClock(start=5.0)
    began = time.monotonic()
    clock.sleep(3600)
    clock.advance(10)
    assert time.monotonic() - began < 1
    assert clock.now() == clock.wall() == 3615.0
    assert clock.sleeps == [3600]
    with pytest.raises(ValueError, match="monotonic"):
        clock.advance(-1)


async def test_clock_moves_for_tasks_and_runs_when_told():
    """The same for tasks; a running clock lets real time pass beside the skipped waits."""
    clock = VirtualClock(running=True)
    began = clock.now()
    await clock.asleep(60)
    await asyncio.sleep(0.03)
    assert 60.02 <= clock.now() - began < 65


def test_clock_loses_no_sleep_between_threads():
    """Threads that sleep at once move the clock by the sum of their sleeps."""
    clock = VirtualClock(start=0.0)
    threads = [threading.Thread(target=lambda: [clock.sleep(1) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == 4000


def test_the_clocks_example_is_right():
    """What the clock's documentation shows is what it does."""
    import doctest

    import prodkit.testing.clock

    assert doctest.testmod(prodkit.testing.clock) == doctest.TestResults(0, 4)


WITHOUT_FAULTS = """
def test_provider(prodkit_provider):
    from openai import OpenAI

    assert OpenAI(**prodkit_provider.openai_options()).models.list().data
"""


def test_users_tests_find_the_fixtures(pytester):
    """Somebody's own test-suite finds the three fixtures without an import, and the documented example is right."""
    import prodkit.testing

    documented = textwrap.dedent(prodkit.testing.__doc__.partition("import:\n")[2].partition("`FAULTS`")[0])
    pytester.makepyfile(documented + WITHOUT_FAULTS)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)


def test_plugin_is_light():
    """A test-suite that doesn't use the fixtures loads nothing for them."""
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport prodkit.testing.plugin\n"
        "new = {name for name in set(sys.modules) - before}\n"
        "assert new <= {'prodkit', 'prodkit.testing', 'prodkit.testing.plugin'}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
