"""Addresses without their secrets, and whether something answers there."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.ledger.mlflow_errors import Failure

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def public_uri(uri: str) -> str:
    """The address without a user's name and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]))


def is_server(uri: str) -> bool:
    """Whether an MLflow server is asked, and not a file or a database."""
    return uri.startswith(("http://", "https://"))


def find_obstacle(uri: str, patience: float | None = None) -> Failure | None:
    """Why MLflow can't be used there now; None when it can, or when only MLflow itself can tell.

    A server is asked by MLflow's own client, with its credentials, certificates and proxies. A database's port is
    looked at.

    Args:
        uri: MLflow's tracking address.
        patience: seconds in all; by default a few to connect and as many for the answer as MLflow's own setting says.
    """
    if is_server(uri):
        from prodkit.ledger.client import ask_server

        return ask_server(uri, patience)
    return _look_at_port(uri, patience or 5.0)


def probe(uri: str, patience: float | None = None) -> str:
    """As `find_obstacle`, as a few words; empty when nothing is amiss."""
    failure = find_obstacle(uri, patience)
    return failure.words if failure is not None else ""


def _look_at_port(uri: str, patience: float) -> Failure | None:
    from prodkit.ledger.mlflow_errors import Failure, find_failure

    parts = urlsplit(uri)
    kind = parts.scheme.split("+")[0]
    if kind not in _PORTS or not parts.hostname or "," in parts.netloc or "host=" in parts.query:
        return None
    try:
        socket.create_connection((parts.hostname, parts.port or _PORTS[kind]), patience).close()
    except ValueError:
        return Failure("address", "the port is no number", "correct MLFLOW_TRACKING_URI", transient=False)
    except OSError as error:
        return find_failure(error) or Failure("unreachable", str(error.strerror or error))
    return None


def within(seconds: float, act: Callable[[], Any]) -> tuple[bool, Any]:
    """Do it in the background and wait for it that long: (whether it is done, its result).

    What isn't done in time goes on in its thread; an exception is raised here when it comes in time.

    Raises:
        RuntimeError: the interpreter is ending and starts no thread.
    """
    done = threading.Event()
    outcome: list[Any] = [None, None]

    def work() -> None:
        try:
            outcome[0] = act()
        except BaseException as error:
            outcome[1] = error
        finally:
            done.set()

    threading.Thread(target=work, daemon=True, name="prodkit-ledger").start()
    if not done.wait(seconds):
        return False, None
    if outcome[1] is not None:
        raise outcome[1]
    return True, outcome[0]
