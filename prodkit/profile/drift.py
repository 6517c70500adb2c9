"""What has moved between two profiles: the population stability index of each column, and changes of the table's form.

PSI is the sum over bins of (q - p) ln(q / p), where p and q are the shares then and now. Two samples of one population
have a PSI above 0 too, the larger the smaller they are; so a shift counts only when it is above what chance gives in 99
of 100 cases, and above the usual bounds (0.1 moderate, 0.25 major).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prodkit.profile.columns import ColumnProfile, Profile

MODERATE, MAJOR = 0.1, 0.25
_ALMOST_NONE = 0.5  # rows that an empty bin is taken to have
_Z99 = 2.326
_LEAST_ROWS = 30

Level = Literal["none", "moderate", "major"]


@dataclass(frozen=True, slots=True)
class Shift:
    """One thing that has moved."""

    column: str  # empty for the whole table
    what: str
    level: Level
    psi: float | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """All that has moved, and the index of each column that could be compared."""

    shifts: tuple[Shift, ...]
    psi: dict[str, float]
    rows_then: int
    rows_now: int

    @property
    def level(self) -> Level:
        """The worst of the shifts."""
        levels = {shift.level for shift in self.shifts}
        return "major" if "major" in levels else "moderate" if "moderate" in levels else "none"

    def metrics(self, dataset: str) -> dict[str, float]:
        """Metrics by names that MLflow takes: `drift.tickets.psi.priority`, `drift.tickets.psi_max`, ..."""
        prefix = f"drift.{_plain(dataset)}"
        columns = {f"{prefix}.psi.{_plain(column)}"[:250]: value for column, value in self.psi.items()}
        worst = {f"{prefix}.psi_max": max(self.psi.values(), default=0.0)}
        return columns | worst | {f"{prefix}.shifts": float(len(self.shifts)), f"{prefix}.rows": float(self.rows_now)}


def drift(then: Profile, now: Profile) -> Drift:
    """Compare two profiles; `now` must be made with `profile(frame, like=then)`."""
    shifts: list[Shift] = []
    indices: dict[str, float] = {}
    for column in then.columns:
        later = now.column(column.name)
        if later is None:
            shifts.append(Shift(column.name, "the column is gone", "major"))
        elif later.type != column.type:
            shifts.append(Shift(column.name, f"the type was {column.type} and is {later.type}", "major"))
        else:
            shifts += _compare(column, later, then.rows, now.rows, indices)
    known = {column.name for column in then.columns}
    shifts += [
        Shift(column.name, "the column is new", "moderate") for column in now.columns if column.name not in known
    ]
    return Drift(tuple(shifts), indices, then.rows, now.rows)


def _compare(
    then: ColumnProfile, now: ColumnProfile, rows_then: int, rows_now: int, indices: dict[str, float]
) -> list[Shift]:
    before, after = _shares(then, rows_then), _shares(now, rows_now)
    if len(before) != len(after) or min(rows_then, rows_now) < _LEAST_ROWS:
        return []
    index = psi(before, after)
    indices[then.name] = round(index, 6)
    if index <= max(MODERATE, chance(len(before), sum(before), sum(after))):
        return []
    level: Level = "major" if index > MAJOR else "moderate"
    shares = then.nulls / rows_then, now.nulls / rows_now
    if abs(shares[1] - shares[0]) > MODERATE:
        return [Shift(then.name, f"empty values were {shares[0]:.1%} and are {shares[1]:.1%}", level, index)]
    return [Shift(then.name, "the distribution has moved", level, index)]


def _shares(column: ColumnProfile, rows: int) -> list[float]:
    """Counts of the bins and of the nulls, in one unit: bins may come from a sample."""
    filled = rows - column.nulls
    sampled = sum(column.bins) or 1
    return (
        [count * filled / sampled for count in column.bins] + [float(column.nulls)]
        if column.bins
        else [
            float(filled),
            float(column.nulls),
        ]
    )


def psi(before: list[float], after: list[float]) -> float:
    """The population stability index of two lists of counts; an empty bin counts as half a row."""
    total_before, total_after = sum(before), sum(after)
    index = 0.0
    for one, other in zip(before, after, strict=True):
        if one == other == 0:
            continue
        p, q = max(one, _ALMOST_NONE) / total_before, max(other, _ALMOST_NONE) / total_after
        index += (q - p) * math.log(q / p)
    return index


def chance(bins: int, rows_then: float, rows_now: float) -> float:
    """The index that two samples of one population stay below in 99 of 100 cases.

    Without a shift PSI is about (1/n + 1/m) times chi-square with bins-1 degrees of freedom; its quantile is Wilson and
    Hilferty's approximation.
    """
    freedom = max(1, bins - 1)
    part = 2 / (9 * freedom)
    quantile: float = freedom * (1 - part + _Z99 * math.sqrt(part)) ** 3
    return quantile * (1 / max(1.0, rows_then) + 1 / max(1.0, rows_now))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_\-. /]", "_", name)
