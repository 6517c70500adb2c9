"""What database drivers read and write: host, database and table, never a password and never a value."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from weakref import WeakKeyDictionary

from prodkit.capture.lineage import places, sight
from prodkit.capture.lineage.sql import tables_of

_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}
_DUCKDB_TABLES = (
    "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
)


def see_statement(base: str, statement: str, kind: str) -> None:
    """Tell of the tables of a statement on the database `base`."""
    if not base or places.is_internal(base.removeprefix("sqlite://")):
        return
    tables = tables_of(statement)
    for name in tables.read:
        sight.see(sight.Access(f"{base}#{name}", "input", kind))
    for name in tables.written:
        sight.see(sight.Access(f"{base}#{name}", "output", kind))


def address(dialect: str, host: str | None, port: Any, database: str | None) -> str:
    """`postgresql://host:5432/database`; for SQLite the absolute path of its file."""
    if dialect in {"sqlite", "duckdb"}:
        path = str(database or "")
        if path.startswith("file:"):  # SQLite's own URLs, whose options may hold a key
            path = unquote(urlsplit(path).path)
        is_file = path and not path.startswith(":memory:")
        return f"{dialect}://{os.path.abspath(path)}" if is_file else ""  # noqa: PTH100
    machine = "localhost" if not host or host.startswith("/") else host  # a path is a socket of this machine
    door = port or _PORTS.get(dialect)
    return f"{dialect}://{machine}{f':{door}' if door else ''}/{quote(database or '', safe='')}"


def base_of_url(url: str) -> str:
    """The address of a database by its URL, however that is written: driver, password and options left out."""
    parts = urlsplit(url)
    dialect = parts.scheme.lower().partition("+")[0]
    dialect = "postgresql" if dialect == "postgres" else dialect
    path = unquote(parts.path)
    if dialect in {"sqlite", "duckdb"}:
        return f"{dialect}:///{path.lstrip('/')}" if path.startswith("//") else address(dialect, None, None, path[1:])
    try:
        port = parts.port
    except ValueError:
        port = None
    said = parse_qs(parts.query)
    host, database = parts.hostname or said.get("host", [None])[0], path.lstrip("/")
    if host is None and "odbc_connect" in said:
        host, port, database = _odbc(said["odbc_connect"][0])
    return address(dialect, host, port, database)


def base_of_engine(url: Any) -> str:
    """The address of a database by a `URL` of SQLAlchemy."""
    host, port, database = url.host, url.port, url.database
    if host is None and "odbc_connect" in url.query:
        host, port, database = _odbc(str(url.query["odbc_connect"]))
    host = host or url.query.get("host")
    dialect = url.get_backend_name()
    dialect = "postgresql" if dialect == "postgres" else dialect
    return address(dialect, str(host) if host else None, port or url.query.get("port"), database)


def _odbc(text: str) -> tuple[str | None, int | None, str]:
    """Server, port and database of an ODBC connection string."""
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    said = {name.strip().lower(): value.strip().strip("{}") for name, _, value in pairs}
    host, _, port = said.get("server", "").removeprefix("tcp:").partition(",")
    return host or None, int(port) if port.isdigit() else None, said.get("database", "")


def watch_sqlalchemy(module: Any) -> None:
    """Listen to all engines of SQLAlchemy."""

    def before_execute(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if sight.is_watched():
            see_statement(base_of_engine(connection.engine.url), statement, "sql")

    module.event.listen(module.engine.Engine, "before_cursor_execute", before_execute)


def trace_sqlite(connection: Any) -> None:
    """Follow the statements of a connection of the standard library."""
    rows = connection.execute("PRAGMA database_list").fetchall()
    base = address("sqlite", None, None, rows[0][2] or None) if rows else ""
    if not base or places.is_internal(base.removeprefix("sqlite://")):
        return

    def trace(statement: str) -> None:
        if sight.is_watched():
            see_statement(base, statement, "sql")

    connection.set_trace_callback(trace)


def see_duckdb(connection: Any, statement: str) -> None:
    """Tell of the tables of a database file of DuckDB; frames and files that a statement names aren't its tables."""
    base = _base_of_duckdb(connection)
    if not base or places.is_internal(base.removeprefix("duckdb://")):
        return
    tables = tables_of(statement)
    if tables.read:  # a second connection to the same database: the user's own may be reading a result
        found = connection.cursor().execute(_DUCKDB_TABLES).fetchall()
        there = {str(name).lower() for (name,) in found}
        for name in tables.read:
            if name.rpartition(".")[2].lower() in there:
                sight.see(sight.Access(f"{base}#{name}", "input", "duckdb"))
    for name in tables.written:
        sight.see(sight.Access(f"{base}#{name}", "output", "duckdb"))


def _base_of_duckdb(connection: Any) -> str:
    """The address of the file that a connection was opened with; asked once."""
    if connection not in _duckdb:
        asked = "SELECT path FROM duckdb_databases() WHERE NOT internal ORDER BY database_oid LIMIT 1"
        row = connection.cursor().execute(asked).fetchone()
        _duckdb[connection] = address("duckdb", None, None, row[0] if row else None)
    return _duckdb[connection]


_duckdb: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def see_cursor(connection: Any, statement: Any, kind: str = "sql") -> None:
    """Tell of a statement on any DB-API connection, as far as the connection says what it is connected to."""
    if isinstance(statement, str):
        see_statement(base_of(connection), statement, kind)


def base_of(connection: Any) -> str:
    """The address of a DB-API connection; empty when it doesn't tell."""
    module = type(connection).__module__.split(".")[0]
    if module == "sqlite3":
        rows = connection.execute("PRAGMA database_list").fetchall()
        return address("sqlite", None, None, rows[0][2] or None) if rows else ""
    info = getattr(connection, "info", None)
    if module in {"psycopg", "psycopg2"} and info is not None:
        return address("postgresql", info.host, info.port, info.dbname)
    host, database = getattr(connection, "host", None), getattr(connection, "db", None)
    if isinstance(host, str):
        name = database.decode() if isinstance(database, bytes) else database
        return address(module, host, getattr(connection, "port", None), name if isinstance(name, str) else None)
    return ""
