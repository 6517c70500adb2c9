"""Streams under a policy: where they fall back, what a cut one becomes, and how long they may be silent."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from prodkit.resilience import (
    AnswerError,
    Call,
    Chunk,
    Failure,
    FailureClass,
    Policy,
    StreamError,
    StreamRestart,
    Target,
    abegin_stream,
    arun_stream,
    begin_stream,
    run_stream,
)
from prodkit.testing import VirtualClock

BACKUP = Target("openai", "backup")
END = "<end>"


class DownError(Exception):
    status_code = 503


def inspect(piece: str) -> Chunk | Failure:
    if piece == "<bad>":
        return Failure(FailureClass.UNAVAILABLE, "error event")
    return Chunk.END if piece == END else Chunk.OTHER if piece == "<role>" else Chunk.CONTENT


class Streams:
    """Scripted streams by target: an exception among the pieces is raised, a number is slept."""

    def __init__(self, primary: list, backup: list | None = None) -> None:
        self.plan = {"primary": primary, "backup": backup or []}
        self.opened: list[str] = []
        self.closed = threading.Event()

    def __call__(self, target: Target, timeout: float | None):
        self.opened.append(target.model)
        if self.plan[target.model][:1] == ["<refuse>"]:
            raise DownError
        return self.pieces(target.model)

    def pieces(self, model: str):
        try:
            for piece in self.plan[model]:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, float):
                    time.sleep(piece)
                else:
                    yield piece
        finally:
            self.closed.set()

    def later(self, target: Target, seconds: float | None):
        self.opened.append(target.model)
        if self.plan[target.model][:1] == ["<refuse>"]:
            raise DownError
        return self.apieces(target.model)

    async def apieces(self, model: str):
        try:
            for piece in self.plan[model]:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                else:
                    yield piece
        finally:
            self.closed.set()


def policy(**changes) -> Policy:
    values = {"clock": VirtualClock(running=True), "fallbacks": {"": (BACKUP,)}, "attempts": 1}
    return Policy(**{**values, **changes})


def read(
    streams: Streams,
    mode: str,
    under: Policy | None = None,
    commit: str = "first_token",
    seen: list | None = None,
    **options,
):
    """Read the whole stream, sync or async; `seen` gets the pieces even when it breaks off."""
    pieces = [] if seen is None else seen
    under = under or policy()
    if mode == "sync":
        # extend keeps what came before an error
        pieces.extend(run_stream(under, Call("openai", "primary", streams, inspect=inspect, **options), commit=commit))
        return pieces

    async def run() -> None:
        call = Call("openai", "primary", streams.later, inspect=inspect, **options)
        async for piece in arun_stream(under, call, commit=commit):
            pieces.append(piece)

    asyncio.run(run())
    return pieces


both = pytest.mark.parametrize("mode", ["sync", "async"])
GOOD = ["<role>", "x", "y", END]


@both
def test_good_stream_is_passed_on(mode):
    """A good stream arrives piece by piece as it is."""
    assert read(Streams(["<role>", "a", "b", END]), mode) == ["<role>", "a", "b", END]


@both
@pytest.mark.parametrize(
    "start",
    [["<refuse>"], ["<role>", DownError()], ["<role>"], [], ["<role>", "<bad>"], ["<role>", END], ["<role>", 3.0]],
    ids=["refused", "cut before content", "role only", "nothing", "error event", "empty answer", "silent"],
)
def test_falls_back_before_the_first_content(mode, start):
    """Whatever goes wrong before the first content, the user reads the fallback's stream and nothing else."""
    streams = Streams(start, GOOD)
    assert read(streams, mode, policy(stream_idle_timeout=0.3)) == GOOD
    assert streams.opened == ["primary", "backup"]


@both
@pytest.mark.parametrize("cut", [DownError(), "<bad>", None], ids=["exception", "error event", "no end"])
def test_cut_after_content_is_an_error(mode, cut):
    """A stream that is cut after its first content is an error of its own; it is neither repeated nor completed."""
    streams = Streams(["a", *([cut] if cut is not None else [])], GOOD)
    seen: list = []
    under = policy()
    with pytest.raises(StreamError) as broken:
        read(streams, mode, under, seen=seen)
    assert seen == ["a"]
    assert streams.opened == ["primary"]
    assert [attempt.failure_class for attempt in broken.value.attempts] == ["unavailable"]
    assert broken.value.__cause__ is not None


@both
def test_who_served_a_stream_is_told(mode):
    """At the end of a stream it is told who has served it, and after which attempts."""
    told = []
    streams = Streams(["<refuse>"], GOOD)
    read(streams, mode, on_served=told.append)
    assert (told[0].served_by, told[0].degraded) == ("openai/backup", True)
    assert [attempt.failure_class for attempt in told[0].attempts] == ["unavailable", ""]
    under = policy(static_reply="x")
    read(Streams(["<refuse>"], ["<refuse>"]), mode, under, on_served=told.append, static=lambda text: [text])
    assert (told[1].served_by, told[1].degraded, len(told)) == ("static-reply", True, 2)


@both
def test_buffer_tells_only_whole_answers(mode):
    """With `buffer` a cut stream leaves nothing behind: the user reads the fallback's."""
    assert read(Streams(["a", DownError()], GOOD), mode, commit="buffer") == GOOD


@both
def test_restart_says_that_it_begins_anew(mode):
    """With `restart` the user is told to forget what came before the fallback's stream."""
    pieces = read(Streams(["a", DownError()], GOOD), mode, commit="restart")
    assert pieces == ["a", StreamRestart("openai/backup"), *GOOD]


@both
def test_silence_in_the_middle_is_cut_off(mode):
    """A stream that falls silent ends as an error after the idle timeout, not after the provider's patience."""
    began = time.monotonic()
    with pytest.raises(StreamError, match="timeout"):
        read(Streams(["a", 20.0, END]), mode, policy(stream_idle_timeout=0.3))
    assert time.monotonic() - began < 5


@both
def test_long_stream_outlives_the_deadline(mode):
    """The deadline is for the answer to begin: a stream that keeps talking isn't cut by it."""
    pieces = ["a", *[0.1, "b"] * 5, END]
    under = policy(deadline=0.4, attempt_timeout=0.3, stream_idle_timeout=0.4)
    assert read(Streams(pieces), mode, under) == ["a", *["b"] * 5, END]


@both
def test_all_streams_empty_is_an_error(mode):
    """When no target's stream has anything in it, the user gets an error and no empty answer."""
    with pytest.raises(AnswerError):
        read(Streams([END], [END]), mode)


def test_leaving_early_closes_the_source():
    """A reader that leaves in the middle closes the provider's stream, and it counts neither way."""
    streams, under = Streams(["a", "b", "c", END]), policy()
    pieces = run_stream(under, Call("openai", "primary", streams, inspect=inspect))
    assert next(pieces) == "a"
    pieces.close()
    assert streams.closed.wait(2)
    assert under.breaker_of(under.chain("openai", "primary")[0]).state == "closed"


async def test_leaving_early_closes_the_async_source():
    """The same for a task that leaves in the middle."""
    streams = Streams(["a", "b", "c", END])
    pieces = arun_stream(policy(), Call("openai", "primary", streams.later, inspect=inspect))
    assert await anext(pieces) == "a"
    await pieces.aclose()
    assert streams.closed.is_set()


async def test_begun_streams_fail_where_the_request_is_made():
    """`begin_stream` and `abegin_stream` send the request at once, so that its errors come there."""
    with pytest.raises(DownError):
        begin_stream(
            run_stream(policy(), Call("openai", "primary", Streams(["<refuse>"], ["<refuse>"]), inspect=inspect))
        )
    call = Call("openai", "primary", Streams(["<refuse>"], ["<refuse>"]).later, inspect=inspect)
    with pytest.raises(DownError):
        await abegin_stream(arun_stream(policy(), call))
    streams = Streams(GOOD)
    begun = begin_stream(run_stream(policy(), Call("openai", "primary", streams, inspect=inspect)))
    assert streams.opened == ["primary"]
    assert list(begun) == GOOD


@pytest.mark.parametrize("fault", ["stream-cut", "stream-no-end", "stream-error", "stream-stall"])
def test_real_sdk_stream_never_ends_as_if_it_were_whole(rig, fault):
    """With the real SDKs a stream that breaks after its first token is an error, never a short success."""
    rig.server.inject(fault, models={"primary"})
    pieces: list[str] = []
    under = rig.policy(stream_idle_timeout=0.5)
    with pytest.raises(StreamError):
        pieces.extend(map(rig.piece, run_stream(under, rig.call(stream=True))))
    assert "".join(pieces) == "shippi"
    assert rig.server.requests["backup"] == 0
