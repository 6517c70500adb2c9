"""Runs inside a job's kernel, on request of the engine: what the last error was. Imports nothing heavy."""

from __future__ import annotations

import json
import sys

from prodkit.jobs import mlflow_faults

EXPRESSION = "__import__('prodkit.jobs.probe', fromlist=['describe']).describe()"
_ROOTS = (Exception, BaseException, object)


def describe() -> str:
    """The last uncaught error as JSON: class names of itself and its explicit causes, exit code, HTTP status."""
    error = getattr(sys, "last_value", None)
    names: list[str] = []
    found: dict[str, object] = {"names": names, "exit_code": None, "http_status": None}
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        own = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__ if kind not in _ROOTS]
        names += own
        if "prodkit.errors.ProdkitError" in own:
            _note(found, "exit_code", getattr(error, "exit_code", None))
        _note(found, "http_status", _status(error, own))
        error = mlflow_faults.behind(error, own)
    return json.dumps(found)


def _note(found: dict[str, object], key: str, value: object) -> None:
    if found[key] is None and isinstance(value, int):
        found[key] = value


def _status(error: BaseException, names: list[str]) -> object:
    """`status_code` of the SDKs, or of the response that requests and httpx hang on the error; MLflow has its own."""
    own = getattr(error, "status_code", None)
    if own is None:
        own = mlflow_faults.status_of(error, names)
    return own if own is not None else getattr(getattr(error, "response", None), "status_code", None)
