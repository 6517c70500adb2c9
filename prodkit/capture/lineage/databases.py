"""What database drivers read and write: host, database and table, never a password and never a value."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from prodkit.capture.lineage import places, sight
from prodkit.capture.lineage.sql import tables_of

_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}


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
    if dialect == "sqlite":
        is_file = database and database != ":memory:" and not str(database).startswith("file::memory:")
        return f"sqlite://{os.path.abspath(str(database))}" if is_file else ""  # noqa: PTH100
    machine = "localhost" if not host or host.startswith("/") else host  # a path is a socket of this machine
    door = port or _PORTS.get(dialect)
    return f"{dialect}://{machine}{f':{door}' if door else ''}/{quote(database or '', safe='')}"


def watch_sqlalchemy(module: Any) -> None:
    """Listen to all engines of SQLAlchemy."""

    def before_execute(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if sight.is_watched():
            url = connection.engine.url
            base = address(url.get_backend_name(), url.host, url.port, url.database)
            see_statement(base, statement, "sql")

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
