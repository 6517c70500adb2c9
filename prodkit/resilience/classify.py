"""What an exception means. Read from its shape, so that no SDK has to be imported, or even installed."""

from __future__ import annotations

import asyncio
import errno
import json
import time
from typing import TYPE_CHECKING, Any, cast

from prodkit.resilience.failures import Failure, FailureClass
from prodkit.resilience.waits import retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

K = FailureClass

_QUOTA = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_error",
    "billing_not_active",
    "credit_balance_too_low",
}
_FILTER = {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
_OUTAGE = {"overloaded_error", "api_error", "server_error", "internal_server_error", "service_unavailable"}
_THROTTLE = {"rate_limit_error", "rate_limit_exceeded", "requests", "tokens"}
_REFUSED = {"invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large"}

# class names anywhere in an exception's bases; the first row that matches counts
_UNSENT = frozenset({"ConnectTimeout", "ConnectTimeoutError", "PoolTimeout"})  # nothing was sent, so nothing is billed
_GARBAGE = {"APIResponseValidationError", "DecodingError", "JSONDecodeError", "LengthFinishReasonError"}
_GARBAGE |= {"ValidationError"}  # pydantic's and jsonschema's: what an answer was parsed into
_SLOW = {"APITimeoutError", "ReadTimeout", "Timeout", "TimeoutError", "TimeoutException"}
_BROKEN = {
    "APIConnectionError",
    "ConnectionError",
    "NetworkError",
    "TransportError",
}  # SDKs, builtin and requests, httpx
_BROKEN |= {"ClientConnectionError", "ClientPayloadError", "URLError", "gaierror"}  # aiohttp, urllib, socket
_BROKEN |= {"ChunkedEncodingError", "IncompleteRead", "SSLError"}
_NAMES: tuple[tuple[FailureClass, frozenset[str]], ...] = (
    (K.FILTERED, frozenset({"ContentFilterFinishReasonError", "ContentPolicyViolationError"})),
    (K.BAD_ANSWER, frozenset(_GARBAGE)),
    (K.UNAVAILABLE, _UNSENT),
    (K.TIMEOUT, frozenset(_SLOW)),
    (K.UNAVAILABLE, frozenset(_BROKEN)),
)
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
_NEVER = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
_CODES = {402: K.QUOTA, 429: K.RATE_LIMITED, 408: K.UNAVAILABLE, 409: K.UNAVAILABLE, 425: K.UNAVAILABLE}
_FIRST_ERROR, _REQUEST_TIMEOUT, _FIRST_OUTAGE = 400, 408, 500


def classify(error: BaseException) -> Failure:
    """What this exception means for the call.

    HTTP statuses come first (`error.status_code` or `error.response.status_code`), then the provider's own code in the
    body, then the exception's class, by name. What nobody knows is `never`: a programming error isn't tried again.
    """
    if isinstance(error, _NEVER):
        return Failure(K.NEVER, type(error).__name__)
    status = _status(error)
    codes = set(_codes(error))
    if status == _REQUEST_TIMEOUT and {kind.__name__ for kind in type(error).__mro__} & _SLOW:
        return Failure(K.TIMEOUT, type(error).__name__, status)  # litellm's way to say that the client gave up
    if status is not None and status >= _FIRST_ERROR:
        return _by_status(error, status, codes)
    return _by_code(codes) or _by_name(error)


def _by_status(error: BaseException, status: int, codes: set[str]) -> Failure:
    reason = f"HTTP {status}"
    if codes & _QUOTA:
        return Failure(K.QUOTA, reason + " quota", status, billed=False)
    if codes & _FILTER:
        return Failure(K.FILTERED, reason + " content filter", status, billed=None)
    kind = _CODES.get(status) or (K.UNAVAILABLE if status >= _FIRST_OUTAGE else K.REFUSED)
    return Failure(kind, reason, status, retry_after(_headers(error), time.time()), billed=False)


def _by_code(codes: set[str]) -> Failure | None:
    """An error that came inside of a stream: it has a code, but no status."""
    table = ((K.QUOTA, _QUOTA), (K.FILTERED, _FILTER), (K.UNAVAILABLE, _OUTAGE), (K.RATE_LIMITED, _THROTTLE))
    for kind, known in (*table, (K.REFUSED, _REFUSED)):
        if found := codes & known:
            return Failure(kind, f"error event {min(found)}")
    return None


def _by_name(error: BaseException) -> Failure:
    for link in _causes(error):
        if isinstance(link, OSError) and link.errno in _NO_ROUTE:
            return Failure(K.UNAVAILABLE, type(link).__name__, billed=False)
        names = {kind.__name__ for kind in type(link).__mro__}
        for kind, known in _NAMES:
            # an SDK's connection error says more in what caused it
            if names & known and not (kind is K.UNAVAILABLE and "APIConnectionError" in names and link.__cause__):
                sent = None if kind in {K.TIMEOUT, K.BAD_ANSWER} else _billed(names)
                return Failure(kind, type(link).__name__, billed=sent)
    if any("APIConnectionError" in {kind.__name__ for kind in type(link).__mro__} for link in _causes(error)):
        return Failure(K.UNAVAILABLE, type(error).__name__)
    return Failure(K.NEVER, type(error).__name__)


def _billed(names: set[str]) -> bool | None:
    """False when the connection was never made; otherwise nobody knows."""
    return False if names & {*_UNSENT, "ConnectError", "ConnectionRefusedError", "gaierror"} else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, innermost last; at most five deep."""
    link: BaseException | None = error
    for _ in range(5):
        if link is None:
            return
        yield link
        link = link.__cause__


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def _headers(error: BaseException) -> Mapping[str, str]:
    headers: Any = getattr(getattr(error, "response", error), "headers", None)
    return cast("Mapping[str, str]", headers) if hasattr(headers, "get") else {}


def _codes(error: BaseException) -> Iterator[str]:
    """The provider's own words for the trouble: `code` and `type`, on the exception and in its body."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            body = None
    inner = body.get("error") if isinstance(body, dict) else None
    for holder in (body, inner):
        if isinstance(holder, dict):
            yield from (holder[key] for key in ("code", "type") if isinstance(holder.get(key), str))
            details = holder.get("innererror")
            if isinstance(details, dict) and isinstance(details.get("code"), str):
                yield details["code"]
    for key in ("code", "type"):
        value = vars(error).get(key)  # a property of that name is something else: aiohttp's warns that it is deprecated
        if isinstance(value, str):
            yield value
