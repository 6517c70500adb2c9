"""Clients of file systems, databases and HTTP: what their calls say of what they read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.capture.lineage import databases, http, sight
from prodkit.capture.lineage.sql import literals
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
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = next(
            (arg for arg in (*args[:2], kwargs.get("query"), kwargs.get("sql")) if isinstance(arg, str)), ""
        )
        for text in literals(statement):
            if "." in text and not any(letter.isspace() for letter in text):
                context = "output" if _is_target(statement, text) else "input"
                sight.see_place(text, context, "duckdb")

    def note_connect(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        database = str(args[0] if args else kwargs.get("database", ":memory:"))
        if not database.startswith(":"):
            sight.see_place(database, "input", "duckdb")

    for name in ("sql", "query", "execute", "from_query"):
        wrap(module, name, note)
        wrap(module.DuckDBPyConnection, name, note)
    wrap(module, "connect", note_connect)


def _is_target(statement: str, text: str) -> bool:
    before = statement.partition(text)[0].rstrip("'\" ").lower()
    return before.endswith(" to")


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


def _patch_psycopg(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = args[1] if len(args) > 1 else kwargs.get("query", "")
        databases.see_cursor(args[0].connection, statement.decode() if isinstance(statement, bytes) else statement)

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
    "sqlite3": _patch_sqlite,
    "sqlite3.dbapi2": _patch_sqlite,
    "psycopg": _patch_psycopg,
    "pymysql.cursors": _patch_pymysql,
    "sqlalchemy": databases.watch_sqlalchemy,
    "requests.sessions": _patch_requests,
    "httpx": _patch_httpx,
    "httpx2": _patch_httpx,
    "aiohttp.client": _patch_aiohttp,
}
