"""How a run can end, what exit code that is, and which error means which end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_HTTP_STATUS = re.compile(r"\b(?:error code|status(?:[ _]code)?|http(?: error)?)(?!://)\W{0,3}(\d{3})\b", re.IGNORECASE)
_DISTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_UNANSWERED = ("Max retries exceeded", "failed with timeout exception")  # as MLflow's client words it
_NO_KEY = ("Missing credentials", "api_key client option must be set", "Could not resolve authentication method")
"""What the SDKs say when their key is missing; the classes of these errors are general ones."""
_OUT_OF_MONEY = ("insufficient_quota", "billing_hard_limit")

# the last part of the names of error classes, as notebooks show them
_TRANSIENT_NAMES = frozenset(
    {
        *(
            "TransientError",
            "ConnectionError",
            "TimeoutError",
            "APIConnectionError",
            "APITimeoutError",
            "RateLimitError",
        ),
        *("InternalServerError", "OverloadedError", "ServiceUnavailable", "ServiceUnavailableError", "TooManyRequests"),
        *("ConnectionResetError", "ConnectionRefusedError", "ConnectionAbortedError", "BrokenPipeError", "gaierror"),
        *("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "Timeout", "ConnectError", "ReadError"),
        *("RemoteProtocolError", "RemoteDisconnected", "IncompleteRead", "ServerDisconnectedError", "ClientOSError"),
        *("ClientConnectorError", "ServerTimeoutError", "NewConnectionError", "MaxRetryError", "ProtocolError"),
        *("EndpointConnectionError", "ThrottlingException", "ServiceRequestError", "DeadlineExceeded"),
        *("ResourceExhausted", "ChunkedEncodingError", "CellTimeout", "BreakerOpenError", "RetryError", "SSLEOFError"),
    }
)
_DATA_NAMES = frozenset({"DataError", "ParameterError", "BudgetError", "SchemaError", "SchemaErrors"})
_CONFIG_NAMES = frozenset({"ConfigError", "AuthenticationError", "PermissionDeniedError"})
_PROGRAMMING = frozenset(
    {
        *("SyntaxError", "IndentationError", "TabError", "NameError", "UnboundLocalError", "AttributeError"),
        *("TypeError", "ImportError", "ModuleNotFoundError", "UsageError", "NotImplementedError"),
    }
)


class Outcome(StrEnum):
    """How a run, an attempt or a cell ended. The word is stable: it is a tag in MLflow and a column of the history."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"  # the notebook's own error
    BAD_INPUT = "bad-input"  # parameters, data or budget; trying again doesn't help
    REFUSED = "refused"  # an item for which nothing was left of the budget that it shares
    TRANSIENT = "transient"  # the outside world; trying again may help
    MISCONFIGURED = "misconfigured"
    KERNEL_DIED = "kernel-died"
    TERMINATED = "terminated"  # SIGTERM or SIGINT
    LOST = "lost"  # the runner itself was killed: nobody was left to write the end

    @property
    def exit_code(self) -> int:
        """What a scheduler sees: 0, 1, 65, 75, 78, 138 or 143."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Outcome.RUNNING: 75,
    Outcome.OK: 0,
    Outcome.FAILED: 1,
    Outcome.BAD_INPUT: 65,
    Outcome.REFUSED: 65,
    Outcome.TRANSIENT: 75,
    Outcome.MISCONFIGURED: 78,
    Outcome.KERNEL_DIED: 138,
    Outcome.TERMINATED: 143,
    Outcome.LOST: 75,
}
_SPECIAL = {Outcome.RUNNING, Outcome.LOST, Outcome.REFUSED}  # told by no process's exit code
_BY_EXIT_CODE = {outcome.exit_code: outcome for outcome in Outcome if outcome not in _SPECIAL}


def by_exit_code(code: int) -> Outcome:
    """The end that an exit code tells; a code of somebody else's is the notebook's own failure."""
    return _BY_EXIT_CODE.get(code, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that ended a cell. `names` are the classes of the error and its bases, the nearest first."""

    name: str
    message: str = ""
    names: tuple[str, ...] = ()
    exit_code: int | None = None  # a ProdkitError says it itself
    http_status: int | None = None

    @property
    def outcome(self) -> Outcome:
        """Which end this error means."""
        return classify(self)


def classify(failure: Failure) -> Outcome:
    """Which end an error means, by what it says about itself first and by the names of its classes last."""
    if failure.exit_code is not None:
        return by_exit_code(failure.exit_code)
    if any(word in failure.message for word in _OUT_OF_MONEY):
        return Outcome.FAILED  # a rate limit by name, but waiting doesn't fill an account
    if _DISTRUSTED in failure.message:
        return Outcome.MISCONFIGURED  # a connection error by name, but no waiting makes a certificate known
    if any(word in failure.message for word in _NO_KEY):
        return Outcome.MISCONFIGURED
    status = failure.http_status or _status_in(failure)
    if status is not None:
        return _BY_STATUS.get(status, Outcome.FAILED)
    if failure.name.endswith("MlflowException") and any(words in failure.message for words in _UNANSWERED):
        return Outcome.TRANSIENT
    for name in failure.names or (failure.name,):
        short = name.rpartition(".")[2]
        for known, outcome in _BY_NAME:
            if short in known:
                return outcome
    return Outcome.FAILED


_BY_STATUS = {
    **dict.fromkeys((408, 409, 425, 429, 500, 502, 503, 504, 529), Outcome.TRANSIENT),
    **dict.fromkeys((401, 403), Outcome.MISCONFIGURED),
}
_BY_NAME = (
    (_DATA_NAMES, Outcome.BAD_INPUT),
    (_CONFIG_NAMES, Outcome.MISCONFIGURED),
    (_TRANSIENT_NAMES, Outcome.TRANSIENT),
)


def is_programming(failure: Failure) -> bool:
    """Whether the error is a mistake in the code: the same again gives the same."""
    return any(name.rpartition(".")[2] in _PROGRAMMING for name in failure.names or (failure.name,))


def _status_in(failure: Failure) -> int | None:
    named = ("HTTPError", "HTTPStatusError", "APIStatusError", "APIError", "MlflowException")
    if not failure.name.endswith(named):
        return None
    match = _HTTP_STATUS.search(failure.message) or re.match(r"(\d{3})\b", failure.message)
    return int(match[1]) if match else None
