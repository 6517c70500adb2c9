"""Profiles of pandas, polars and pyarrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prodkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from prodkit.records import JSON

_SAMPLE = 200_000  # rows that a distribution is taken from, evenly spread
_DECILES = [round(0.1 * step, 1) for step in range(1, 10)]
_CATEGORIES = 20  # names that are kept; the rest is one more
_MOST_DISTINCT = 100  # a text column with more distinct values has no categories
OTHER = "\x00other"


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column. `bins` counts the rows between the `edges`, or of each of the `categories`; nulls are apart."""

    name: str
    type: str
    nulls: int
    kind: str  # number, time, category, text, personal, other
    edges: tuple[float, ...] = ()  # deciles; for text of its lengths, for times in seconds since 1970 (UTC)
    categories: tuple[str, ...] = ()
    bins: tuple[int, ...] = ()  # one more than edges or categories
    distinct: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A table: its number of rows and its columns."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile | None:
        """The column of this name."""
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> JSON:
        """A JSON-able value for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: JSON) -> Profile:
        """The profile that `to_json` gave.

        Raises:
            DataError: `profile.unreadable`.
        """
        try:
            columns: list[dict[str, Any]] = [
                {name: tuple(item) if isinstance(item, list) else item for name, item in one.items()}
                for one in value["columns"]
            ]
            return cls(value["rows"], tuple(ColumnProfile(**one) for one in columns))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError("profile.unreadable", "This is no profile.", fix="profile the data anew") from error


def profile(
    frame: Any,
    *,
    personal: Collection[str] = (),
    like: Profile | None = None,
    clean: Callable[[str], str] | Mapping[str, Callable[[str], str]] | None = None,
) -> Profile:
    """The profile of a table.

    Args:
        frame: a pandas or polars DataFrame, a polars LazyFrame (it is collected), or a pyarrow Table or RecordBatch.
        personal: columns of which nothing but counts may be kept.
        like: an earlier profile whose edges and categories are used again, so that both can be compared.
        clean: what is done to names of categories before they are kept, e.g. `redact`; or that for each column by name,
            where names of the others are kept as they are.

    Raises:
        DataError: `profile.no-frame`.
    """
    columns = _columns(frame)
    rows = len(columns[0][1]) if columns else 0
    cleaner = clean.get if isinstance(clean, Mapping) else lambda _: clean
    found = (
        _column(name, array, name in personal, like.column(name) if like else None, cleaner(name))
        for name, array in columns
    )
    return Profile(rows, tuple(found))


def as_arrow(frame: Any) -> pa.Table:
    """A table as Arrow, for who profiles it more than once; columns of mixed values keep their nulls alone.

    Raises:
        DataError: `profile.no-frame`.
    """
    columns = _columns(frame)
    return pa.Table.from_arrays([array for _, array in columns], names=[name for name, _ in columns])


def _columns(frame: Any) -> list[tuple[str, pa.ChunkedArray]]:
    library, kind = type(frame).__module__.split(".")[0], type(frame).__name__
    if library == "polars" and kind in {"DataFrame", "LazyFrame"}:
        frame = (frame.collect() if kind == "LazyFrame" else frame).to_arrow()
    elif library == "pandas" and kind == "DataFrame":
        return [(str(name), _from_pandas(frame.iloc[:, number])) for number, name in enumerate(frame.columns)]
    elif isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    elif not isinstance(frame, pa.Table):
        raise DataError(
            "profile.no-frame",
            f"A {kind} has no profile.",
            fix="pass a pandas or polars DataFrame, or a pyarrow Table",
        )
    return list(zip(frame.column_names, frame.columns, strict=True))


def _from_pandas(series: Any) -> pa.ChunkedArray:
    try:
        return pa.chunked_array([pa.array(series, from_pandas=True)])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # values of several types
        present = [None if missing else b"" for missing in series.isna()]
        return pa.chunked_array([pa.array(present, pa.binary())])


def _column(
    name: str, array: Any, is_personal: bool, like: ColumnProfile | None, clean: Callable[[str], str] | None
) -> ColumnProfile:
    kind_of = array.type
    if pa.types.is_dictionary(kind_of):
        array = array.cast(kind_of.value_type)
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    base = {"name": name, "type": str(kind_of), "nulls": array.null_count}
    if is_personal:
        return ColumnProfile(**base, kind="personal")
    values = _spread(array).drop_null()
    if pa.types.is_boolean(array.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _texts(base, values, like, clean)
    numbers = _numbers(values)
    if numbers is None:
        return ColumnProfile(**base, kind="other")
    kind = "time" if pa.types.is_temporal(array.type) else "number"
    return ColumnProfile(**base, kind=kind, **_histogram(numbers, like))


def _spread(array: Any) -> Any:
    step = -(-len(array) // _SAMPLE)
    return array.take(pa.array(np.arange(0, len(array), step))) if step > 1 else array


def _numbers(values: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Values as finite floats; times as seconds."""
    kind = values.type
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(values.type) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[values.type.unit]
        integers = values.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
        return integers.to_numpy().astype(np.float64) / per_second
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = values.cast(pa.float64(), safe=False).to_numpy()
        return numbers[np.isfinite(numbers)]
    return None


def _histogram(numbers: np.ndarray[Any, np.dtype[np.float64]], like: ColumnProfile | None) -> dict[str, Any]:
    if like is not None and like.edges:
        edges = np.asarray(like.edges)
    else:
        edges = np.unique(np.quantile(numbers, _DECILES)) if len(numbers) else np.array([])
    counts = np.bincount(np.searchsorted(edges, numbers, side="left"), minlength=len(edges) + 1)
    return {"edges": tuple(float(edge) for edge in edges), "bins": tuple(int(count) for count in counts)}


def _texts(
    base: dict[str, Any], values: Any, like: ColumnProfile | None, clean: Callable[[str], str] | None
) -> ColumnProfile:
    """Categories when there are few, else how long the texts are."""
    counted = pc.value_counts(values)
    distinct = len(counted)
    is_category = (
        like.kind == "category" if like is not None else distinct <= min(_MOST_DISTINCT, max(2, len(values) // 4))
    )
    if not is_category:
        lengths = pc.utf8_length(values).to_numpy().astype(np.float64)
        return ColumnProfile(**base, kind="text", distinct=distinct, **_histogram(lengths, like))
    counts: dict[str, int] = {}
    for item in counted:
        label = clean(item["values"].as_py()) if clean else item["values"].as_py()
        counts[label] = counts.get(label, 0) + item["counts"].as_py()
    kept = (
        like.categories
        if like is not None
        else tuple(sorted(counts, key=lambda one: (-counts[one], one))[:_CATEGORIES])
    )
    bins = [counts.pop(label, 0) for label in kept]
    return ColumnProfile(
        **base, kind="category", categories=kept, bins=(*bins, sum(counts.values())), distinct=distinct
    )
