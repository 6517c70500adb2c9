"""MLflow's client with MLflow's own settings, and the only way here to ask it for more than one thing.

A server answers in pages and refuses a page that is too large (500 traces, 50,000 runs), which a SQL
store behind the same client doesn't. Everything that is searched for goes through `pages`, which knows those limits,
so that nothing works against a file alone and nothing is cut off in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RUNS, TRACES, VERSIONS = 1000, 500, 1000
"""Entries a page: never more than any MLflow server gives."""
_IS_PROMPT = "tag.`mlflow.prompt.is_prompt` = 'true'"


def open_client(uri: str) -> Any:
    """MLflow's client of this address: credentials, certificates, proxies and time-outs are those that MLflow reads.

    The address is always said, so that the user's own `mlflow.set_tracking_uri` is neither asked nor touched.
    """
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


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


def search_versions(client: Any, name: str, *, most: int | None = None) -> list[Any]:
    """The versions of a prompt, newest first; none when there is no such prompt."""
    from mlflow.exceptions import MlflowException

    def ask(**page: Any) -> Any:
        return client.search_prompt_versions(name, **page)

    try:
        return list(pages(ask, size=VERSIONS, most=most))
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
            return []
        raise


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
