"""The checks, each a function over one column: which rows fail, or None when none does.

Null cells never fail a check other than `required`. Each check first asks a cheap question whose answer is usually "all
is well" (smallest and largest value, sortedness), and looks at single rows only when it isn't.
"""

from __future__ import annotations

import math
import os
import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prodkit.contracts.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

Fails = Any  # numpy booleans, one a row, true where the row fails; or None when no row does
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SPLIT_FROM = 100_000  # rows for each core
_latest = threading.local()
# what RE2 and Rust's expressions understand differently: classes of characters, flags, sets within sets
_DIALECT = re.compile(r"\\\w|\(\?|\[[^\]]*\[|&&|--|~~|\{,")


def rows_of(condition: Any) -> Fails:
    """An Arrow boolean as rows; null is false."""
    if not pc.any(condition).as_py():
        return None
    return np.asarray(pc.fill_null(condition, False), dtype=bool)


def required(array: Any, _: object = None) -> Fails:
    """Null cells (NaN and NaT are null)."""
    return None if array.null_count == 0 else np.asarray(pc.is_null(array), dtype=bool)


def missing(array: Any, values: tuple[Any, ...]) -> Fails:
    """Null cells, and cells that stand for nothing: `''`, `'N/A'`."""
    fails = required(array) if None in values else None
    named = _members(array, tuple(value for value in values if value is not None))
    named = None if named is None else rows_of(named)
    if fails is None or named is None:
        return named if fails is None else fails
    return fails | named


def unique(array: Any, _: object = None) -> Fails:
    """Cells that repeat an earlier one."""
    if _strictly_sorted(array) or _different_numbers(array):
        return None
    return _repeats(codes_of(array))


def unique_together(arrays: list[Any]) -> Fails:
    """Rows whose values in all these columns repeat an earlier row's; rows with a null among them are left out."""
    combined: Any = None
    absent = np.zeros(len(arrays[0]), dtype=bool)
    for array in arrays:
        codes = codes_of(array)
        absent |= codes < 0
        combined = (
            codes
            if combined is None
            else np.unique(combined * (int(codes.max(initial=0)) + 2) + codes, return_inverse=True)[1]
        )
    first_seen = codes_of(pa.chunked_array([pa.array(combined, mask=absent)]))
    return _repeats(first_seen)


def enum(array: Any, values: tuple[Any, ...]) -> Fails:
    """Cells that aren't one of the values."""
    member = _members(array, values)
    if member is None:
        return None if array.null_count == len(array) else np.asarray(pc.is_valid(array), dtype=bool)
    return rows_of(pc.and_(pc.invert(member), pc.is_valid(array)))


def pattern(array: Any, expression: str) -> Fails:
    """Text in which the expression isn't found. RE2's dialect; what RE2 lacks goes through Python's `re`."""
    try:
        return rows_of(pc.invert(_search(array, expression)))
    except pa.ArrowInvalid:
        return _python_pattern(array, expression)


def format_(array: Any, name: str) -> Fails:
    """Text that isn't of a format."""
    return pattern(array, FORMATS[name])


def minimum(array: Any, bound: Any) -> Fails:
    """Values below the bound."""
    return _outside(array, bound, below=True, inclusive=False)


def exclusive_minimum(array: Any, bound: Any) -> Fails:
    """Values at or below the bound."""
    return _outside(array, bound, below=True, inclusive=True)


def maximum(array: Any, bound: Any) -> Fails:
    """Values above the bound."""
    return _outside(array, bound, below=False, inclusive=False)


def exclusive_maximum(array: Any, bound: Any) -> Fails:
    """Values at or above the bound."""
    return _outside(array, bound, below=False, inclusive=True)


def multiple_of(array: Any, step: Decimal) -> Fails:
    """Values that the step doesn't divide; floats within a billionth."""
    if pa.types.is_floating(array.type):
        ratio = pc.divide(pc.cast(array, pa.float64()), float(step))
        return rows_of(pc.greater(pc.abs(pc.subtract(ratio, pc.round(ratio))), 1e-9))
    values = [None if value is None else value % step != 0 for value in array.to_pylist()]
    return rows_of(pa.chunked_array([pa.array(values, pa.bool_())]))


def width(array: Any, name: str) -> Fails:
    """Integers that don't fit so many bits: `i32`, `u8`."""
    bits = int(name[1:])
    low, high = (0, 2**bits - 1) if name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    below, above = (
        _outside(array, low, below=True, inclusive=False),
        _outside(array, high, below=False, inclusive=False),
    )
    return above if below is None else below if above is None else below | above


def min_length(array: Any, length: int) -> Fails:
    """Text with fewer characters."""
    shortest = pc.min(pc.binary_length(array)).as_py()  # a character takes four bytes at most
    if shortest is None or shortest > 4 * (length - 1):
        return None
    return _outside(pc.utf8_length(array), length, below=True, inclusive=False)


def max_length(array: Any, length: int) -> Fails:
    """Text with more characters."""
    longest = pc.max(pc.binary_length(array)).as_py()  # a character takes a byte at least
    if longest is None or longest <= length:
        return None
    return _outside(pc.utf8_length(array), length, below=False, inclusive=False)


def min_items(array: Any, count: int) -> Fails:
    """Lists with fewer items."""
    return _outside(pc.list_value_length(array), count, below=True, inclusive=False)


def max_items(array: Any, count: int) -> Fails:
    """Lists with more items."""
    return _outside(pc.list_value_length(array), count, below=False, inclusive=False)


def unique_items(array: Any, _: object = None) -> Fails:
    """Lists in which an item appears twice."""
    repeats = [items is not None and len({repr(item) for item in items}) < len(items) for items in array.to_pylist()]
    return rows_of(pa.chunked_array([pa.array(repeats, pa.bool_())]))


def min_properties(array: Any, count: int) -> Fails:
    """Objects with fewer filled fields."""
    return _filled(array, lambda filled: filled < count)


def max_properties(array: Any, count: int) -> Fails:
    """Objects with more filled fields."""
    return _filled(array, lambda filled: filled > count)


def timezone(array: Any, aware: bool) -> Fails:
    """All cells, when the column has a time zone and shouldn't, or the other way round."""
    has = pa.types.is_timestamp(array.type) and array.type.tz is not None
    return None if has == aware or not len(array) else np.asarray(pc.is_valid(array), dtype=bool)


CHECKS: dict[str, Callable[[Any, Any], Fails]] = {
    "required": required,
    "missing": missing,
    "unique": unique,
    "enum": enum,
    "pattern": pattern,
    "format": format_,
    "minimum": minimum,
    "maximum": maximum,
    "exclusiveMinimum": exclusive_minimum,
    "exclusiveMaximum": exclusive_maximum,
    "multipleOf": multiple_of,
    "width": width,
    "minLength": min_length,
    "maxLength": max_length,
    "minItems": min_items,
    "maxItems": max_items,
    "uniqueItems": unique_items,
    "minProperties": min_properties,
    "maxProperties": max_properties,
    "timezone": timezone,
}


def codes_of(array: Any) -> Any:
    """A whole number for each cell, equal for equal cells, counted up in the order of first appearance; -1 for null."""
    if pa.types.is_nested(array.type):
        array = pa.chunked_array(
            [pa.array([None if value is None else repr(value) for value in array.to_pylist()], pa.string())]
        )
    if pa.types.is_null(array.type):
        return np.full(len(array), -1, dtype=np.int64)
    combined = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    indices = combined.dictionary_encode().indices
    return np.asarray(pc.fill_null(indices, -1)).astype(np.int64)


def _repeats(codes: Any) -> Fails:
    """Codes count up with each new value, so a code that isn't above all before it repeats one."""
    if not len(codes):
        return None
    highest = np.maximum.accumulate(codes)
    before = np.concatenate(([-1], highest[:-1]))
    fails = (codes <= before) & (codes >= 0)
    return fails if fails.any() else None


def _strictly_sorted(array: Any) -> bool:
    """Growing ids and times are unique without a look at a hash table."""
    if (
        array.null_count
        or pa.types.is_nested(array.type)
        or pa.types.is_boolean(array.type)
        or pa.types.is_null(array.type)
    ):
        return False
    sample = array.slice(0, 1000)
    return all(
        bool(pc.all(pc.less(part.slice(0, max(len(part) - 1, 0)), part.slice(1))).as_py()) for part in (sample, array)
    )


def _different_numbers(array: Any) -> bool:
    """Sorting numbers is several times faster than hashing them."""
    if array.null_count or not (pa.types.is_integer(array.type) or pa.types.is_timestamp(array.type)):
        return False
    values = np.sort(np.asarray(array.cast(pa.int64(), safe=False) if pa.types.is_timestamp(array.type) else array))
    return not bool((values[1:] == values[:-1]).any())


def _members(array: Any, values: tuple[Any, ...]) -> Any:
    """Arrow booleans, or None when no value can be in such a column."""
    if pa.types.is_null(array.type):
        return None
    fitting = []
    for value in values:
        try:
            fitting.append(pa.scalar(_as_cell(value, array.type), array.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
    if not fitting:
        return None
    return pc.is_in(array, value_set=pa.array([scalar.as_py() for scalar in fitting], array.type))


def _as_cell(value: Any, kind: Any) -> Any:
    """A contract's value as a cell of this type: numbers exactly, times with or without zone."""
    if isinstance(value, bool) is not pa.types.is_boolean(kind):
        raise TypeError("a truth value is no number")
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind):
        if value != int(value):
            raise ValueError("not whole")
        return int(value)
    if pa.types.is_decimal(kind):
        from decimal import Decimal

        return Decimal(str(value))
    if pa.types.is_timestamp(kind) and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if pa.types.is_date(kind) and isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware if kind.tz else aware.astimezone(UTC).replace(tzinfo=None)
    return value


def _search(array: Any, expression: str) -> Any:
    """The slowest of the checks, so a long column is shared among the cores."""
    step = -(-len(array) // (os.cpu_count() or 1))
    if step < _SPLIT_FROM:
        return pc.match_substring_regex(array, expression)
    parts = [array.slice(start, step) for start in range(0, len(array), step)]
    with ThreadPoolExecutor(len(parts)) as pool:
        found = list(pool.map(lambda part: pc.match_substring_regex(part, expression), parts))
    return pa.chunked_array([chunk for part in found for chunk in part.chunks])


def polars_pattern(series: Any, expression: str) -> tuple[bool, Fails]:
    """As `pattern`, by polars, which searches its own text twice as fast: whether it could, and which rows fail."""
    if _DIALECT.search(expression):
        return False, None
    try:
        found = series.str.contains(expression)
    except Exception:  # an expression that is too large for it
        return False, None
    if found.all():  # nulls don't count
        return True, None
    return True, (~found).fill_null(False).to_numpy()


def _python_pattern(array: Any, expression: str) -> Fails:
    """For look-around and back references; `$` means the very end, and digits are 0-9, as in RE2."""
    compiled = re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", expression), re.ASCII)
    encoded = array.combine_chunks().dictionary_encode()
    good = pa.array([compiled.search(value) is not None for value in encoded.dictionary.to_pylist()], pa.bool_())
    return rows_of(pc.invert(good.take(encoded.indices)))


def _outside(array: Any, bound: Any, *, below: bool, inclusive: bool) -> Fails:
    """Values beyond a bound; `inclusive` counts the bound itself as outside."""
    kind = array.type
    if array.null_count == len(array):  # of any type: a column of NaN alone is float to pandas
        return None
    if pa.types.is_temporal(kind):
        bound, array = (
            _ticks(bound, kind),
            pc.cast(array, pa.int32() if kind.bit_width == pa.int32().bit_width else pa.int64()),
        )
        kind = array.type
    if pa.types.is_integer(kind):
        return _outside_integers(array, bound, below=below, inclusive=inclusive)
    edge = pa.scalar(float(bound), kind) if pa.types.is_floating(kind) else pa.scalar(bound)
    extreme = _extremes(array)["min" if below else "max"]
    compare = (pc.less_equal if inclusive else pc.less) if below else (pc.greater_equal if inclusive else pc.greater)
    if not extreme.is_valid or not compare(extreme, edge).as_py():
        return None
    return rows_of(compare(array, edge))


def _extremes(array: Any) -> Any:
    """Smallest and largest value: asked for both bounds of a column, computed once, in numpy where that is faster."""
    held = getattr(_latest, "extremes", None)
    if held is not None and held[0]() is array:
        return held[1]
    if pa.types.is_floating(array.type) and len(array) and not array.null_count:
        parts = [chunk.to_numpy() for chunk in array.chunks if len(chunk)]
        low, high = min(part.min() for part in parts), max(part.max() for part in parts)
        found = {"min": pa.scalar(low, array.type), "max": pa.scalar(high, array.type)}
    else:
        found = pc.min_max(array)
    _latest.extremes = (weakref.ref(array), found)
    return found


def _outside_integers(array: Any, bound: Any, *, below: bool, inclusive: bool) -> Fails:
    """In Python's integers, so that no bound overflows the column's type: find the last good value, compare with it."""
    if below:
        edge = math.floor(bound) + 1 if inclusive else math.ceil(bound)
    else:
        edge = math.ceil(bound) - 1 if inclusive else math.floor(bound)
    extreme = _extremes(array)["min" if below else "max"].as_py()
    if extreme is None or (extreme >= edge if below else extreme <= edge):
        return None
    try:
        limit = pa.scalar(edge, array.type)
    except (pa.ArrowInvalid, OverflowError):  # beyond what the type can hold, so every value is on the wrong side
        return np.asarray(pc.is_valid(array), dtype=bool)
    return rows_of(pc.less(array, limit) if below else pc.greater(array, limit))


def _ticks(bound: Any, kind: Any) -> Any:
    """A date or time as the whole number (or fraction) that Arrow stores for it."""
    from fractions import Fraction

    if pa.types.is_time(kind):
        seconds = bound.hour * 3600 + bound.minute * 60 + bound.second
        return Fraction(seconds * 10**6 + bound.microsecond, 10**6) * _PER_SECOND[kind.unit]
    moment = bound if isinstance(bound, datetime) else datetime.combine(bound, time(), UTC)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
    if pa.types.is_date32(kind):
        return Fraction(micros, 86_400 * 10**6)
    unit = "ms" if pa.types.is_date64(kind) else kind.unit
    return Fraction(micros, 10**6) * _PER_SECOND[unit]


def _filled(array: Any, fails: Callable[[int], bool]) -> Fails:
    rows = [
        value is not None and fails(sum(item is not None for item in dict(value).values()))
        for value in array.to_pylist()
    ]
    return rows_of(pa.chunked_array([pa.array(rows, pa.bool_())]))
