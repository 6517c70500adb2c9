"""Whether MLflow answers at all, found out in a second or two and without importing it."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def public_uri(uri: str) -> str:
    """The address without a user's name and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]))


def probe(uri: str, timeout: float = 1.5) -> str:
    """Why nothing answers there; empty when something does (or when only MLflow itself can tell)."""
    parts = urlsplit(uri)
    kind = parts.scheme.split("+")[0]
    if kind not in _PORTS:
        return ""
    try:
        host, port = parts.hostname or "", parts.port or _PORTS[kind]
    except ValueError:
        return "the port is no number"
    if kind in {"http", "https"}:
        return _probe_http(uri, timeout)
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        return _reason(error)
    return ""


def _probe_http(uri: str, timeout: float) -> str:
    request = urllib.request.Request(public_uri(uri).rstrip("/") + "/health", method="GET")  # noqa: S310  scheme is checked
    try:
        answer: list[str] = [f"no answer within {timeout:g} s"]

        def ask() -> None:
            answer[0] = _ask(request, timeout)

        # the socket's timeout starts anew with every byte and doesn't cover DNS; a thread gives one deadline
        thread = threading.Thread(target=ask, daemon=True, name="prodkit-probe")
        thread.start()
        thread.join(timeout)
        return answer[0]
    except RuntimeError:  # the interpreter is ending and starts no thread
        return "the process is ending"


def _ask(request: urllib.request.Request, timeout: float) -> str:
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=timeout):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        # a proxy that guards the server answers 401 or 403 or redirects; somebody is there
        return "" if error.code < 500 else f"it answers with status {error.code}"  # noqa: PLR2004
    except urllib.error.URLError as error:
        return _reason(error.reason)
    except OSError as error:
        return _reason(error)
    except ValueError:
        return "the address can't be read"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        return None


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, socket.gaierror):
        return "the host's name isn't known"
    return str(getattr(error, "strerror", None) or error)


def within(seconds: float, act: Callable[[], Any]) -> tuple[bool, Any]:
    """Do it in the background and wait for it that long: (whether it is done, its result).

    What isn't done in time goes on in its thread; an exception is raised here when it comes in time.
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
