"""A PostgreSQL server that several machines share: one connection a process, one schema a project.

Writers of one store exclude each other by an advisory lock that ends with their transaction, so nothing depends on the
session and a pooler may stand in between. A transaction that is cut off is tried again for some seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, TransientError, missing_extra
from prodkit.stores.address import without_password
from prodkit.stores.database import Row, T, newer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import psycopg

    from prodkit.stores.database import Schema, Transaction

PATIENCE = 10.0  # seconds in which a server that went away may come back
_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_NAME_BYTES = 63  # of PostgreSQL's names
_CONNECTING = {
    "connect_timeout": "5",
    "application_name": "prodkit",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# A writer that hangs in the middle of a transaction loses it, and with it the lock that keeps others waiting.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED {mode}; SET LOCAL lock_timeout = '15s'; SET LOCAL statement_timeout = '30s';"
    " SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL search_path = {schema}; {lock}"
    " SELECT extract(epoch FROM clock_timestamp())::float8"
)
_REFUSALS = ("password", "authentication", "no pg_hba.conf entry", 'database "', 'role "', "permission denied")
_LASTING = frozenset({"25006", "25P03"})  # a standby that isn't promoted yet; a transaction that hung

_queue = threading.Lock()  # one transaction at a time in a process: the server lets no more in anyway
_connections: dict[str, tuple[psycopg.Connection[Any], set[str]]] = {}  # with the stores whose tables were looked at


def _before_fork() -> None:
    _queue.acquire()
    _close_all()


def _after_fork_in_parent() -> None:
    _queue.release()


def _after_fork_in_child() -> None:
    global _queue  # noqa: PLW0603  the old one is held by a thread that isn't there any more
    _queue = threading.Lock()


def _close_all() -> None:
    while _connections:
        _connections.popitem()[1][0].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_close_all)


class PostgresDatabase:
    """The tables of one store of one project.

    Args:
        url: the server and its database.
        project: the service's name; projects of one database don't see each other.
        schema: the store's tables; made or brought up to date at the first use.
        patience: seconds in which a server that went away may come back.
    """

    shared = True

    def __init__(self, url: str, project: str, schema: Schema, *, patience: float = PATIENCE) -> None:
        self.url, self.schema, self.patience = url, schema, patience
        self.where = without_password(url)
        self.namespace = _namespace(project)
        self.name = f"{self.where} {self.namespace}"
        lock = f"SELECT pg_advisory_xact_lock({_number(self.namespace, schema.name)});"
        self._writing = _BEGIN.format(mode="READ WRITE", schema=_quoted(self.namespace), lock=lock)
        self._reading = _BEGIN.format(mode="READ ONLY", schema=_quoted(self.namespace), lock="")

    def write(self, work: Callable[[Transaction], T], *, patience: float | None = None) -> T:
        """One transaction that excludes other writers of this store, on all machines."""
        return self._do(self._writing, work, self.patience if patience is None else patience)

    def read(self, work: Callable[[Transaction], T]) -> T:
        """One transaction that only reads."""
        return self._do(self._reading, work, self.patience)

    def look(self) -> tuple[bool, bool]:
        """Whether the project's schema is there, and whether this user may make one; makes nothing."""
        return self._patiently(lambda repeated: self._look(), self.patience)  # noqa: ARG005  nothing is repeated

    def _look(self) -> tuple[bool, bool]:
        connection, _ = self._session()
        self._version(connection)
        query = (
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s),"
            " has_database_privilege(current_database(), 'CREATE')"
        )
        present, may_make = connection.execute(query, (self.namespace,)).fetchone() or (False, False)
        return bool(present), bool(may_make)

    def _do(self, begin: str, work: Callable[[Transaction], T], patience: float) -> T:
        return self._patiently(lambda repeated: self._once(begin, work, repeated=repeated), patience)

    def _patiently(self, act: Callable[[bool], T], patience: float) -> T:
        """Do it, and again while the server is away; `act` is given whether it was begun before."""
        psycopg = _library()
        until, pause, repeated = 0.0, _PAUSE, False
        while True:
            try:
                with _queue:
                    return act(repeated)
            except psycopg.Error as error:
                until = until or time.monotonic() + patience
                if not _passes(error):
                    raise self._refused(error) from error
                if time.monotonic() + pause > until:
                    raise self._unavailable(error, patience) from error
                repeated = True
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _once(self, begin: str, work: Callable[[Transaction], T], *, repeated: bool) -> T:
        connection = self._connect()
        try:
            result = work(_PostgresTransaction(connection, _last_value(connection.execute(begin)), repeated=repeated))
            connection.execute("COMMIT")
        except BaseException:
            self._undo(connection)
            raise
        return result

    def _undo(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("ROLLBACK")
        except BaseException:  # of a connection whose state nobody knows nothing is left
            _connections.pop(self.url, None)
            with contextlib.suppress(Exception):
                connection.close()

    def _session(self) -> tuple[psycopg.Connection[Any], set[str]]:
        """This process's connection, and the stores whose tables were looked at over it."""
        connection, prepared = _connections.get(self.url, (None, set()))
        if connection is None or connection.closed or connection.broken:
            psycopg = _library()
            known = psycopg.conninfo.conninfo_to_dict(self.url)
            settings = {**_CONNECTING, **{name: str(value) for name, value in known.items()}}
            # statements prepared on one session aren't there on the next that a pooler gives
            connection = psycopg.connect(**settings, autocommit=True, prepare_threshold=None)
            prepared = set()
            _connections[self.url] = connection, prepared
        return connection, prepared

    def _connect(self) -> psycopg.Connection[Any]:
        connection, prepared = self._session()
        seen = f"{self.namespace} {self.schema.name}"
        if seen not in prepared:
            try:
                self._bring_up_to_date(connection)
                self._forget(connection)
            except BaseException:
                self._undo(connection)
                raise
            prepared.add(seen)
        return connection

    def _bring_up_to_date(self, connection: psycopg.Connection[Any]) -> None:
        if self._version(connection) == len(self.schema.versions):
            return
        space = _quoted(self.namespace)
        connection.execute(
            f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({_number(self.namespace, 'versions')})"
        )
        if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.namespace,)).fetchone():
            connection.execute(f"CREATE SCHEMA {space}")
        version = self._version(connection)  # anew, behind the lock
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {space}.versions (store TEXT PRIMARY KEY, version BIGINT NOT NULL);"
            f" SET LOCAL search_path = {space}"
        )
        for step in self.schema.versions[version:]:
            connection.execute(step.replace(" WITHOUT ROWID", ""))
        connection.execute(
            "INSERT INTO versions (store, version) VALUES (%s, %s)"
            " ON CONFLICT (store) DO UPDATE SET version = excluded.version",
            (self.schema.name, len(self.schema.versions)),
        )
        connection.execute("COMMIT")

    def _forget(self, connection: psycopg.Connection[Any]) -> None:
        if self.schema.forget is not None:
            statement, age = self.schema.forget
            now = _last_value(connection.execute(self._writing))
            connection.execute(_translated(statement), (now - age,))
            connection.execute("COMMIT")

    def _version(self, connection: psycopg.Connection[Any]) -> int:
        table = f"{_quoted(self.namespace)}.versions"
        if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,):
            return 0
        query = f"SELECT version FROM {table} WHERE store = %s"  # noqa: S608  a quoted name
        row = connection.execute(query, (self.schema.name,)).fetchone()
        version = int(row[0]) if row else 0
        if version > len(self.schema.versions):
            raise newer(self.where, self.schema, version)
        return version

    def _refused(self, error: psycopg.Error) -> ConfigError:
        return ConfigError(
            "state.refused",
            f"The state's PostgreSQL refuses: {_reason(error)}.",
            where=self.where,
            fix="check user, password (PGPASSWORD, PGPASSFILE or `${VARIABLE}` in the address) and database; the user "
            f"must be allowed to make the schema {self.namespace}, or own it",
        )

    def _unavailable(self, error: psycopg.Error, patience: float) -> TransientError:
        return TransientError(
            "state.unavailable",
            f"The state's PostgreSQL didn't answer within {patience:g} s: {_reason(error)}.",
            where=self.where,
            fix="try again when the server is back; nothing was begun that it doesn't know of",
        )


class _PostgresTransaction:
    __slots__ = ("_connection", "now", "repeated")

    def __init__(self, connection: psycopg.Connection[Any], now: float, *, repeated: bool) -> None:
        self._connection, self.now, self.repeated = connection, now, repeated

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._connection.execute(_translated(sql), values).fetchall()

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        return self._connection.execute(_translated(sql), values).rowcount

    def change_each(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(sql), rows)


def _library() -> Any:
    try:
        import psycopg
    except ImportError:
        raise missing_extra("postgres", "State in PostgreSQL") from None
    return psycopg


def _translated(sql: str) -> Any:
    return sql.replace("?", "%s")


def _last_value(cursor: Any) -> float:
    """The one value of the last of several statements."""
    while cursor.nextset():
        pass
    return float(cursor.fetchone()[0])


def _passes(error: psycopg.Error) -> bool:
    """Whether the same may go well in a moment."""
    psycopg = _library()
    if error.sqlstate is not None and error.sqlstate.startswith("28"):
        return False
    if error.sqlstate is None:  # the library's own: no connection, or none any more
        return isinstance(error, psycopg.OperationalError) and not any(word in str(error) for word in _REFUSALS)
    return isinstance(error, psycopg.OperationalError) or error.sqlstate in _LASTING


def _reason(error: psycopg.Error) -> str:
    """The first line of what the library says; it names no password."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _namespace(project: str) -> str:
    """The schema of a project; a long name is cut, and a digest keeps it apart from others."""
    name = f"prodkit_{project}"
    if len(name) <= _NAME_BYTES:
        return name
    return f"{name[: _NAME_BYTES - 9]}_{hashlib.sha256(project.encode()).hexdigest()[:8]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _number(*parts: str) -> int:
    """A number of 63 bits for an advisory lock."""
    return int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:8]) >> 1
