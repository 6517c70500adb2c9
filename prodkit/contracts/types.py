"""Whether a column is of the contract's logical type; never by converting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prodkit.contracts.checks import rows_of

if TYPE_CHECKING:
    from prodkit.contracts.cells import Cells


def type_fails(cells: Cells, logical: str) -> tuple[bool, Any]:
    """(whether the whole column is of another type, rows whose cell is).

    A float column counts as integer when it has nulls (pandas has no other way) and all its values are whole.
    A timestamp counts as date at midnight. An all-null column is of any type.
    """
    array = cells.array
    if cells.problem:
        return True, None
    odd = cells.odd
    kind = array.type
    if pa.types.is_null(kind) or array.null_count == len(array):
        return (False, odd) if len(array) or cells.untyped else (not _is(kind, logical), None)
    if _is(kind, logical):
        return False, odd
    if logical == "integer" and pa.types.is_floating(kind) and (array.null_count or odd is not None):
        return False, _either(odd, rows_of(pc.not_equal(array, pc.floor(array))))
    if logical == "date" and pa.types.is_timestamp(kind):
        return False, _either(odd, rows_of(pc.not_equal(array, pc.floor_temporal(array, unit="day"))))
    return True, None


def _is(kind: Any, logical: str) -> bool:
    types = pa.types
    if logical == "string":
        return bool(types.is_string(kind) or types.is_large_string(kind))
    if logical == "integer":
        return bool(types.is_integer(kind) or (types.is_decimal(kind) and kind.scale <= 0))
    if logical == "number":
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))
    if logical == "array":
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
    test = {
        "boolean": types.is_boolean,
        "date": types.is_date,
        "timestamp": types.is_timestamp,
        "time": types.is_time,
        "object": lambda it: types.is_struct(it) or types.is_map(it),
    }.get(logical)
    return test is None or bool(test(kind))


def _either(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else np.logical_or(one, other)
