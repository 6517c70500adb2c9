"""Rows and columns of a table, without importing its library and without computing a lazy one."""

from __future__ import annotations

from typing import Any

_COLUMNS = 2_000

Shape = tuple[int | None, tuple[tuple[str, str], ...]]


def shape(frame: Any) -> Shape:
    """Number of rows, and names with types of the columns; nothing for what is no table in memory."""
    library, kind = type(frame).__module__.split(".")[0], type(frame).__name__
    if library == "pandas" and kind == "DataFrame":
        names = zip(frame.columns[:_COLUMNS], frame.dtypes[:_COLUMNS], strict=True)
        return len(frame), tuple((str(name), str(dtype)) for name, dtype in names)
    if library == "polars" and kind == "DataFrame":
        return frame.height, tuple((name, str(dtype)) for name, dtype in list(frame.schema.items())[:_COLUMNS])
    if library == "pyarrow" and kind == "Table":
        return frame.num_rows, tuple((item.name, str(item.type)) for item in list(frame.schema)[:_COLUMNS])
    if library == "numpy" and kind == "ndarray":
        return (len(frame) if frame.ndim else None), ()
    return None, ()
