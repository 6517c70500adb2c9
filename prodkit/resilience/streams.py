"""Streams under a policy: where they may fall back, how long they may be silent, when they have really ended."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from prodkit.resilience.call import Call, Chunk, StreamError
from prodkit.resilience.course import Course, Step
from prodkit.resilience.failures import Failure, FailureClass
from prodkit.resilience.isolate import Pump
from prodkit.resilience.run import within

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

    from prodkit.resilience.call import Served
    from prodkit.resilience.policy import Commit, Policy

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class StreamRestart:
    """A piece that says: forget what came so far, it is told anew by `served_by`.

    A loop over an SDK's stream that looks at `chunk.choices` (openai) or `event.type` (anthropic) before it reads on
    passes over it: it has no choices, and a type of its own.
    """

    served_by: str
    type: str = field(default="prodkit.restart", init=False)
    choices: tuple[()] = field(default=(), init=False)
    usage: None = field(default=None, init=False)


class _WrongPieceError(Exception):
    """A piece or an end that counts as a failed attempt."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Telling:
    """One attempt's pieces on their way to the user. Pieces before the first content wait here."""

    def __init__(self, course: Course[Any], commit: Commit) -> None:
        self.course, self.commit = course, commit
        self.told = False  # whether the user has seen any content
        self.waiting: list[Any] = []
        self.ended = False
        self._begun = False
        self._until: float | None = None

    def begin(self) -> None:
        """A new attempt."""
        self.waiting, self.ended, self._begun = [], False, False
        limit = self.course.timeout()
        self._until = None if limit is None else self.course.policy.clock.now() + limit

    def patience(self) -> float:
        """Seconds that the next piece may take.

        The attempt's limit and the deadline are for the answer to begin (for `buffer`, to be complete); once the user
        has content, only silence is limited.
        """
        idle = self.course.policy.stream_idle_timeout
        if self.told or self._until is None:
            return idle
        return min(idle, max(0.0, self._until - self.course.policy.clock.now()))

    def take(self, piece: Any) -> Iterator[Any]:
        """The pieces to pass on now that this one has come.

        Raises:
            _WrongPieceError: the piece says that the attempt has failed.
        """
        sign = self.course.call.inspect(piece) if self.course.call.inspect is not None else Chunk.CONTENT
        if isinstance(sign, Failure):
            raise _WrongPieceError(sign)
        self.ended = self.ended or sign is Chunk.END
        self.waiting.append(piece)
        self._begun = self._begun or sign is Chunk.CONTENT
        if self._begun and self.commit != "buffer":
            yield from self.flush()

    def flush(self) -> Iterator[Any]:
        """Pass on what waits."""
        pieces, self.waiting = self.waiting, []
        self.told = self.told or bool(pieces)
        yield from pieces

    def check_end(self) -> None:
        """The stream has stopped: was that its end?

        Raises:
            _WrongPieceError: it was cut, or there was nothing in it.
        """
        if self.course.call.inspect is not None and not self.ended:
            raise _WrongPieceError(Failure(FailureClass.UNAVAILABLE, "the stream stopped before its end"))
        if not self._begun:
            raise _WrongPieceError(Failure(FailureClass.BAD_ANSWER, "an empty stream"))

    def may_begin_anew(self) -> bool:
        """Whether another attempt may follow after a failure."""
        return not self.told or self.commit == "restart"


def run_stream(policy: Policy, call: Call[Any], *, commit: Commit | None = None) -> Iterator[Any]:
    """Pass on the pieces of a stream under a policy.

    `call.proceed` opens a stream: it returns an iterable of pieces. `commit` is the policy's unless it is given.
    Nothing happens before the first `next`; see `begin_stream` for a request that is sent at once.

    Raises:
        StreamError: the stream failed after its first content was passed on; the cause is chained.
        BaseException: as `run_call` before that.
    """
    if policy.max_concurrent is None:
        yield from _run(policy, call, commit)
        return
    with policy.bulkhead().place():
        yield from _run(policy, call, commit)


def _run(policy: Policy, call: Call[Any], commit: Commit | None) -> Iterator[Any]:
    course: Course[Any] = Course(policy, call, policy.chain(call.provider, call.model), policy.clock.now())
    telling = Telling(course, commit or policy.commit)
    while (step := course.step()) is not None:
        if step.wait:
            policy.clock.sleep(step.wait)
        ticket = course.admit(step)
        if ticket is None:
            continue
        if telling.told:
            yield StreamRestart(step.target.key)
        telling.begin()
        began, source = policy.clock.now(), Pump(call.proceed, step.target, course.timeout())
        try:
            while (piece := source.next(telling.patience())) is not Pump.END:
                yield from telling.take(piece)
            telling.check_end()
        except BaseException as error:
            _failed(course, telling, step, ticket, error, began)
        else:
            _tell(call, course.served(step, ticket, policy.clock.now() - began, None))
            yield from telling.flush()
            return
        finally:
            source.close()
    yield from _resort(course, telling)


async def arun_stream(policy: Policy, call: Call[Any], *, commit: Commit | None = None) -> AsyncIterator[Any]:
    """Pass on the pieces of an async stream under a policy.

    `call.proceed` returns an async iterable, or an awaitable of one. Raises as `run_stream`.
    """
    async with contextlib.AsyncExitStack() as held:
        if policy.max_concurrent is not None:
            await held.enter_async_context(policy.bulkhead().aplace())
        pieces = await held.enter_async_context(contextlib.aclosing(_arun(policy, call, commit)))
        async for piece in pieces:
            yield piece


async def _arun(policy: Policy, call: Call[Any], commit: Commit | None) -> AsyncGenerator[Any, None]:
    course: Course[Any] = Course(policy, call, policy.chain(call.provider, call.model), policy.clock.now())
    telling = Telling(course, commit or policy.commit)
    while (step := course.step()) is not None:
        if step.wait:
            await policy.clock.asleep(step.wait)
        ticket = course.admit(step)
        if ticket is None:
            continue
        if telling.told:
            yield StreamRestart(step.target.key)
        telling.begin()
        began = policy.clock.now()
        try:
            async with contextlib.aclosing(_atell(course, telling, step)) as pieces:
                async for ready in pieces:
                    yield ready
        except BaseException as error:
            _failed(course, telling, step, ticket, error, began)
        else:
            _tell(call, course.served(step, ticket, policy.clock.now() - began, None))
            for ready in telling.flush():
                yield ready
            return
    for ready in _resort(course, telling):
        yield ready


async def _atell(course: Course[Any], telling: Telling, step: Step) -> AsyncGenerator[Any, None]:
    """The pieces of one attempt, as soon as they may be passed on."""
    source = None
    try:
        opened = course.call.proceed(step.target, course.timeout())
        source = await _soon(telling, opened) if hasattr(opened, "__await__") else opened
        iterator = aiter(source)
        while (piece := await _soon(telling, anext(iterator, Pump.END))) is not Pump.END:
            for ready in telling.take(piece):
                yield ready
        telling.check_end()
    finally:
        await _aclose(source)


def begin_stream(pieces: Iterator[Any]) -> Iterator[Any]:
    """Run a stream up to its first piece now, so that its errors come where the request is made."""
    first = next(pieces, Pump.END)

    def rest() -> Iterator[Any]:
        if first is not Pump.END:
            yield first
            yield from pieces

    return rest()


async def abegin_stream(pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """`begin_stream` for an async stream."""
    first = await anext(pieces, Pump.END)

    async def rest() -> AsyncIterator[Any]:
        if first is not Pump.END:
            yield first
            async for piece in pieces:
                yield piece

    return rest()


def _tell(call: Call[Any], served: Served[Any]) -> None:
    if call.on_served is not None:
        call.on_served(served)


def _failed(course: Course[Any], telling: Telling, step: Step, ticket: int, error: BaseException, began: float) -> None:
    """Report what ended the attempt; raises when nothing may follow."""
    if isinstance(error, _WrongPieceError):
        course.failed(step, ticket, error.failure, course.policy.clock.now() - began)
    else:
        course.raised(step, ticket, error, began)
    if telling.may_begin_anew():
        return
    attempt = course.attempts[-1]
    broken = StreamError(
        "resilience.stream-cut",
        f"The stream broke off after its first pieces ({attempt.failure_class}).",
        where=step.target.key,
        fix='read it again, or use commit="buffer" or "restart", which may begin anew',
    )
    broken.attempts = tuple(course.attempts)
    raise broken from error


def _resort(course: Course[Any], telling: Telling) -> Iterator[Any]:
    served = course.last_resort()
    _tell(course.call, course.resort(None, served.served_by))
    if telling.told:
        yield StreamRestart(served.served_by)
    yield from served.value if isinstance(served.value, (list, tuple)) else (served.value,)


async def _soon(telling: Telling, work: Any) -> Any:
    return await within(telling.patience(), work)


async def _aclose(source: Any) -> None:
    for name in ("aclose", "close"):
        close: Callable[[], Any] | None = getattr(source, name, None)
        if close is not None:
            with contextlib.suppress(Exception):
                await close()
            return
