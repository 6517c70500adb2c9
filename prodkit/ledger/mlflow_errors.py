"""What an error of MLflow's client means, found out in one place: wait, correct a setting, or give the record up.

Shipping acts on three kinds (`UnreachableError`, `UncertainError`, `RejectedError`), everything that a person waits for
on `ProdkitError` with its exit code. Both are made of the same `Failure`. Part of the adapter: it knows MLflow's codes,
and those of the libraries that its client stands on.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, ProdkitError, TransientError
from prodkit.ledger.patience import bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

_FINAL = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "INVALID_STATE", "NOT_FOUND"}
_LOCKED_OUT = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
_STATUS = re.compile(r"failed with error code (\d{3})|too many (\d{3}) error responses")
_TOO_LARGE = 413
_CREDENTIALS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_AGAIN = "try again in a moment; what waits is shipped by `prodkit audit sync`"
_START = "start it or correct MLFLOW_TRACKING_URI, then run `prodkit audit sync`"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why MLflow didn't do what it was asked, without any content of what was asked.

    `kind` is the error's code behind `ledger.mlflow-`; `transient` says whether the same may succeed later.
    """

    kind: str
    reason: str
    fix: str = _AGAIN
    transient: bool = True

    @property
    def words(self) -> str:
        """Why, in a few words; with the next step where that isn't to start the server or to wait for it."""
        return (
            self.reason if self.transient else f"{_WHAT[self.kind].removeprefix('MLflow ')}, {self.reason}: {self.fix}"
        )

    def while_records_wait(self, where: str) -> str:
        """A sentence for who records: what stands in the way, that nothing is lost, and the next step."""
        said = (
            f"[ledger.mlflow-{self.kind}] {_WHAT[self.kind]} ({self.reason}) at {where}; the records are safe in the "
        )
        if self.kind == "slow":
            return said + "journal and are shipped in the background, or by `prodkit audit sync`."
        return f"{said}journal. Fix: {self.fix}."

    def as_error(self, where: str) -> ProdkitError:
        """For who waits for an answer: exit code 75 where waiting helps, 78 where a setting has to be corrected."""
        error = TransientError if self.transient else ConfigError
        return error(f"ledger.mlflow-{self.kind}", f"{_WHAT[self.kind]} ({self.reason}).", where=where, fix=self.fix)


_WHAT = {
    "unreachable": "MLflow can't be reached",
    "slow": "MLflow answers too slowly to be waited for here",
    "busy": "MLflow can't answer now",
    "credentials": "MLflow doesn't let us in",
    "tls": "MLflow's certificate isn't accepted",
    "foreign": "Something else than MLflow answers at this address",
    "address": "MLflow's address can't be used",
    "failed": "MLflow failed",
    "refused": "MLflow refuses this",
}


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
        with bounded():
            yield
    except (UnreachableError, UncertainError, RejectedError):
        raise
    except Exception as error:
        failure = find_failure(error)
        if failure is None or failure.kind == "failed":
            raise UncertainError(failure.reason if failure else type(error).__name__) from error
        if failure.kind == "refused":
            raise RejectedError(failure.reason) from error
        raise UnreachableError(failure.words) from error


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn MLflow's errors into those that a person sees; any other error stays what it is.

    Args:
        where: MLflow's address, without a password.

    Raises:
        TransientError: waiting helps.
        ConfigError: a setting has to be corrected; the error names it.
    """
    try:
        yield
    except ProdkitError:
        raise
    except UnreachableError as error:
        failure = find_failure(error.__cause__) if error.__cause__ is not None else None
        raise (failure or Failure("unreachable", str(error), _START)).as_error(where) from error
    except (UncertainError, RejectedError) as error:
        kind = "failed" if isinstance(error, UncertainError) else "refused"
        raise Failure(kind, str(error), transient=kind == "failed").as_error(where) from error
    except Exception as error:
        failure = find_failure(error)
        if failure is None:
            raise
        raise failure.as_error(where) from error


def find_failure(error: BaseException) -> Failure | None:
    """What this error, or one that it was made of, says of MLflow; None for an error of somebody else."""
    chain = _chain(error)
    for one in chain:
        for find in (_of_transport, _of_status, _of_content):
            if (failure := find(one)) is not None:
                return failure
    return _of_mlflow(chain) or _of_database(chain)


def of_status(status: int) -> Failure | None:
    """What an HTTP status says that isn't MLflow's own word on a record; None for one that says nothing amiss."""
    if status < 300:  # noqa: PLR2004
        return None
    if status in {401, 403, 407}:
        return Failure("credentials", f"status {status}", _CREDENTIALS, transient=False)
    if status in {408, 425, 429} or status >= 500:  # noqa: PLR2004
        return Failure("busy", f"it answers with status {status}")
    if status == _TOO_LARGE:
        return Failure("refused", "too large for a proxy in front of it (status 413)", transient=False)
    return Failure("foreign", f"it answers with status {status}", "correct MLFLOW_TRACKING_URI", transient=False)


def not_mlflow() -> Failure:
    """What answers with a page where MLflow's client reads JSON: a maintenance page, a log-in, another service."""
    fix = "if it is a log-in page, set MLFLOW_TRACKING_TOKEN; if another service, correct MLFLOW_TRACKING_URI"
    return Failure("foreign", "it answers with a page and not with JSON", fix)


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those that it was made of, the outermost first. MLflow raises without `from`."""
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found


def _of_transport(error: BaseException) -> Failure | None:
    """From what the HTTP client says of connection, name, certificate and time."""
    import socket
    import ssl

    name = type(error).__name__
    if isinstance(error, ssl.SSLError) or name == "SSLError":
        return _of_tls(error)
    if isinstance(error, ConnectionRefusedError):
        return Failure("unreachable", "the connection was refused", _START)
    if isinstance(error, socket.gaierror) or name == "NameResolutionError":
        return Failure("unreachable", "the host's name isn't known", _START)
    if isinstance(error, TimeoutError) or name in {
        "ReadTimeout",
        "ConnectTimeout",
        "ReadTimeoutError",
        "ConnectTimeoutError",
    }:
        fix = "wait, or raise MLFLOW_HTTP_REQUEST_TIMEOUT (seconds); what waits is shipped by `prodkit audit sync`"
        return Failure("unreachable", "no answer in time", fix)
    if isinstance(error, ConnectionError):  # reset, aborted, a pipe that broke
        return Failure("unreachable", "the connection broke", _AGAIN)
    if name == "ProxyError":
        fix = "correct HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY"
        return Failure("unreachable", "the proxy on the way doesn't answer", fix)
    if name in {"InvalidURL", "MissingSchema", "InvalidSchema", "LocationParseError", "InvalidUrlException"}:
        return Failure("address", "it is no address", "correct MLFLOW_TRACKING_URI", transient=False)
    return None


def _of_tls(error: BaseException) -> Failure | None:
    if "EOF occurred" in str(error) or "UNEXPECTED_EOF" in str(error):
        return Failure("unreachable", "the connection broke", _AGAIN)
    if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER_FAILURE" in str(error):
        return Failure("tls", "it doesn't speak TLS", "say http:// in MLFLOW_TRACKING_URI", transient=False)
    if "CERTIFICATE_REQUIRED" in str(error) or "HANDSHAKE_FAILURE" in str(error):
        fix = "set MLFLOW_TRACKING_CLIENT_CERT_PATH to your certificate with its key"
        return Failure("tls", "it asks for a client's certificate", fix, transient=False)
    verify = getattr(error, "verify_message", "") or type(error).__name__
    fix = "set MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE to the file with its authority's certificate"
    return Failure("tls", str(verify), fix, transient=False)


def _of_status(error: BaseException) -> Failure | None:
    """From a status that isn't MLflow's own: of a proxy, of the log-in, of a server that is overloaded."""
    response = getattr(error, "response", None)
    if type(error).__name__ == "HTTPError" and response is not None:
        found = of_status(int(response.status_code))
        return None if found is not None and found.kind == "foreign" else found  # an artifact that isn't there
    if hasattr(error, "json") and hasattr(error, "error_code"):
        return None  # MLflow's own answer, which quotes what it was asked
    match = _STATUS.search(str(error))
    return of_status(int(match[1] or match[2])) if match else None


def _of_content(error: BaseException) -> Failure | None:
    import json

    if isinstance(error, json.JSONDecodeError) or "not in a valid JSON format" in str(error):
        return not_mlflow()
    if isinstance(error, OSError) and "invalid path" in str(error):  # a file that a setting names
        names = "MLFLOW_TRACKING_SERVER_CERT_PATH, MLFLOW_TRACKING_CLIENT_CERT_PATH and REQUESTS_CA_BUNDLE"
        return Failure("tls", "there is no file at the path that was set", f"correct {names}", transient=False)
    if isinstance(error, NotImplementedError):
        return Failure("foreign", "this version of MLflow can't do that", "upgrade the server", transient=False)
    return None


def _of_mlflow(chain: list[BaseException]) -> Failure | None:
    """From MLflow's own code."""
    for error in chain:
        code = getattr(error, "error_code", "")
        if not isinstance(code, str) or not code or type(error).__module__.split(".")[0] != "mlflow":
            continue
        if code in _LOCKED_OUT:
            return Failure("credentials", code, _CREDENTIALS, transient=False)
        if "MLFLOW_TRACKING_INSECURE_TLS" in str(error):
            fix = "unset one of MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH"
            return Failure("tls", "two settings exclude each other", fix, transient=False)
        if type(error).__name__.startswith("Unsupported") and type(error).__name__.endswith("URIException"):
            return Failure("address", "MLflow knows no such kind", "correct MLFLOW_TRACKING_URI", transient=False)
        if code in _FINAL:
            return Failure("refused", code, "see what was asked for", transient=False)
        return _of_database(chain) or Failure("failed", code)
    return None


def _of_database(chain: list[BaseException]) -> Failure | None:
    """From a database that is asked without a server."""
    for error in chain:
        text = f"{type(error).__name__}: {error}"
        room = type(error).__module__.split(".")[0]
        if "OperationalError" in text or room in {"requests", "urllib3", "sqlite3"}:
            return Failure("unreachable", _brief(text), _START)
    return None


def _brief(text: str) -> str:
    """Why, without statements or values: database errors quote what they were given."""
    for words, meaning in (
        ("database is locked", "its database is locked"),
        ("too many clients", "its database has too many clients"),
        ("refused", "the connection was refused"),
        ("password authentication failed", "its database refuses the password"),
    ):
        if words in text:
            return meaning
    if "disk" in text and "full" in text:
        return "its disk is full"
    return text.split(":", 1)[0]
