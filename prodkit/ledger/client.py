"""MLflow's client with MLflow's own settings, and the only way here to ask it for more than one thing.

A server answers in pages and refuses a page that is too large (500 traces, 50,000 runs), which a SQL
store behind the same client doesn't. Everything that is searched for goes through `pages`, which knows those limits,
so that nothing works against a file alone and nothing is cut off in silence.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from prodkit.ledger.mlflow_errors import Failure, explained, find_failure, not_mlflow, of_status
from prodkit.ledger.patience import answer_seconds, bounded
from prodkit.ledger.reach import find_obstacle, is_server, public_uri, within
from prodkit.ledger.relocation import settle_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RUNS, TRACES, VERSIONS = 1000, 500, 1000
"""Entries a page: never more than any MLflow server gives."""
_CONNECT = 5.0  # seconds until a host that is there has taken the connection
_SLOW = 3.0
_FRESH = 10.0  # seconds for which an answer says that the server is there
_QUESTION = "/api/2.0/mlflow/experiments/search"
_IMPORT = 60.0  # seconds that the first import of MLflow may take, on a machine that is busy
_IS_PROMPT = "tag.`mlflow.prompt.is_prompt` = 'true'"


_named_slow: set[str] = set()
_answered: dict[str, float] = {}  # address -> when it has answered
_opened = [""]  # the address that was asked last


def open_client(uri: str) -> Any:
    """MLflow's client of this address: credentials, certificates, proxies and time-outs are those that MLflow reads.

    The address is always said, so that the user's own `mlflow.set_tracking_uri` is neither asked nor touched.
    """
    from mlflow import MlflowClient

    if settle_uri(uri) or _opened[0] != uri:
        forget_places_of_artifacts()
        _opened[0] = uri
    return MlflowClient(uri, registry_uri=uri)


def forget_places_of_artifacts() -> None:
    """MLflow remembers by a run's id alone where its files lie; a copy of a project has the same ids elsewhere."""
    from mlflow.tracking._tracking_service import utils

    getattr(utils, "_artifact_repos_cache", {}).clear()


@contextmanager
def asking(uri: str) -> Iterator[Any]:
    """MLflow's client for an act that somebody waits for: it fails within seconds, and says what can be done.

    Raises:
        TransientError: `ledger.mlflow-unreachable` and its like: waiting helps.
        ConfigError: a setting has to be corrected, and is named.
    """
    with explained(public_uri(uri)), bounded():
        check(uri)
        yield open_client(uri)


def check(uri: str) -> None:
    """Raise what stands between us and this MLflow, as an error for a person; nothing when it answers.

    A slow server is waited for as long as MLflow's own setting says, and named as the reason.
    """
    begun = time.monotonic()
    failure = find_obstacle(uri)
    if failure is not None:
        raise failure.as_error(public_uri(uri))
    if (waited := time.monotonic() - begun) > _SLOW and uri not in _named_slow:
        _named_slow.add(uri)
        said = "MLflow at %s takes %.0f s for an answer; this waits for several of them."
        logging.getLogger("prodkit").warning(said, public_uri(uri), waited)


def ask_server(uri: str, patience: float | None = None) -> Failure | None:
    """Why a server can't be used now, asked through MLflow's own session; None when it answers as MLflow does.

    Args:
        uri: an address that begins with http:// or https://.
        patience: seconds in all, names and handshakes included; None waits as long as MLflow's client would for one
            answer, and takes a server that has just answered for one that is there.
    """
    if patience is None:
        if time.monotonic() - _answered.get(uri, -_FRESH) < _FRESH:
            return None
        return _ask(uri, answer_seconds())
    if "mlflow.tracking" not in sys.modules and _is_refused(uri, patience):
        return Failure("unreachable", "the connection was refused")  # known without an import that takes seconds
    try:
        within(_IMPORT, lambda: __import__("mlflow.tracking"))
        done, failure = within(patience, lambda: _ask(uri, patience))
    except RuntimeError:  # the interpreter is ending and starts no thread
        return Failure("unreachable", "the process is ending")
    return failure if done else Failure("slow", f"no answer within {patience:g} s")


def _is_refused(uri: str, seconds: float) -> bool:
    """Whether nothing listens there; False where only MLflow's own client can tell, as behind a proxy."""
    parts = urlsplit(uri)
    if any(getproxies().get(kind) for kind in (parts.scheme, "all")):
        return False
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        socket.create_connection((parts.hostname or "", port), seconds).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return False


def _ask(uri: str, seconds: float) -> Failure | None:
    try:
        from mlflow.utils.rest_utils import http_request

        answer = http_request(
            open_client(uri)._tracking_client.store.get_host_creds(),  # noqa: SLF001  no other way to all its settings
            _QUESTION,
            "GET",
            params={"max_results": 1},
            timeout=(min(_CONNECT, seconds), seconds),
            max_retries=0,
            raise_on_status=False,
        )
        failure = of_status(answer.status_code)
        if failure is None and not isinstance(_json(answer), dict):
            failure = not_mlflow()
    except Exception as error:
        failure = find_failure(error) or Failure("failed", type(error).__name__)
    if failure is None:
        _answered[uri] = time.monotonic()
    else:
        _answered.pop(uri, None)
    return failure


def _json(answer: Any) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def pages(ask: Callable[..., Any], *, size: int, most: int | None = None) -> Iterator[Any]:
    """All entries that MLflow has, page after page.

    Args:
        ask: takes `max_results` and `page_token`, gives one page with a `token`.
        size: entries a page, at most what the server allows.
        most: entries in all; None gives every one.
    """
    token, given = None, 0
    while most is None or given < most:
        wanted = size if most is None else min(size, most - given)
        page = ask(max_results=wanted, page_token=token)
        yield from page[:wanted]
        given += len(page)
        if not page.token or page.token == token:
            return
        token = page.token


def search_runs(
    client: Any, experiments: Sequence[str], condition: str = "", *, newest: bool = False, most: int | None = None
) -> list[Any]:
    """The runs that meet a condition in MLflow's own words, oldest first unless `newest`."""
    order = [f"attributes.start_time {'DESC' if newest else 'ASC'}"]

    def ask(**page: Any) -> Any:
        return client.search_runs(list(experiments), condition, order_by=order, **page)

    return list(pages(ask, size=RUNS, most=most))


def search_traces(client: Any, experiments: Sequence[str], condition: str) -> Iterator[Any]:
    """The traces that meet a condition, without their spans."""

    def ask(**page: Any) -> Any:
        return client.search_traces(locations=list(experiments), filter_string=condition, include_spans=False, **page)

    return pages(ask, size=TRACES)


def found_or_none(ask: Callable[[], Any]) -> Any:
    """What MLflow gives, None where it says that there is no such thing; any other error stays one."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        failure = find_failure(error)
        if failure is None or failure.kind != "refused":
            raise
        return None


def search_versions(client: Any, name: str, *, most: int | None = None) -> list[Any]:
    """The versions of a prompt, newest first; none when there is no such prompt."""

    def ask(**page: Any) -> Any:
        return client.search_prompt_versions(name, **page)

    return found_or_none(lambda: list(pages(ask, size=VERSIONS, most=most))) or []


def newest_versions(client: Any) -> dict[str, int]:
    """Name -> newest version of every prompt in the registry; read with one search over all versions."""

    def ask(**page: Any) -> Any:
        return client.search_model_versions(_IS_PROMPT, **page)

    newest: dict[str, int] = {}
    for one in pages(ask, size=VERSIONS):
        newest[one.name] = max(newest.get(one.name, 0), int(one.version))
    return newest


def files_below(client: Any, run_id: str, folder: str = "") -> Iterator[Any]:
    """All files among a run's artifacts, at any depth, as MLflow describes them (`path`, `file_size`)."""
    folders = [folder]
    while folders:
        for item in client.list_artifacts(run_id, folders.pop() or None):
            if item.is_dir:
                folders.append(item.path)
            else:
                yield item


def is_whole(client: Any, run_id: str, path: str, size: int) -> bool:
    """Whether an artifact lies there with this many bytes: MLflow's client takes any page with status 200 for it."""
    if not is_server(client.tracking_uri):
        return True
    sizes = {item.path: item.file_size for item in client.list_artifacts(run_id, path.rpartition("/")[0] or None)}
    return path in sizes and sizes[path] in {None, size}
