"""One resilience layer around a call: retry, deadline, circuit breaker, fallback, and an honest result.

Put it around a function of your own with `resilient`, or around a client's request with `run_call`, `arun_call`,
`run_stream` and `arun_stream` and the `Policy` of the manifest. There must be no other retry layer inside: switch the
SDK's own off (`max_retries=0`).
"""

from prodkit.resilience.answers import inspect_chunk, validate_response, validator
from prodkit.resilience.breaker import Breaker, BreakerSettings, BreakerState
from prodkit.resilience.call import (
    AnswerError,
    Call,
    Chunk,
    DeadlineError,
    FullError,
    OpenError,
    ResilienceError,
    Served,
    StreamError,
)
from prodkit.resilience.classify import classify
from prodkit.resilience.decorator import resilient
from prodkit.resilience.failures import Failure, FailureClass
from prodkit.resilience.policy import Commit, Policy, Target
from prodkit.resilience.run import arun_call, run_call
from prodkit.resilience.streams import StreamRestart, abegin_stream, arun_stream, begin_stream, run_stream

__all__ = [
    "AnswerError",
    "Breaker",
    "BreakerSettings",
    "BreakerState",
    "Call",
    "Chunk",
    "Commit",
    "DeadlineError",
    "Failure",
    "FailureClass",
    "FullError",
    "OpenError",
    "Policy",
    "ResilienceError",
    "Served",
    "StreamError",
    "StreamRestart",
    "Target",
    "abegin_stream",
    "arun_call",
    "arun_stream",
    "begin_stream",
    "classify",
    "inspect_chunk",
    "resilient",
    "run_call",
    "run_stream",
    "validate_response",
    "validator",
]
