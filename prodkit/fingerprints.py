"""One exact id for what a table holds: the same however it is stored, different for any change of its content.

A frame is read column by column as canonical Arrow: name, logical type, which rows are null, and the valid values only.
Chunks, slices, dictionaries, string widths, units of times, the garbage under nulls, the payload of a NaN and the sign
of a zero don't count; names, types, order and every cell do. SHA-256 does the rest, one thread a column.

Ids begin with a version, so that a later method can't be mistaken for this one: `pk1:` for content in order, `pu1:` for
rows in any order, `pf1:` for a file's bytes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prodkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_THREADS_FROM = 50_000  # rows; below, a thread costs more than it saves
_BLOCK = 1 << 18  # rows made canonical at a time, which bounds the memory
_SHORT = 32  # MLflow keeps at most 36 characters of a dataset's digest
_UTC = ("UTC", "Etc/UTC", "+00:00", "Z", "GMT")
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second, coarse to fine
Columns = list[tuple[str, Any]]


def fingerprint(frame: Any) -> str:
    """The content id of a pandas or polars DataFrame, a polars LazyFrame (it is collected) or a pyarrow Table.

    A pandas index counts as columns when its levels have names; without names it is a counter and doesn't count.

    Returns:
        `pk1:` and 64 hexadecimal digits.

    Raises:
        DataError: `fingerprint.no-frame`, or `fingerprint.no-type` for objects that have no content to compare.
    """
    return "pk1:" + _of_columns(_columns(frame))


def fingerprint_unordered(frame: Any) -> str:
    """The id of the same rows in any order: `pu1:` and 64 digits. It sorts, so it takes longer.

    Raises:
        DataError: as `fingerprint`.
    """
    columns = [(name, _sortable(array)) for name, array in _columns(frame)]
    if not columns or not len(columns[0][1]):
        return "pu1:" + _of_columns(columns)
    keys = pa.table([_sort_key(array) for _, array in columns], names=[str(place) for place in range(len(columns))])
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    return "pu1:" + _of_columns([(name, array.take(order)) for name, array in columns])


def fingerprint_file(path: Path) -> str:
    """The id of a file's bytes: `pf1:` and its SHA-256.

    Raises:
        DataError: `fingerprint.unreadable`.
    """
    try:
        with path.open("rb") as file:
            return "pf1:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            "fingerprint.unreadable",
            f"The file can't be read: {error.strerror}.",
            where=str(path),
            fix="check path and rights",
        ) from error


def short(identity: str) -> str:
    """At most 36 characters of an id, for MLflow: the version and 128 bits."""
    version, _, digest = identity.partition(":")
    return f"{version}:{digest[:_SHORT]}"


def _of_columns(columns: Columns) -> str:
    rows = len(columns[0][1]) if columns else 0
    if rows >= _THREADS_FROM and len(columns) > 1:
        with ThreadPoolExecutor(min(len(columns), os.cpu_count() or 1)) as pool:
            digests = list(pool.map(lambda column: _digest(column[1]), columns))
    else:
        digests = [_digest(array) for _, array in columns]
    total = hashlib.sha256(f"{len(columns)},{rows}".encode())
    for (name, _), digest in zip(columns, digests, strict=True):
        label = name.encode("utf-8", "surrogatepass")
        total.update(len(label).to_bytes(8, "little") + label + digest)
    return total.hexdigest()


def _columns(frame: Any) -> Columns:
    """Name and Arrow array of each column."""
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return [(name, frame.column(place)) for place, name in enumerate(frame.schema.names)]
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return _index(frame) + [
            (str(name), _from_pandas(frame.iloc[:, place], str(name))) for place, name in enumerate(frame.columns)
        ]
    if polars is not None and isinstance(frame, polars.LazyFrame):
        frame = frame.collect()
    if polars is not None and isinstance(frame, polars.DataFrame):
        return [(series.name, _from_polars(series)) for series in frame.get_columns()]
    kind = f"{type(frame).__module__.split('.')[0]}.{type(frame).__name__}"
    raise DataError(
        "fingerprint.no-frame",
        f"A {kind} has no fingerprint.",
        fix="pass a pandas or polars DataFrame, a polars LazyFrame or a pyarrow Table",
    )


def _index(frame: Any) -> Columns:
    levels = [(place, str(name)) for place, name in enumerate(frame.index.names) if name is not None]
    return [(name, _from_pandas(frame.index.get_level_values(place).to_series(), name)) for place, name in levels]


def _from_polars(series: Any) -> Any:
    if str(series.dtype).startswith("Object"):
        return _from_objects(np.array(series.to_list(), dtype=object), series.name)
    import polars as pl

    return series.to_arrow(compat_level=pl.CompatLevel.oldest())


def _from_pandas(series: Any, name: str) -> Any:
    import pandas as pd

    if series.dtype == object:
        return _from_objects(series.to_numpy(), name)
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    if isinstance(series.dtype, pd.DatetimeTZDtype):  # pyarrow's own way makes pandas warn
        zone = pa.timestamp(series.dtype.unit, pa.lib.tzinfo_to_string(series.dtype.tz))
        return pa.array(series.dt.tz_convert(None).to_numpy(), from_pandas=True).cast(zone)
    try:
        return pa.array(series.array, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
        return _from_objects(series.to_numpy(dtype=object), name)


def _from_objects(values: Any, name: str) -> Any:
    """Objects of one type as Arrow does it; a mixture cell by cell, so that 1, 1.0, True and '1' stay different."""
    kinds = {type(value) for value in values if value is not None and not (isinstance(value, float) and value != value)}  # noqa: PLR0124
    kinds = {kind for kind in kinds if kind.__name__ not in ("NAType", "NaTType")}
    if len(kinds) <= 1:
        try:
            return pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
    return pa.ExtensionArray.from_storage(
        _Mixed(), pa.array([_spell(value, name) for value in values], pa.large_string())
    )


class _Mixed(pa.ExtensionType):
    """Marks a column whose cells are spelt out with their types, so that it differs from text that looks the same."""

    def __init__(self) -> None:
        super().__init__(pa.large_string(), "prodkit.mixed")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> _Mixed:
        return cls()


def _spell(value: Any, name: str) -> str | None:
    """One cell as text that tells its type and its whole content."""
    kind = type(value)
    if value is None or kind.__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):  # noqa: PLR0124
        return None
    if isinstance(value, np.generic):
        return _spell(value.item(), name)
    if isinstance(value, bool | int | float | str | bytes | Decimal | complex | timedelta | datetime | date | time):
        return f"{kind.__name__}:{value!r}"
    if isinstance(value, dict):
        inner = sorted(f"{_spell(key, name)}={_spell(item, name)}" for key, item in value.items())
        return f"dict:{inner!r}"
    if isinstance(value, list | tuple | np.ndarray):
        return f"list:{[_spell(item, name) for item in value]!r}"
    if isinstance(value, set | frozenset):
        return f"set:{sorted(str(_spell(item, name)) for item in value)!r}"
    raise DataError(
        "fingerprint.no-type",
        f"The column `{name}` holds objects of the type {kind.__name__}, whose content can't be compared.",
        where=name,
        fix="convert the column to text or numbers, or drop it",
    )


def _digest(array: Any) -> bytes:
    """The digest of a column: its type, its null mask and its valid values."""
    streams = _Streams()
    array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    return hashlib.sha256(_feed(streams, array, "").encode() + b"\0" + streams.digest()).digest()


class _Streams:
    """One hash for each kind of bytes of a column, so that where its chunks end doesn't matter."""

    def __init__(self) -> None:
        self.hashes: dict[str, Any] = {}

    def add(self, stream: str, data: Any) -> None:
        if stream not in self.hashes:
            self.hashes[stream] = hashlib.sha256()
        self.hashes[stream].update(data)

    def digest(self) -> bytes:
        parts = (stream.encode() + b"\0" + self.hashes[stream].digest() for stream in sorted(self.hashes))
        return hashlib.sha256(b"".join(parts)).digest()


def _feed(streams: _Streams, array: Any, path: str) -> str:
    """Hash a (nested) column under `path`; returns its canonical type."""
    array, label = _plain(array)
    kind = array.type
    _feed_nulls(streams, array, path)
    if pa.types.is_null(kind):
        return label + "null"
    if pa.types.is_temporal(kind):
        return label + _feed_ticks(streams, array, path)
    if pa.types.is_struct(kind):
        return label + _feed_struct(streams, array, path)
    if pa.types.is_map(kind) or _is_list(kind):
        return label + _feed_list(streams, array, path)
    for block in _blocks(array):
        _feed_block(streams, block, path)
    return label + _kind_name(kind)


def _plain(array: Any) -> tuple[Any, str]:
    """Without the wrappers that say how a column is stored; a wrapper that says what it means is named."""
    label = ""
    while isinstance(array.type, pa.BaseExtensionType):
        label += f"{array.type.extension_name}/"
        array = pa.chunked_array([chunk.storage for chunk in array.chunks], array.type.storage_type)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_run_end_encoded(array.type):
        array = pa.chunked_array([pc.run_end_decode(chunk) for chunk in array.chunks], array.type.value_type)
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if pa.types.is_binary_view(array.type):
        array = array.cast(pa.large_binary())
    return array, label


def _feed_nulls(streams: _Streams, array: Any, path: str) -> None:
    """The positions of the nulls; nothing at all when there are none."""
    if not array.null_count:
        return
    start = 0
    for chunk in array.chunks:
        if chunk.null_count:
            places = np.flatnonzero(np.asarray(pc.is_null(chunk))) + start
            streams.add(f"{path}?", places.astype("<u8"))
        start += len(chunk)


def _blocks(array: Any) -> Iterable[Any]:
    """Arrow arrays of bounded length without nulls."""
    for chunk in array.chunks:
        for start in range(0, len(chunk), _BLOCK):
            block = chunk.slice(start, _BLOCK)
            yield block.drop_null() if block.null_count else block


def _feed_block(streams: _Streams, block: Any, path: str) -> None:
    kind = block.type
    if (
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    ):
        _feed_text(streams, block, path)
    elif pa.types.is_floating(kind):
        values = np.asarray(block) + np.asarray(0, dtype=kind.to_pandas_dtype())  # -0.0 + 0.0 is 0.0
        if np.isnan(values).any():
            values[np.isnan(values)] = np.nan
        streams.add(f"{path}=", values)
    elif pa.types.is_decimal(kind):
        _feed_decimals(streams, block, path)
    elif pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        streams.add(f"{path}=", block.buffers()[1].slice(block.offset * width, len(block) * width))
    else:
        streams.add(f"{path}=", np.ascontiguousarray(np.asarray(block)))


def _feed_text(streams: _Streams, block: Any, path: str) -> None:
    if not len(block):
        return
    _, offsets_buffer, data = block.buffers()
    large = pa.types.is_large_string(block.type) or pa.types.is_large_binary(block.type)
    offsets = np.frombuffer(offsets_buffer, dtype="<i8" if large else "<i4")[
        block.offset : block.offset + len(block) + 1
    ]
    streams.add(f"{path}#", np.diff(offsets).astype("<u4"))
    if data is not None and offsets[-1] > offsets[0]:
        streams.add(f"{path}=", memoryview(data)[int(offsets[0]) : int(offsets[-1])])


def _feed_decimals(streams: _Streams, block: Any, path: str) -> None:
    """All widths as 256 bits, the precision being a matter of storage."""
    wide = block.cast(pa.decimal256(76, block.type.scale))
    streams.add(f"{path}=", wide.buffers()[1].slice(wide.offset * 32, len(wide) * 32))


def _feed_ticks(streams: _Streams, array: Any, path: str) -> str:
    """Times in the coarsest unit that holds them all, so that a file format's unit doesn't count."""
    kind = array.type
    if pa.types.is_date(kind) or pa.types.is_interval(kind):
        days = array.cast(pa.date32()) if pa.types.is_date64(kind) else array
        for block in _blocks(days):
            width = block.type.bit_width // 8
            streams.add(f"{path}=", block.buffers()[1].slice(block.offset * width, len(block) * width))
        return "date" if pa.types.is_date(kind) else str(kind)
    parts = [np.asarray(block.view(pa.int32() if kind.bit_width == 32 else pa.int64())) for block in _blocks(array)]  # noqa: PLR2004
    steps = [(_TICKS[kind.unit] // ticks, unit) for unit, ticks in _TICKS.items() if ticks <= _TICKS[kind.unit]]
    step, unit = next(found for found in steps if all(_divides(found[0], part) for part in parts))
    for part in parts:
        streams.add(f"{path}=", (part // step).astype("<i8") if step > 1 else part.astype("<i8", copy=False))
    streams.add(f"{path}unit", unit.encode())
    name = "timestamp" if pa.types.is_timestamp(kind) else "duration" if pa.types.is_duration(kind) else "time"
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    return f"{name}[{'UTC' if zone in _UTC else zone}]" if zone else name


def _divides(step: int, ticks: Any) -> bool:
    """Asked of the first ticks first, which mostly settles it."""
    return step == 1 or not ((ticks[:64] % step).any() or (ticks % step).any())


def _feed_struct(streams: _Streams, array: Any, path: str) -> str:
    flat = array.drop_null() if array.null_count else array
    names = array.type.names
    kinds = [_feed(streams, pc.struct_field(flat, [place]), f"{path}.{place}") for place in range(len(names))]
    return "struct<" + ",".join(f"{name!r}:{kind}" for name, kind in zip(names, kinds, strict=True)) + ">"


def _feed_list(streams: _Streams, array: Any, path: str) -> str:
    is_map = pa.types.is_map(array.type)
    for block in _blocks(array):
        lengths = pc.list_value_length(block.cast(_as_list(block.type)) if is_map else block)
        streams.add(f"{path}#", np.asarray(lengths).astype("<u4"))
    flat = array.drop_null() if array.null_count else array
    chunks = [pc.list_flatten(chunk.cast(_as_list(chunk.type)) if is_map else chunk) for chunk in flat.chunks]
    inner = pa.chunked_array(chunks, _as_list(array.type).value_type if is_map else array.type.value_type)
    return ("map<" if is_map else "list<") + _feed(streams, inner, f"{path}[]") + ">"


def _as_list(kind: Any) -> Any:
    return pa.list_(pa.struct([kind.key_field, kind.item_field]))


def _is_list(kind: Any) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(test(kind) for test in tests) or bool(pa.types.is_large_list_view(kind))


def _kind_name(kind: Any) -> str:
    """The logical type's name; widths of text and the precision of decimals are storage."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    return f"decimal(scale={kind.scale})" if pa.types.is_decimal(kind) else str(kind)


def _sortable(array: Any) -> Any:
    array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    return array if isinstance(array.type, pa.BaseExtensionType) or pa.types.is_nested(array.type) else _plain(array)[0]


def _sort_key(array: Any) -> Any:
    """Something that sorts as the content does: nested values, times and odd types by their text."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = _plain(array)[0]
    if pa.types.is_nested(array.type) or pa.types.is_null(array.type):
        return pa.array([None if value is None else repr(value) for value in array.to_pylist()], pa.large_string())
    return array
