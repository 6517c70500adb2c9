"""One guarded call from its beginning to its record."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prodkit.capture import autolog, cache, leaf, payload, replay, terms
from prodkit.errors import BudgetError, ProdkitError
from prodkit.pricing import price
from prodkit.records import CallRecord, Cost, Status, TraceRecord, Usage, new_id, now
from prodkit.resilience.call import REPLAY, STALE, STATIC

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.capture.admission import Admission
    from prodkit.capture.context import Stamp
    from prodkit.capture.leaf import Leaf
    from prodkit.capture.replay import Question
    from prodkit.capture.runs import OpenRun
    from prodkit.capture.streams import Heard
    from prodkit.records import Attempt, CallSpan
    from prodkit.resilience import Target

_MAY_BE_BILLED = "a failed attempt may have been billed, and nobody knows how much"
_LONG_OVER = 1.0  # seconds after which MLflow has surely ended a call's span, if it ever will
_NOTHING = Decimal(0)
_UNKNOWN = Usage(), Cost()
_LEFT = (KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)
_NOT_STARTED = ("capture.kill-switch", "capture.stopped")
_calls: dict[str, Call] = {}  # by span id, from a call's beginning until its trace is given out
_lock = threading.Lock()


class Call:
    """What is known of a call so far. Filled by the guard, read when its trace is complete.

    Args:
        run: the open run that the call belongs to.
        stamp: who asks, and where the content comes from.
        provider: as the price table spells it.
        body: the request, as it is sent.
        known_host: whether `provider` follows from the host; a price for an unknown host is an estimate.
    """

    def __init__(self, run: OpenRun, stamp: Stamp, provider: str, body: dict[str, Any], *, known_host: bool) -> None:
        self.run, self.stamp, self.provider, self.known_host = run, stamp, provider, known_host
        self.request_id = new_id("req")
        self.model = str(body.get("model") or "")
        self.body = body
        self.uploads: dict[str, Any] = {}  # files beside the body, described
        self.started, self._clock = now(), time.perf_counter()
        self.seconds = 0.0
        self.status = Status.RUNNING
        self.response: Any = None  # as JSON can carry it
        self.usage, self.cost = _UNKNOWN
        self.terms = terms.STANDARD
        self.error, self.served_by = "", ""
        self.attempts: tuple[Attempt, ...] = ()
        self.degraded = self.simulated = self.streamed = False
        self.first_token_seconds: float | None = None
        self.admission: Admission | None = None
        self.span: Any = None
        self.leaf: Leaf | None = None  # instead of a span, where the call stands alone
        self.owns_span = False
        self.reader: Callable[[], Any] | None = None  # a weak reference to who reads along with a stream
        self.target: Target | None = None  # where the latest attempt went
        self.address = ""  # what of the request isn't in its body; empty for one that is never replayed
        self.question: Question | None = None  # where its answer may be kept
        self._asked = self.model
        self._failed_cost: Decimal | None = _NOTHING
        self._over = threading.Lock()
        self._thread, self._ended = threading.current_thread(), 0.0

    @property
    def _first_attempted(self) -> str:
        return self.attempts[0].target if self.attempts else ""

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return self.status is not Status.RUNNING

    def attach(self, kind: str, name: str) -> None:
        """Find the span that autologging has begun for this call, or begin one.

        Args:
            kind: the span's type.
            name: what MLflow calls the span of a call that stands alone; empty for one that mustn't be taken for such.
        """
        span = autolog.latest_span()
        with _lock:
            if span is not None and span.span_id not in _calls:
                _calls[span.span_id] = self
                self.span = span
                return
        passed = autolog.has_passed()
        if not name or self.uploads or not leaf.is_plain(self.body) or not (passed or autolog.stands_alone()):
            self.own(kind)
            return
        self.leaf = autolog.begin_leaf(name, kind)
        with _lock:
            _calls[self.leaf.span_id] = self

    def own(self, kind: str) -> None:
        """Begin a span of our own for this call."""
        self.span = autolog.open_span(self.model or "call", kind, payload.plain(self.body | self.uploads))
        self.owns_span = self.span is not None
        if self.owns_span:
            with _lock:
                _calls[self.span.span_id] = self

    def first_content(self, clock: float) -> None:
        """The first content of a stream has come, by the clock of `time.perf_counter`."""
        if self.first_token_seconds is None:
            self.first_token_seconds = clock - self._clock

    def attempted(self, attempt: Attempt) -> None:
        """One attempt has ended."""
        self.attempts = (*self.attempts, attempt)

    def served(self, by: str, *, degraded: bool, failed_cost: Decimal | None) -> None:
        """Somebody has answered."""
        self.served_by, self.degraded, self._failed_cost = by, degraded, failed_cost
        if self.target is not None and self.target.key == by:
            self.provider, self.model = self.target.provider or self.provider, self.target.model
        elif by == STATIC:  # no model has computed it
            self.model = by

    def replayed(self, provider: str, model: str, *, degraded: bool) -> None:
        """A kept answer is served: nothing is sent, and nothing is paid."""
        self.served_by, self.provider, self.model, self.degraded = REPLAY, provider, model, degraded

    @property
    def unpaid(self) -> bool:
        """Whether no provider has answered this call: the answer was kept, is stale, or is the static reply."""
        return self.served_by in {REPLAY, STALE, STATIC}

    def answered(self, answer: Any) -> None:
        """The whole answer has come."""
        self.response = told = payload.plain(answer)  # asked several times, which an SDK's object answers slowly
        self.simulated = self.simulated or payload.is_simulated(told)
        self.terms = terms.read(told)
        self.end(Status.OK, payload.usage(told), told)

    def unread(self) -> None:
        """The answer goes past us: the caller reads the raw HTTP response."""
        self.end(Status.OK, Usage(), None)

    def stream_ended(self, heard: Heard, error: BaseException | None, *, complete: bool) -> None:
        """A stream is over. What the reader left before its end is counted by us and labelled as estimated."""
        self.response, self.terms = payload.plain(heard.answer()), heard.terms
        self.simulated = self.simulated or heard.simulated
        if self.target is not None and not self.served_by:
            degraded = bool(self._first_attempted) and self._first_attempted != self.target.key
            self.served(self.target.key, degraded=degraded, failed_cost=Decimal(0))
        if error is not None:
            self.fail(error, heard)
            return
        whole = complete and bool(heard.finish or heard.whole is not None)
        if not whole:
            self.error = "the stream ended without its end" if complete else "the stream was left before its end"
        elif heard.chunks is not None:
            replay.keep(self, heard.chunks)
            cache.keep(self, heard.chunks)
        self.end(Status.OK if whole else Status.ABORTED, self._heard_usage(heard, whole=whole), self.response)

    def fail(self, error: BaseException, heard: Heard | None = None) -> None:
        """The call has failed, was refused, or was cancelled by the caller."""
        refused = isinstance(error, BudgetError) or getattr(error, "code", "") in _NOT_STARTED
        status = Status.REFUSED if refused else Status.ABORTED if isinstance(error, _LEFT) else Status.ERROR
        self.error = (
            f"[{error.code}] {error.what}" if isinstance(error, ProdkitError) else f"{type(error).__name__}: {error}"
        )
        used = self._heard_usage(heard, whole=False) if heard is not None and heard.text else Usage()
        self.end(status, used, None, error)

    def end(self, status: Status, usage: Usage, outputs: Any, error: BaseException | None = None) -> None:
        """The call is over, once: price it, settle its budget, end its span where nobody else does."""
        with self._over:
            if self.done:
                return
            self._ended = time.perf_counter()
            self.seconds = self._ended - self._clock
            self.usage = usage = Usage(0, 0) if self.served_by in {REPLAY, STALE} else usage  # those that were used now
            self.cost = self._price(usage, status)
            self.status = status
        if self.admission is not None:
            self.admission.settle(self._actual(error))
        if self.leaf is not None:
            autolog.end_leaf(self, self.leaf, error)
            return
        if self.span is None:
            self.run.note("A call wasn't traced, because MLflow isn't installed.")
            self.run.take_untraced(self.record("", ""))
            return
        nobody = self.owns_span or self.status is Status.ABORTED or isinstance(error, _LEFT)
        if nobody and self.span.end_time_ns is None:
            autolog.end_span(self.span, outputs, error)
        elif self.span.end_time_ns is not None:
            autolog.release(self.span)

    def _heard_usage(self, heard: Heard, *, whole: bool) -> Usage:
        used = heard.usage
        if whole and used.input_tokens is not None:
            return used
        said = sum(map(len, heard.text))
        counted = payload.upper_input_tokens(self.body)
        return replace(
            used,
            input_tokens=counted if used.input_tokens is None else used.input_tokens,
            output_tokens=max(used.output_tokens or 0, (said + 3) // 4),
            estimated=True,
        )

    def _price(self, usage: Usage, status: Status) -> Cost:
        if status is Status.REFUSED:
            return Cost(usd=None, status="unpriced", reason="refused before it was sent")
        if self.served_by == REPLAY:
            return Cost(Decimal(0), "priced", "prodkit", self.started.date(), reason="replayed")
        if self.served_by in {STALE, STATIC}:
            return self._with_failed(Cost(Decimal(0), "priced", "prodkit.yaml", self.started.date()))
        if usage.input_tokens is None and usage.output_tokens is None:
            return Cost(reason="the provider reported no tokens")
        cost = price(
            self.provider,
            self.model,
            usage,
            when=self.started,
            manifest=self.run.manifest,
            batch=self.terms.batch,
            service_tier=self.terms.service_tier,
            details=self.terms.details,
        )
        if cost.status == "priced" and not self.known_host and not self.simulated:
            cost = replace(cost, status="estimated", reason=f"priced as {self.provider}; the host is not known")
        return self._with_failed(cost)

    def _with_failed(self, cost: Cost) -> Cost:
        """The cost with that of attempts whose answers weren't used."""
        if self._failed_cost is None:
            return replace(cost, status="estimated" if cost.usd is not None else "unpriced", reason=_MAY_BE_BILLED)
        if cost.usd is None or not self._failed_cost:
            return cost
        return replace(
            cost, usd=cost.usd + self._failed_cost, reason=f"${self._failed_cost} of it for answers not used"
        )

    def _actual(self, error: BaseException | None) -> Decimal | None:
        """What the budget is charged; None leaves the reserve in place, because the provider may have billed it."""
        if self.cost.usd is not None:
            return self.cost.usd
        answered = getattr(error, "status_code", None) is not None
        return Decimal(0) if self.status is Status.REFUSED or answered else None

    @property
    def is_orphan(self) -> bool:
        """Whether the call has ended and nobody will end its span: MLflow's autologging has failed over it."""
        if not self.done or self.span is None or self.span.end_time_ns is not None:
            return False
        passed = self._thread is threading.current_thread() or not self._thread.is_alive()
        return passed or time.perf_counter() - self._ended > _LONG_OVER

    def end_span(self) -> None:
        """End the span of an orphan, so that the call is recorded."""
        autolog.end_span(self.span, self.response)

    def alone(self, mine: Leaf, failure: dict[str, Any] | None) -> TraceRecord:
        """The trace of a call that stands alone: its record says all of it."""
        take(mine.span_id)
        record = self.record(mine.trace_id, mine.span_id, leaf.span_of(self, mine, failure))
        return TraceRecord(mine.trace_id, (), (record,), self.run.key)

    def record(self, trace_id: str, span_id: str, span: CallSpan | None = None) -> CallRecord:
        """The record for the journal; with its span where no trace holds that."""
        kept_for, expires = self.run.retention(self.started)
        prompt = payload.prompt(self.body | self.uploads if self.uploads else self.body)
        return CallRecord(
            request_id=self.request_id,
            name=self.run.name,
            started=self.started,
            ended=self.started + timedelta(seconds=self.seconds),
            status=self.status,
            provider=self.provider,
            model=self.model,
            parameters=payload.parameters(self.body)
            | ({"asked_model": self._asked} if self.model != self._asked else {}),
            prompt=prompt,
            prompts=self.run.prompts_in(prompt),
            response=self.response,
            usage=self.usage,
            cost=self.cost,
            user=self.stamp.user,
            session=self.stamp.session,
            data_source=self.stamp.source,
            purpose=self.stamp.purpose,
            region=self.run.region_of(self.model),
            trace_id=trace_id,
            span_id=span_id,
            run_key=self.run.key,
            error=self.error,
            datasets=self.run.dataset_digests,
            attempts=self.attempts,
            served_by=self.served_by,
            degraded=self.degraded,
            simulated=self.simulated,
            streamed=self.streamed,
            first_token_seconds=self.first_token_seconds,
            retention_class=kept_for,
            expires=expires,
            span=span,
        )


def pending(span_ids: Sequence[str]) -> bool:
    """Whether one of the spans stands for a call that goes on."""
    return any((call := _calls.get(span_id)) is not None and not call.done for span_id in span_ids)


def take(span_id: str) -> Call | None:
    """The call of a span, which is then forgotten here."""
    return _calls.pop(span_id, None)


def orphans(run: OpenRun) -> list[Call]:
    """The calls of a run that have ended, and whose spans never will."""
    return [call for call in list(_calls.values()) if call.run is run and call.is_orphan]


def unfinished(run: OpenRun) -> list[Call]:
    """The calls of a run that go on."""
    return [call for call in list(_calls.values()) if call.run is run and not call.done]
