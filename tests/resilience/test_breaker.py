"""The circuit breaker, against a model of what it must do, and with many threads at once."""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prodkit.resilience import Breaker, BreakerSettings, BreakerState
from prodkit.resilience.shared import SqliteState
from prodkit.testing import VirtualClock

WINDOW, MINIMUM, SHARE, PAUSE = 6, 3, 0.5, 10.0
SMALL = BreakerSettings(window=WINDOW, minimum=MINIMUM, failure_share=SHARE, open_for=PAUSE)


class BreakerMachine(RuleBasedStateMachine):
    """A breaker beside a model written from the rules alone: a list of outcomes, a state and a time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.breaker = Breaker("t", SMALL, clock=self.clock)
        self.outcomes: deque[bool] = deque(maxlen=WINDOW)  # True: failed
        self.state, self.until, self.generation = "closed", 0.0, 0
        self.out: list[tuple[int, int]] = []  # (ticket, the model's generation when it was given)

    def turn(self, state: str, pause: float) -> None:
        self.state, self.until = state, self.clock.now() + pause
        self.generation += 1
        if state == "closed":
            self.outcomes.clear()

    @rule()
    def enter(self) -> None:
        if self.state != "closed" and self.clock.now() >= self.until:
            self.turn("half-open", PAUSE)
            allowed = True
        else:
            allowed = self.state == "closed"
        ticket = self.breaker.enter()
        assert (ticket is not None) == allowed
        if ticket is not None:
            self.out.append((ticket, self.generation))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["success", "failure", "release"]))
    def come_back(self, data: st.DataObject, how: str) -> None:
        ticket, generation = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        getattr(self.breaker, how)(ticket)
        if generation != self.generation:
            return  # news from before the latest change say nothing about now
        if self.state == "half-open":
            self.turn(*{"success": ("closed", 0.0), "failure": ("open", PAUSE), "release": ("open", 0.0)}[how])
        elif how != "release":
            self.outcomes.append(how == "failure")
            full = len(self.outcomes) >= MINIMUM
            if how == "failure" and full and sum(self.outcomes) >= SHARE * len(self.outcomes):
                self.turn("open", PAUSE)

    @rule(seconds=st.floats(0.1, 25.0))
    def hold(self, seconds: float) -> None:
        self.breaker.hold(seconds)
        if not (self.state == "open" and self.until >= self.clock.now() + seconds):
            self.turn("open", seconds)

    @rule(seconds=st.floats(0.0, 15.0))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state == self.state


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_breaker_lets_one_probe_of_fifty_through():
    """Of 50 callers that wait for the end of the pause, one is let through, and its success lets all through."""
    clock = VirtualClock()
    breaker = Breaker("t", SMALL, clock=clock)
    for _ in range(MINIMUM):
        breaker.failure(breaker.enter())
    assert breaker.state is BreakerState.OPEN
    assert breaker.enter() is None
    clock.advance(PAUSE)
    gate, tickets = threading.Barrier(50), []

    def come() -> None:
        gate.wait()
        tickets.append(breaker.enter())

    threads = [threading.Thread(target=come) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    let_through = [ticket for ticket in tickets if ticket is not None]
    assert len(let_through) == 1
    breaker.success(let_through[0])
    assert breaker.state is BreakerState.CLOSED


def test_breaker_replaces_a_probe_that_never_reports():
    """A probe whose process died doesn't keep the breaker half-open for ever."""
    clock = VirtualClock()
    breaker = Breaker("t", SMALL, clock=clock)
    breaker.hold(5.0)
    clock.advance(5.0)
    assert breaker.enter() is not None
    assert breaker.enter() is None
    clock.advance(PAUSE)
    assert breaker.enter() is not None


def test_breaker_counts_the_share_over_a_long_calm():
    """After a thousand successes the same five failures that open a young breaker are within the share."""
    breaker = Breaker("t", clock=VirtualClock())
    for _ in range(1000):
        breaker.success(breaker.enter())
    for _ in range(5):
        breaker.failure(breaker.enter())
    assert breaker.state is BreakerState.CLOSED


def test_next_process_knows_that_a_target_is_down(tmp_path):
    """A breaker that was opened in one process is open in the next one, and one of all processes probes it."""
    clock = VirtualClock()
    first = Breaker("t", SMALL, clock=clock, shared=SqliteState(tmp_path / "b.db", wall=clock.wall))
    for _ in range(MINIMUM):
        first.failure(first.enter())
    others = [
        Breaker("t", SMALL, clock=clock, shared=SqliteState(tmp_path / "b.db", wall=clock.wall)) for _ in range(5)
    ]
    assert [other.enter() for other in others] == [None] * 5
    clock.advance(PAUSE + 1)
    tickets = [breaker.enter() for breaker in (first, *others)]
    probes = [ticket for ticket in tickets if ticket is not None]
    assert len(probes) == 1
    (first, *others)[tickets.index(probes[0])].success(probes[0])
    clock.advance(2.0)
    late = Breaker("t", SMALL, clock=clock, shared=SqliteState(tmp_path / "b.db", wall=clock.wall))
    assert late.enter() is not None


def open_shared(path: str) -> None:
    breaker = Breaker("t", SMALL, shared=SqliteState(path))
    breaker.hold(60.0)


def test_state_is_shared_between_real_processes(tmp_path):
    """What a child process has found out holds in its parent."""
    path = tmp_path / "state" / "b.db"
    child = multiprocessing.get_context("spawn").Process(target=open_shared, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == 0
    breaker = Breaker("t", SMALL, shared=SqliteState(path))
    assert breaker.enter() is None
    assert 50 < breaker.remaining() <= 60


def test_broken_state_file_breaks_no_call(tmp_path):
    """A state file that is no database is said in `problem`, and the breaker goes by what it knows itself."""
    path = tmp_path / "b.db"
    path.write_text("this is no database, and it is long enough to be told from an empty one" * 20)
    state = SqliteState(path)
    breaker = Breaker("t", SMALL, shared=state)
    assert breaker.enter() is not None
    breaker.hold(0.0)
    assert breaker.enter() is not None
    assert "isn't shared" in state.problem
