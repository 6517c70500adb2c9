"""Bad rows in a file: readable again, and only by its owner."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.contracts.validation import Validation


def save(validation: Validation, path: Path) -> Path:
    """Write the quarantined rows with their reasons; the suffix follows from what could be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = validation.quarantined
    target = path.with_suffix(".parquet")
    try:
        table = _table(rows)
    except (pa.ArrowException, TypeError, ValueError):  # objects that Parquet has no type for
        target = path.with_suffix(".jsonl")
        with _private(target) as file:
            file.write(rows.to_json(orient="records", lines=True, default_handler=str, date_format="iso").encode())
        return target
    with _private(target) as file:
        pq.write_table(table, file)
    return target


def _table(rows: Any) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    if hasattr(rows, "collect"):
        rows = rows.collect()
    if hasattr(rows, "to_arrow"):
        return rows.to_arrow()
    return pa.Table.from_pandas(rows, preserve_index=False)


def without_rows(data: bytes, is_taken: Callable[[Any], bool]) -> bytes | None:
    """A Parquet file without the rows in which a cell is taken out; the same bytes where none is, None for no table."""
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError):
        return None
    kept = [not any(map(is_taken, row.values())) for row in table.to_pylist()]
    if all(kept):
        return data
    written = io.BytesIO()
    pq.write_table(table.filter(pa.array(kept)), written)
    return written.getvalue()


def _private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
