"""Readers and writers that Python's audit hook can't see, or of which it doesn't see enough, wrapped where they are defined.

A wrapper is a plain function, so that the wrapped one can still be pickled by name and asked for its signature. While no
watch is open it costs one call.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.capture.lineage import databases, http, sight
from prodkit.capture.lineage.frames import shape
from prodkit.capture.lineage.sql import literals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Note = Callable[[tuple[Any, ...], dict[str, Any], Any], None]

_PLACES = (
    *("path", "filepath_or_buffer", "path_or_buf", "path_or_buffer", "io", "source", "fname", "file", "filepath", "where"),
    *("input_file", "input_stream", "file_glob", "path_or_paths", "excel_writer", "target", "workbook", "filename"),
    *("source_table", "filename_or_buffer", "path_or_dataset", "url", "uri"),
)
_MANY = 10_000  # paths in one call


@dataclass(frozen=True, slots=True)
class Readers:
    """Functions of a module whose first argument after `skip` is what they read or write."""

    module: str
    owner: str  # a class of the module, or empty
    names: tuple[str, ...]
    context: str = "input"
    skip: int = 0
    reexported: str = ""  # a package that offers the functions under its own name too


def _split(names: str) -> tuple[str, ...]:
    return tuple(names.split())


_READERS = (
    Readers(
        "pandas", "", _split("read_csv read_table read_fwf read_excel read_json read_html read_xml read_hdf read_feather read_parquet read_orc read_sas read_spss read_pickle read_stata")
    ),
    Readers("pandas", "ExcelFile", ("__init__",), skip=1),
    Readers("pandas", "HDFStore", ("__init__",), skip=1),
    Readers("pandas", "DataFrame", _split("to_csv to_excel to_json to_html to_xml to_hdf to_feather to_parquet to_orc to_pickle to_stata"), "output", 1),
    Readers("pandas", "Series", _split("to_csv to_excel to_json to_hdf to_pickle"), "output", 1),
    Readers(
        "polars",
        "",
        _split(
            "read_csv read_csv_batched read_parquet read_json read_ndjson read_ipc read_ipc_stream read_excel read_ods read_avro read_delta read_lines "
            "scan_csv scan_parquet scan_ndjson scan_ipc scan_delta scan_iceberg scan_lines"
        ),
    ),
    Readers("polars", "DataFrame", _split("write_csv write_parquet write_json write_ndjson write_ipc write_ipc_stream write_excel write_avro write_delta"), "output", 1),
    Readers("polars", "LazyFrame", _split("sink_csv sink_parquet sink_ndjson sink_ipc"), "output", 1),
    Readers("pyarrow", "", _split("memory_map OSFile input_stream")),
    Readers("pyarrow.parquet", "", _split("read_table read_pandas read_metadata read_schema")),
    Readers("pyarrow.parquet", "ParquetFile", ("__init__",), skip=1),
    Readers("pyarrow.parquet", "ParquetDataset", ("__init__",), skip=1),
    Readers("pyarrow.parquet", "", ("write_table",), "output", 1),
    Readers("pyarrow.parquet", "ParquetWriter", ("__init__",), "output", 1),
    Readers("pyarrow.csv", "", _split("read_csv open_csv")),
    Readers("pyarrow.csv", "", ("write_csv",), "output", 1),
    Readers("pyarrow.json", "", _split("read_json open_json")),
    Readers("pyarrow.feather", "", _split("read_table read_feather")),
    Readers("pyarrow.feather", "", ("write_feather",), "output", 1),
    Readers("pyarrow.orc", "", ("read_table",)),
    Readers("pyarrow.orc", "", ("write_table",), "output", 1),
    Readers("pyarrow.dataset", "", ("dataset",)),
    Readers("pyarrow.dataset", "", ("write_dataset",), "output", 1),
    Readers("numpy", "", _split("load loadtxt genfromtxt fromfile")),
    Readers("duckdb", "", _split("read_csv read_parquet read_json from_csv_auto from_parquet")),
    Readers("duckdb", "DuckDBPyConnection", _split("read_csv read_parquet read_json from_csv_auto from_parquet"), skip=1),
    Readers("duckdb", "DuckDBPyRelation", _split("write_csv write_parquet to_csv to_parquet"), "output", 1),
)


def install() -> None:
    """Wrap what is imported already, and the rest when it is imported."""
    import wrapt

    for module in dict.fromkeys(readers.module for readers in _READERS):
        wrapt.register_post_import_hook(_wrap_readers, module)
    for name, patch in _SPECIAL.items():
        wrapt.register_post_import_hook(patch, name)


def _wrap_readers(module: Any) -> None:
    for readers in _READERS:
        if readers.module == module.__name__:
            owner = getattr(module, readers.owner, None) if readers.owner else module
            for name in readers.names:
                kind = f"{module.__name__.split('.')[0]}.{readers.owner or name}"
                _wrap(owner, name, functools.partial(_note_place, readers.context, readers.skip, kind))


def _wrap(owner: Any, name: str, note: Note) -> None:
    """Put a wrapper in the place of `owner.name`, and of the same function in the module that defines it."""
    original = getattr(owner, name, None)
    if original is None or hasattr(original, "__prodkit_lineage__"):
        return
    wrapper = _wrapper(original, note)
    try:
        setattr(owner, name, wrapper)
    except (AttributeError, TypeError):
        return  # a type of C that can't be changed
    home = sys.modules.get(getattr(original, "__module__", None) or "")
    if home is not None and home.__dict__.get(name) is original:
        setattr(home, name, wrapper)


def _wrapper(original: Callable[..., Any], note: Note) -> Callable[..., Any]:
    @functools.wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if sight.is_watched():
            try:
                note(args, kwargs, result)
            except Exception:  # noqa: S110  a missed read is less than a broken one
                pass
        return result

    observed.__prodkit_lineage__ = True  # type: ignore[attr-defined]
    return observed


def _note_place(
    context: str, skip: int, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> None:
    place = args[skip] if len(args) > skip else next((kwargs[name] for name in _PLACES if name in kwargs), None)
    places = list(_each(place))
    rows, columns = shape(result if context == "input" or not args else args[0])
    for one in places:
        sight.see_place(one, context, kind, *((rows, columns) if len(places) == 1 else ()))


def _each(place: Any) -> Iterable[Any]:
    return place[:_MANY] if isinstance(place, (list, tuple)) else () if place is None else (place,)


def _patch_fsspec(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        path = args[1] if len(args) > 1 else kwargs.get("path")
        mode = (args[2] if len(args) > 2 else kwargs.get("mode", "rb")) or "rb"  # noqa: PLR2004
        place = args[0].unstrip_protocol(path)
        if place.startswith(("http://", "https://")):
            http.see_request("GET", place, "fsspec")
        elif not place.startswith("memory://"):
            sight.see_place(place, "input" if "r" in mode else "output", "fsspec")

    _wrap(module.AbstractFileSystem, "open", note)


def _patch_duckdb(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = next((arg for arg in (*args[:2], kwargs.get("query"), kwargs.get("sql")) if isinstance(arg, str)), "")
        for text in literals(statement):
            if "." in text and not any(letter.isspace() for letter in text):
                context = "output" if _is_target(statement, text) else "input"
                sight.see_place(text, context, "duckdb")

    def note_connect(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        database = str(args[0] if args else kwargs.get("database", ":memory:"))
        if not database.startswith(":"):
            read_only = kwargs.get("read_only", args[1] if len(args) > 1 else False)
            sight.see_place(database, "input" if read_only else "output", "duckdb")

    for name in ("sql", "query", "execute", "from_query"):
        _wrap(module, name, note)
        _wrap(module.DuckDBPyConnection, name, note)
    _wrap(module, "connect", note_connect)


def _is_target(statement: str, text: str) -> bool:
    before = statement.partition(text)[0].rstrip("'\" ").lower()
    return before.endswith(" to")


def _patch_pandas_sql(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = args[0] if args else kwargs.get("sql")
        connection = args[1] if len(args) > 1 else kwargs.get("con")
        databases.see_cursor(connection, statement, "pandas.read_sql")

    for name in ("read_sql", "read_sql_query"):
        _wrap(module, name, note)


def _patch_psycopg(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        statement = args[1] if len(args) > 1 else kwargs.get("query", "")
        databases.see_cursor(args[0].connection, statement.decode() if isinstance(statement, bytes) else statement)

    for name in ("Cursor", "AsyncCursor"):
        for method in ("execute", "executemany", "stream"):
            _wrap(getattr(module, name), method, note)


def _patch_pymysql(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        databases.see_cursor(args[0].connection, args[1] if len(args) > 1 else kwargs.get("query"))

    _wrap(module.Cursor, "execute", note)


def _patch_requests(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        request = args[1] if len(args) > 1 else kwargs["request"]
        http.see_request(request.method, request.url)

    _wrap(module.Session, "send", note)


def _patch_httpx(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        request = args[1] if len(args) > 1 else kwargs["request"]
        http.see_request(request.method, str(request.url))

    for name in ("Client", "AsyncClient"):
        _wrap(getattr(module, name), "send", note)


def _patch_aiohttp(module: Any) -> None:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        http.see_request(str(args[1] if len(args) > 1 else kwargs["method"]), str(args[2] if len(args) > 2 else kwargs["str_or_url"]))  # noqa: PLR2004

    _wrap(module.ClientSession, "_request", note)


_SPECIAL: dict[str, Callable[[Any], None]] = {
    "fsspec.spec": _patch_fsspec,
    "duckdb": _patch_duckdb,
    "pandas": _patch_pandas_sql,
    "psycopg": _patch_psycopg,
    "pymysql.cursors": _patch_pymysql,
    "sqlalchemy": databases.watch_sqlalchemy,
    "requests.sessions": _patch_requests,
    "httpx": _patch_httpx,
    "httpx2": _patch_httpx,
    "aiohttp.client": _patch_aiohttp,
}
