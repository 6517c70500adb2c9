"""When a job is tried again, and what an error means for that."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest

from prodkit.errors import BudgetError, ConfigError, DataError, ParameterError, TransientError
from prodkit.jobs.attempts import AttemptResult, Policy, run_attempts
from prodkit.jobs.ends import Failure, Outcome, classify, is_programming
from prodkit.jobs.probe import describe
from prodkit.jobs.signals import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.jobs.events import AttemptEvent, CellEvent


def attempts_of(outcomes: list[Outcome], policy: Policy, stop: StopRequest | None = None) -> list[Outcome]:
    """The outcomes of the attempts that were made, of those that would have come."""
    coming = iter(outcomes)
    stop = stop or StopRequest()
    made = run_attempts(lambda number: AttemptResult(number, next(coming), 0.0), policy, stop, lambda event: None)
    assert [attempt.number for attempt in made] == list(range(1, len(made) + 1))
    return [attempt.outcome for attempt in made]


@pytest.mark.parametrize("end", [end for end in Outcome if end not in {Outcome.TRANSIENT, Outcome.RUNNING}])
def test_only_transient_ends_are_tried_again(end: Outcome) -> None:
    """Every end but a transient one is final."""
    assert attempts_of([end, Outcome.OK], Policy(retries=3, wait=0.001)) == [end]


def test_transient_ends_are_tried_until_the_limit() -> None:
    """A transient end is tried again, at most as often as allowed, and the last attempt tells the end."""
    policy = Policy(retries=2, wait=0.001)
    assert attempts_of([Outcome.TRANSIENT, Outcome.OK], policy) == [Outcome.TRANSIENT, Outcome.OK]
    assert attempts_of([Outcome.TRANSIENT] * 9, policy) == [Outcome.TRANSIENT] * 3


def test_a_dead_kernel_is_tried_again_only_when_told() -> None:
    """A kernel that died is final, unless the caller says that it may be tried again."""
    dead = [Outcome.KERNEL_DIED, Outcome.OK]
    assert attempts_of(dead, Policy(wait=0.001, retry_dead_kernel=True)) == dead


def test_no_attempt_begins_past_the_deadline() -> None:
    """No attempt is waited for when the wait alone would pass the deadline."""
    policy = Policy(retries=5, wait=300.0, deadline=time.monotonic() + 60.0)
    assert attempts_of([Outcome.TRANSIENT] * 2, policy) == [Outcome.TRANSIENT]


def test_a_request_to_stop_ends_the_wait() -> None:
    """A stop while the runner waits for the next attempt ends the wait, and no attempt follows."""
    stop = StopRequest()

    def ask(event: AttemptEvent | CellEvent) -> None:
        if event.kind == "wait":
            stop.request(15)

    made = run_attempts(lambda number: AttemptResult(number, Outcome.TRANSIENT, 0.0), Policy(wait=250.0), stop, ask)
    assert len(made) == 1


class RateLimitError(Exception):
    """As SDKs of model providers have it."""

    status_code = 429


class NotFoundError(Exception):
    """As SDKs of model providers have it."""

    status_code = 404


class OurOwnConnectionError(ConnectionError):
    """A user's subclass, of which only the base is known."""


class QuotaError(RateLimitError):
    """An empty account answers 429 as well."""


def chained(outer: Exception, cause: Exception) -> Exception:
    """`raise outer from cause`."""
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("no"), Outcome.FAILED),
        (NameError("x"), Outcome.FAILED),
        (DataError("a.b", "rows"), Outcome.BAD_INPUT),
        (ParameterError("a.b", "name"), Outcome.BAD_INPUT),
        (BudgetError("a.b", "spent"), Outcome.BAD_INPUT),
        (ConfigError("a.b", "key"), Outcome.MISCONFIGURED),
        (TransientError("a.b", "down"), Outcome.TRANSIENT),
        (ConnectionResetError("peer"), Outcome.TRANSIENT),
        (TimeoutError("late"), Outcome.TRANSIENT),
        (OurOwnConnectionError("down"), Outcome.TRANSIENT),
        (RateLimitError("slow down"), Outcome.TRANSIENT),
        (NotFoundError("no such model"), Outcome.FAILED),
        (QuotaError("Error code: 429 - insufficient_quota"), Outcome.FAILED),
        (chained(RuntimeError("step failed"), ConnectionError("down")), Outcome.TRANSIENT),
        (chained(DataError("a.b", "rows"), ConnectionError("down")), Outcome.BAD_INPUT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_says_which_end_it_is(error: Exception, outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel tells of an error (bases, causes, status, exit code) leads to the right end."""
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    said = json.loads(describe())
    assert classify(Failure(type(error).__name__, str(error), **said)) is outcome


@pytest.mark.parametrize(
    ("name", "message", "outcome"),
    [
        ("APIConnectionError", "Connection error.", Outcome.TRANSIENT),
        ("InternalServerError", "Error code: 503", Outcome.TRANSIENT),
        ("HTTPError", "503 Server Error: Service Unavailable", Outcome.TRANSIENT),
        ("HTTPError", "404 Client Error: Not Found", Outcome.FAILED),
        ("AuthenticationError", "Error code: 401", Outcome.MISCONFIGURED),
        ("SchemaErrors", "", Outcome.BAD_INPUT),
        ("KeyError", "'a'", Outcome.FAILED),
    ],
)
def test_a_name_alone_is_enough(name: str, message: str, outcome: Outcome) -> None:
    """A kernel that can't be asked (another language, no prodkit in it) is judged by what its output shows."""
    assert classify(Failure(name, message)) is outcome


@pytest.mark.parametrize("name", ["NameError", "SyntaxError", "ModuleNotFoundError"])
def test_mistakes_in_the_code_are_known(name: str) -> None:
    """A mistake in the code is told from a failure that may pass."""
    assert is_programming(Failure(name))
    assert not is_programming(Failure("ValueError"))


def test_each_end_has_its_exit_code() -> None:
    """The exit codes are those that schedulers are told about."""
    codes: Callable[[Outcome], int] = lambda outcome: outcome.exit_code  # noqa: E731
    assert {outcome.value: codes(outcome) for outcome in Outcome} == {
        "running": 75,
        "ok": 0,
        "failed": 1,
        "bad-input": 65,
        "refused": 65,
        "transient": 75,
        "misconfigured": 78,
        "kernel-died": 138,
        "terminated": 143,
        "lost": 75,
    }
