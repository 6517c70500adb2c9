"""MLflow's errors, reduced to the three that shipping acts on. Part of the adapter: it knows MLflow's codes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FINAL = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "INVALID_STATE", "NOT_FOUND"}


class UnreachableError(Exception):
    """MLflow doesn't answer or can't write now; the same call may succeed later."""


class UncertainError(Exception):
    """MLflow failed inside; whether the record or the server is at fault isn't known."""


class RejectedError(Exception):
    """MLflow will never take this."""


@contextmanager
def told() -> Iterator[None]:
    """Turn MLflow's errors into the three that shipping acts on."""
    try:
        yield
    except (UnreachableError, UncertainError, RejectedError):
        raise
    except TimeoutError as error:
        raise UnreachableError(str(error)) from error
    except Exception as error:
        raise _translate(error) from error


def _translate(error: Exception) -> Exception:
    from mlflow.exceptions import MlflowException

    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MlflowException):
        if error.error_code in _FINAL:
            return RejectedError(error.error_code)
        if "OperationalError" in text or "Max retries exceeded" in text or "timed out" in text.lower():
            return UnreachableError(_brief(text))
        return UncertainError(error.error_code)
    if isinstance(error, NotImplementedError):
        return UnreachableError(_brief(text))
    if type(error).__module__.split(".")[0] in {"requests", "urllib3", "sqlite3"} or "OperationalError" in text:
        return UnreachableError(_brief(text))
    return UncertainError(type(error).__name__)


def _brief(text: str) -> str:
    """Why, without statements or values: database errors quote what they were given."""
    if "database is locked" in text:
        return "its database is locked"
    if "disk" in text and "full" in text:
        return "its disk is full"
    if "too many clients" in text:
        return "its database has too many clients"
    if "refused" in text:
        return "the connection was refused"
    return text.split(":", 1)[0]
