"""One column of any frame as Arrow cells, without changing a value, and which cells aren't of the column's type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Mask = Any  # a numpy array of booleans, one for each row
_MISSING_FLOATS = (float, np.floating)


@dataclass(frozen=True, slots=True)
class Cells:
    """A column: Arrow values (dictionaries decoded, NaN as null), how its frame calls its type, and odd cells.

    Attributes:
        array: a pyarrow `ChunkedArray` with one entry for each row.
        dtype: the type's name in the source frame.
        odd: rows whose cell isn't of the wanted type and is null in `array`; None when there are none.
        problem: why the column can't be read at all; empty when it can.
        untyped: the frame states no type for this column (a pandas object column without values).
        series: the column as polars text, where it is that.
    """

    array: Any
    dtype: str
    odd: NDArray[np.bool_] | None = None
    problem: str = ""
    untyped: bool = False
    series: Any = None


def from_arrow(array: Any, dtype: str = "") -> Cells:
    """Cells of a pyarrow `Array` or `ChunkedArray`."""
    array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    dtype = dtype or str(array.type)
    while isinstance(array.type, pa.BaseExtensionType):
        array = pa.chunked_array([chunk.storage for chunk in array.chunks], array.type.storage_type)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if hasattr(pa.types, "is_run_end_encoded") and pa.types.is_run_end_encoded(array.type):
        array = pa.chunked_array([pc.run_end_decode(chunk) for chunk in array.chunks], array.type.value_type)
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    if pa.types.is_floating(array.type):
        array = _without_nan(array)
    return Cells(array, dtype)


def from_pandas(series: Any, wanted: str) -> Cells:
    """Cells of a pandas Series; `wanted` is the contract's logical type, for columns of Python objects."""
    import pandas as pd

    dtype = str(series.dtype)
    if series.dtype == object:
        return from_objects(series.to_numpy(), wanted)
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    if isinstance(series.dtype, pd.DatetimeTZDtype):  # pyarrow's own way makes pandas warn
        zone = pa.timestamp(series.dtype.unit, pa.lib.tzinfo_to_string(series.dtype.tz))
        return from_arrow(pa.array(series.dt.tz_convert(None).to_numpy(), from_pandas=True).cast(zone), dtype)
    if isinstance(series.dtype, pd.PeriodDtype | pd.IntervalDtype):
        return Cells(pa.chunked_array([pa.nulls(len(series))]), dtype, problem=f"holds {dtype}")
    try:
        return from_arrow(pa.array(series.array, from_pandas=True), dtype)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
        return from_objects(series.to_numpy(dtype=object), wanted, dtype)


def from_objects(values: Any, wanted: str, dtype: str = "object") -> Cells:
    """Cells of Python objects; those of another type than `wanted` (without it, than the majority) are odd."""
    missing = np.fromiter((_is_missing(value) for value in values), dtype=bool, count=len(values))
    kinds = {type(value) for value, absent in zip(values, missing, strict=True) if not absent}
    if not kinds:
        return Cells(pa.chunked_array([pa.nulls(len(values))]), dtype, untyped=True)
    wanted = wanted if wanted in _FITS else _majority(values[~missing])
    fitting = {kind for kind in kinds if issubclass(kind, _FITS[wanted]) and not _excluded(kind, wanted)}
    odd = None
    if fitting != kinds:
        odd = np.fromiter(
            (not absent and type(value) not in fitting for value, absent in zip(values, missing, strict=True)),
            bool,
            len(values),
        )
        missing = missing | odd
    if not fitting:
        return Cells(pa.chunked_array([pa.nulls(len(values))]), dtype, odd)
    array = _build(values, missing, wanted, fitting)
    if array is None:
        return Cells(
            pa.chunked_array([pa.nulls(len(values))]), dtype, odd, problem="holds values that can't be compared"
        )
    return Cells(from_arrow(array).array, dtype, odd)


def _without_nan(array: Any) -> Any:
    """NaN is a missing value for every frame library's user, whatever the format says."""
    if not pc.any(pc.is_nan(array)).as_py():
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, _MISSING_FLOATS):
        return bool(value != value)  # noqa: PLR0124  (NaN)
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, Decimal) and value.is_nan())


_FITS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, np.integer),
    "number": (int, float, Decimal, np.number),
    "boolean": (bool, np.bool_),
    "timestamp": (datetime, np.datetime64),
    "date": (date,),
    "time": (time,),
    "object": (dict,),
    "array": (list, tuple, np.ndarray, set, frozenset),
}


def _excluded(kind: type, wanted: str) -> bool:
    """A Python bool is an int, and a datetime is a date; neither is meant here."""
    if wanted in ("integer", "number"):
        return issubclass(kind, bool | np.bool_ | np.timedelta64)
    return False


def _majority(values: Any) -> str:
    counts: dict[str, int] = {}
    for value in values[:10_000]:
        kind = next(
            (name for name, kinds in _FITS.items() if isinstance(value, kinds) and not _excluded(type(value), name)), ""
        )
        counts[kind] = counts.get(kind, 0) + 1
    best = max(counts, key=lambda name: counts[name])
    if best == "integer" and counts.get("number"):
        return "number"
    return best or "string"


def _build(values: Any, missing: Mask, wanted: str, kinds: set[type]) -> Any:
    """The fitting values as Arrow, exactly where that is possible; None where it isn't."""
    try:
        return pa.chunked_array([pa.array(values, mask=missing, from_pandas=True)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    convert: Callable[[Any], Any] | None = {
        "number": _decimal,
        "integer": _decimal,
        "timestamp": _utc if any(issubclass(kind, datetime) for kind in kinds) else None,
        "array": list,
    }.get(wanted)
    if convert is None:
        return None
    try:
        converted = [None if absent else convert(value) for value, absent in zip(values, missing, strict=True)]
        return pa.chunked_array([pa.array(converted)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError, ArithmeticError):
        pass
    try:
        return pa.chunked_array([pa.array([None if value is None else float(value) for value in converted])])
    except (TypeError, ValueError, OverflowError):
        return None


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _utc(value: datetime) -> datetime:
    from datetime import UTC

    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
