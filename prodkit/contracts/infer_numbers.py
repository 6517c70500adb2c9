"""Bounds for numbers and times, with margins wide enough for rows that come later."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from prodkit.contracts.draft import Draft

_TAIL = 1e-6  # the share of later clean values that may lie beyond a bound
_FEWEST = 20
_SIGNED = ("balance", "delta", "change", "diff", "profit", "net", "offset", "lat", "lon", "lng", "temp", "score")
_YEARS_AHEAD = 5


def draft_number(draft: Draft, array: Any, *, grows: bool) -> None:
    """Bounds of a numeric column; a column that grows with the rows gets no upper one."""
    values = np.sort(np.asarray(pc.cast(array.drop_null(), pa.float64(), safe=False)))
    endless_below, endless_above = (bool(len(values)) and bool(np.isinf(values[end])) for end in (0, -1))
    values = values[np.isfinite(values)]
    if len(values) < _FEWEST or values[0] == values[-1]:
        return
    whole = draft.logical_type == "integer"
    seen = f"{len(values)} values from {_text(values[0])} to {_text(values[-1])}"
    low, why_low = _low(values, draft.name, whole=whole)
    if low is not None and not endless_below:
        draft.option("minimum", _number(low, whole=whole, down=True), f"{seen}; {why_low}")
    if grows or endless_above:
        return
    high, why_high = _high(values, whole=whole)
    draft.option("maximum", _number(high, whole=whole, down=False), f"{seen}; {why_high}")


def draft_time(draft: Draft, array: Any) -> None:
    """Bounds of dates and timestamps: a year before the first at least, and the next years for those to come."""
    extremes = pc.min_max(pc.cast(array, pa.timestamp("us", getattr(array.type, "tz", None)), safe=False))
    try:
        first, last = (_moment(extremes[name].as_py()) for name in ("min", "max"))
    except (OverflowError, ValueError, AttributeError):
        return
    if draft.filled < _FEWEST:
        return
    spread = max(last - first, timedelta(days=365))
    low = max(first.replace(tzinfo=None) - spread, datetime(1, 1, 1))  # noqa: DTZ001  (years only)
    written = "{}-01-01" if draft.logical_type == "date" else "{}-01-01T00:00:00"
    seen = f"{draft.filled} values from {first.date()} to {last.date()}"
    draft.option(
        "minimum", written.format(f"{low.year:04d}"), f"{seen}; as long before them as they span, a year at least"
    )
    year = min(last.year + 1 + max(_YEARS_AHEAD, math.ceil(spread.days / 365)), 9999)
    draft.option(
        "exclusiveMaximum", written.format(f"{year:04d}"), f"{seen}; at least {_YEARS_AHEAD} years for later rows"
    )


def grows_with_rows(array: Any) -> bool:
    """Whether later rows have larger values: ids and counters. Asked of the order in which the rows came."""
    values = np.asarray(array.drop_null())
    return len(values) >= _FEWEST and bool(np.all(values[1:] >= values[:-1])) and values[0] != values[-1]


def is_counter(array: Any) -> bool:
    """Whether whole numbers are distinct although chance would have repeated some: a designed key.

    Drawn at random from their own range, n numbers out of D would collide n²/2D times.
    """
    values = np.asarray(array.drop_null()).astype("f8")
    if len(values) < _FEWEST:
        return False
    span = float(values.max() - values.min()) + 1
    return len(values) ** 2 / (2 * span) >= 5  # noqa: PLR2004  (none of five expected collisions: less than 1 % by chance)


def _factor(count: int) -> float:
    """How much farther than the farthest of `count` values a later one may lie, were they normally distributed."""
    normal = NormalDist()
    return normal.inv_cdf(1 - _TAIL) / normal.inv_cdf(1 - 1 / (count + 1)) if count < 1 / _TAIL else 1.1


def _high(values: Any, *, whole: bool) -> tuple[float, str]:
    top, middle = float(values[-1]), float(np.median(values))
    if whole and _is_hard_edge(values, top):
        return top, "the largest is so frequent that it is an edge"
    factor = _factor(len(values))
    if values[0] > 0 and top - middle > 2 * (middle - values[0]):
        far = math.exp(min(math.log(middle) + (math.log(top) - math.log(middle)) * factor, 700.0))
        return max(far, top), "skewed, so the margin is taken on the logarithm"
    positive = values[values > 0]
    if values[0] >= 0 and len(positive) >= _FEWEST and top - middle > 2 * (middle - values[0]):
        middle = float(np.median(positive))
        far = math.exp(min(math.log(middle) + (math.log(top) - math.log(middle)) * factor, 700.0))
        return max(far, top), "skewed, so the margin is taken on the logarithm"
    return middle + (top - middle) * factor, f"the distance from the median times {factor:.2g}"


def _low(values: Any, name: str, *, whole: bool) -> tuple[float | None, str]:
    bottom, middle = float(values[0]), float(np.median(values))
    if whole and _is_hard_edge(values, bottom):
        return bottom, "the smallest is so frequent that it is an edge"
    factor = _factor(len(values))
    low = middle - (middle - bottom) * factor
    if bottom >= 0 and low < 0 and not any(part in name.lower() for part in _SIGNED):
        return 0.0, "none is negative"
    if bottom < 0 and values[-1] > 0 and -bottom < 0.05 * float(values[-1]):  # a long tail on the other side only
        low = min(low, 4 * bottom)
    return low, f"the distance from the median times {factor:.2g}"


def _is_hard_edge(values: Any, edge: float) -> bool:
    """A rating's 1 and 5 are met all the time; in an open range each next value is met less than the last."""
    inner = edge - 1 if edge == values[-1] else edge + 1
    here, next_to_it = (int(np.count_nonzero(values == value)) for value in (edge, inner))
    return here >= max(_FEWEST // 2, len(values) // 20) and here >= 0.8 * next_to_it


def _number(value: float, *, whole: bool, down: bool) -> int | float:
    """A bound that a person would write: two digits, rounded away from the data."""
    if value == 0 or not math.isfinite(value):
        return 0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    if whole and step < 1:
        return math.floor(value) if down else math.ceil(value)
    rounded = (math.floor if down else math.ceil)(round(value / step, 6)) * step
    if whole or (abs(rounded) >= 1 and rounded == int(rounded)):
        return int(rounded)
    return float(f"{rounded:.6g}")


def _text(value: float) -> str:
    return f"{value:.6g}"


def _moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
