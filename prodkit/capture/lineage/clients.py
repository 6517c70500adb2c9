"""Clients of file systems, databases and HTTP: what their calls say of what they read and write."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from prodkit.capture.lineage import databases, http, sight
from prodkit.capture.lineage.sql import places_in
from prodkit.capture.lineage.wrappers import wrap

if TYPE_CHECKING:
    from collections.abc import Callable


def _patch_fsspec(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        path = args[1] if len(args) > 1 else kwargs.get("path")
        mode = (args[2] if len(args) > 2 else kwargs.get("mode", "rb")) or "rb"  # noqa: PLR2004
        place = args[0].unstrip_protocol(path)
        if place.startswith(("http://", "https://")):
            http.see_request("GET", place, "fsspec")
        elif not place.startswith("memory://"):
            sight.see_place(place, "input" if "r" in mode else "output", "fsspec")

    wrap(module.AbstractFileSystem, "open", note)


def _patch_duckdb(module: Any) -> None:
    def note_statement(connection: Any, statement: Any) -> None:
        if not isinstance(statement, str):
            return
        for text, target in places_in(statement):
            place = text.partition("?")[0]
            if "." in place and not any(letter.isspace() for letter in place):
                sight.see_place(place, "output" if target else "input", "duckdb")
        databases.see_duckdb(connection, statement)

    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        note_statement(args[0], args[1] if len(args) > 1 else kwargs.get("query"))

    def note_default(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        connection = kwargs.get("connection") or module.default_connection()
        note_statement(connection, args[0] if args else kwargs.get("query"))

    def note_table(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        name = args[1] if len(args) > 1 else next(iter(kwargs.values()), "")
        databases.see_duckdb(args[0], f'FROM "{name}"')

    for name in ("sql", "query", "execute", "from_query"):
        wrap(module, name, note_default, seen_through=True)
        wrap(module.DuckDBPyConnection, name, note, seen_through=True)
    for name in ("table", "view"):
        wrap(module.DuckDBPyConnection, name, note_table, seen_through=True)


def _patch_pandas_sql(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = args[0] if args else kwargs.get("sql")
        connection = args[1] if len(args) > 1 else kwargs.get("con")
        databases.see_cursor(connection, statement, "pandas.read_sql")

    for name in ("read_sql", "read_sql_query"):
        wrap(module, name, note)


def _patch_sqlite(module: Any) -> None:
    def note(_args: tuple[Any, ...], _kwargs: dict[str, Any], connection: Any) -> None:
        databases.trace_sqlite(connection)

    wrap(module, "connect", note)


def _patch_polars_sql(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = args[0] if args else kwargs.get("query")
        address = args[1] if len(args) > 1 else kwargs.get("uri")
        if isinstance(address, str):
            for one in statement if isinstance(statement, list) else [statement]:
                databases.see_statement(databases.base_of_url(address), str(one), "polars.read_database_uri")

    wrap(module, "read_database_uri", note)


def _patch_psycopg2(module: Any) -> None:
    """A cursor of psycopg2 is a type of C: its connections get a cursor that tells what it executes."""

    class Telling:
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            found = super().execute(query, *args, **kwargs)  # type: ignore[misc]
            _see_psycopg2(self, query)
            return found

        def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            found = super().executemany(query, *args, **kwargs)  # type: ignore[misc]
            _see_psycopg2(self, query)
            return found

    telling = functools.cache(lambda kind: type(kind.__name__, (Telling, kind), {}))

    def note(_args: tuple[Any, ...], _kwargs: dict[str, Any], connection: Any) -> None:
        kind = connection.cursor_factory or module.extensions.cursor
        if not issubclass(kind, Telling):
            connection.cursor_factory = telling(kind)

    wrap(module, "connect", note)


def _see_psycopg2(cursor: Any, query: Any) -> None:
    with contextlib.suppress(Exception):  # a missed read is less than a broken one
        if sight.is_watched():
            statement = query.decode() if isinstance(query, bytes) else query
            databases.see_cursor(
                cursor.connection, statement if isinstance(statement, str) else query.as_string(cursor)
            )


def _patch_psycopg(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = args[1] if len(args) > 1 else kwargs.get("query", "")
        statement = statement.decode() if isinstance(statement, bytes) else statement
        composed = getattr(statement, "as_string", None)  # `psycopg.sql` composes statements of parts
        databases.see_cursor(args[0].connection, composed(args[0]) if composed is not None else statement)

    for name in ("Cursor", "AsyncCursor"):
        for method in ("execute", "executemany", "stream"):
            wrap(getattr(module, name), method, note)


def _patch_pymysql(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        databases.see_cursor(args[0].connection, args[1] if len(args) > 1 else kwargs.get("query"))

    wrap(module.Cursor, "execute", note)


def _patch_requests(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        request = args[1] if len(args) > 1 else kwargs["request"]
        http.see_request(request.method, request.url)

    wrap(module.Session, "send", note)


def _patch_httpx(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        request = args[1] if len(args) > 1 else kwargs["request"]
        http.see_request(request.method, str(request.url))

    for name in ("Client", "AsyncClient"):
        wrap(getattr(module, name), "send", note)


def _patch_aiohttp(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        method = args[1] if len(args) > 1 else kwargs["method"]
        address = args[2] if len(args) > 2 else kwargs["str_or_url"]  # noqa: PLR2004
        http.see_request(str(method), str(address))

    wrap(module.ClientSession, "_request", note)


PATCHES: dict[str, Callable[[Any], None]] = {
    "fsspec.spec": _patch_fsspec,
    "duckdb": _patch_duckdb,
    "pandas": _patch_pandas_sql,
    "polars": _patch_polars_sql,
    "sqlite3": _patch_sqlite,
    "sqlite3.dbapi2": _patch_sqlite,
    "psycopg": _patch_psycopg,
    "psycopg2": _patch_psycopg2,
    "pymysql.cursors": _patch_pymysql,
    "sqlalchemy": databases.watch_sqlalchemy,
    "requests.sessions": _patch_requests,
    "httpx": _patch_httpx,
    "httpx2": _patch_httpx,
    "aiohttp.client": _patch_aiohttp,
}
