"""Runs inside a job's kernel: whether an error of MLflow's own client means that its server is away.

MLflow says most of it in one class, whose default code is that of a fault inside of the server: so what the server has
answered, and what the network did, are told apart from what a call was given. Imports nothing heavy.
"""

from __future__ import annotations

import re

_BASE, _ANSWER = "mlflow.exceptions.MlflowException", "mlflow.exceptions.RestException"
_UNSAID = "INTERNAL_ERROR"  # also what MLflow calls an error that has no code of its own
_ANSWERED = re.compile(r"failed with error code (\d{3})\b")
_NOT_MLFLOW = "the response body was not in a valid JSON format"  # a page of something that stands before the server
_BAD_GATEWAY, _BAD_REQUEST = 502, 400
_STATUS = {
    _UNSAID: 500,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "RESOURCE_EXHAUSTED": 429,
    "ABORTED": 503,
    "CANCELLED": 503,
    "PERMISSION_DENIED": 403,
    "CUSTOMER_UNAUTHORIZED": 401,
    "UNAUTHENTICATED": 401,
}


def status_of(error: BaseException, names: list[str]) -> int | None:
    """The HTTP status that an error of MLflow's stands for; None when another error behind it says more.

    Args:
        error: the error.
        names: its classes and their bases, with their modules.
    """
    if _BASE not in names:
        return None
    text, code = str(error), str(getattr(error, "error_code", _UNSAID))
    if answered := _ANSWERED.search(text):
        return int(answered[1])
    if _NOT_MLFLOW in text:
        return _BAD_GATEWAY
    if code != _UNSAID or _ANSWER in names:
        return _STATUS.get(code, _BAD_REQUEST)
    return None


def behind(error: BaseException, names: list[str]) -> BaseException | None:
    """What an error comes of: MLflow and the libraries below it don't always name it as their cause."""
    if error.__cause__ is not None:
        return error.__cause__
    libraries = ("mlflow.", "requests.", "urllib3.")
    return error.__context__ if names and names[0].startswith(libraries) else None
