"""Work that is left for later is done, in order, before anybody who waits goes on."""

from __future__ import annotations

import logging
import threading
import time

from prodkit.ledger.later import Later


def test_work_is_done_in_order():
    """What is given is done in order, by another thread, and whoever waits sees all of it done."""
    later, done = Later(), []
    for number in range(20):
        later.do(lambda number=number: done.append((number, threading.current_thread().name)))
    assert later.wait()
    assert done == [(number, "prodkit-later") for number in range(20)]


def test_waiting_hurries():
    """Work starts a moment later, so that it doesn't slow the code that gave it, and at once when somebody waits."""
    later, done = Later(), []
    for _ in range(20):
        later.do(lambda: done.append(1))
        later.wait()
    assert len(done) == 20
    later.do(lambda: done.append(1))
    assert len(done) == 20
    deadline = time.monotonic() + 5
    while len(done) < 21 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(done) == 21


def test_a_failure_stops_nothing(caplog):
    """Work that fails is said in the log without the error's text, which may hold values, and the next is done."""
    later, done = Later(), []

    def fail():
        raise KeyError("canary-5")

    with caplog.at_level(logging.ERROR, "prodkit"):
        later.do(fail)
        later.do(lambda: done.append(1))
        assert later.wait()
    assert done == [1]
    assert "KeyError" in caplog.text
    assert "canary" not in caplog.text


def test_waiting_ends(monkeypatch):
    """Waiting ends after its time when the work doesn't."""
    later, go = Later(), threading.Event()
    later.do(go.wait)
    assert not later.wait(0.01)
    go.set()
    assert later.wait(5)
