"""Rows and columns of a table, without importing its library and without computing a lazy one."""

from __future__ import annotations

import functools
import itertools
from typing import Any

_COLUMNS = 2_000

Shape = tuple[int | None, tuple[tuple[str, str], ...]]

_name = functools.lru_cache(maxsize=512)(str)  # a numpy type takes 5 us to write its name


def shape(frame: Any) -> Shape:
    """Number of rows, and names with types of the columns; nothing for what is no table in memory."""
    library, kind = type(frame).__module__.split(".")[0], type(frame).__name__
    if library == "pandas" and kind == "DataFrame":
        names = itertools.islice(zip(frame.columns, frame.dtypes.array, strict=True), _COLUMNS)
        return len(frame), tuple((str(name), _name(dtype)) for name, dtype in names)
    if library == "polars" and kind == "DataFrame":
        return frame.height, tuple((name, _name(dtype)) for name, dtype in list(frame.schema.items())[:_COLUMNS])
    if library == "pyarrow" and kind == "Table":
        return frame.num_rows, tuple((item.name, _name(item.type)) for item in list(frame.schema)[:_COLUMNS])
    if library == "numpy" and kind == "ndarray":
        return (len(frame) if frame.ndim else None), ()
    return None, ()
