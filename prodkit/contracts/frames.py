"""The frames that can be checked, behind one small interface: pandas, polars (lazy too), pyarrow."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from prodkit.contracts.cells import Cells, from_arrow, from_pandas
from prodkit.errors import DataError, missing_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

REASON = "prodkit_reason"
ROW = "prodkit_row"
ORIGIN = "_origin"  # where a row came from, written by the readers of data sources; never the data's own


class Frame(ABC):
    """A table of a foreign library: read by column, never changed.

    Args:
        data: the user's frame.
        names: its columns' names as text.
        rows: the number of its rows.
    """

    library = ""  # whose types the columns have
    typed = True  # whether a column without rows still has a type that can be judged

    def __init__(self, data: Any, names: list[str], rows: int) -> None:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(
                "contract.duplicate-columns",
                f"The frame has more than one column called {', '.join(f'`{name}`' for name in twice[:5])}.",
                fix="rename or drop them; which one a rule means can't be known",
            )
        self.data, self.names, self.rows = data, names, rows
        self.positions = {name: position for position, name in enumerate(names)}

    @abstractmethod
    def cells(self, name: str, wanted: str = "") -> Cells:
        """One column; `wanted` is the logical type that the contract gives it."""

    @abstractmethod
    def keep(self, rows: NDArray[np.bool_]) -> Any:
        """A frame of the user's kind with the rows that are true."""

    @abstractmethod
    def set_aside(self, rows: NDArray[np.bool_], reasons: list[str]) -> Any:
        """The true rows with two columns more: the reason, and the row's position in the frame."""

    @abstractmethod
    def to_pandas(self) -> Any:
        """The frame for pandera's own checks."""

    def to_polars(self) -> Any:
        """The frame for pandera's checks of polars schemas.

        Raises:
            ConfigError: `package.missing`.
        """
        try:
            import polars as pl
        except ModuleNotFoundError:
            raise missing_extra("polars", "A polars schema") from None
        return pl.DataFrame(self.data)


class PandasFrame(Frame):
    """A pandas DataFrame."""

    library = "pandas"
    typed = False

    def __init__(self, data: Any) -> None:
        super().__init__(data, [str(name) for name in data.columns], len(data))

    def cells(self, name: str, wanted: str = "") -> Cells:
        """See `Frame`."""
        return from_pandas(self.data.iloc[:, self.positions[name]], wanted)

    def keep(self, rows: NDArray[np.bool_]) -> Any:
        """See `Frame`."""
        return self.data[rows]

    def set_aside(self, rows: NDArray[np.bool_], reasons: list[str]) -> Any:
        """See `Frame`."""
        return self.data[rows].assign(**{REASON: reasons, ROW: np.flatnonzero(rows)})

    def to_pandas(self) -> Any:
        """See `Frame`."""
        return self.data


class ArrowFrame(Frame):
    """A pyarrow Table or RecordBatch."""

    library = "pyarrow"

    def __init__(self, data: Any) -> None:
        super().__init__(data, list(data.schema.names), data.num_rows)

    def cells(self, name: str, wanted: str = "") -> Cells:  # noqa: ARG002
        """See `Frame`."""
        return from_arrow(self.data.column(self.positions[name]))

    def keep(self, rows: NDArray[np.bool_]) -> Any:
        """See `Frame`."""
        return self.data.filter(pa.array(rows))

    def set_aside(self, rows: NDArray[np.bool_], reasons: list[str]) -> Any:
        """See `Frame`."""
        kept = self.keep(rows)
        kept = kept if isinstance(kept, pa.Table) else pa.Table.from_batches([kept])
        kept = kept.append_column(REASON, pa.array(reasons, pa.string()))
        return kept.append_column(ROW, pa.array(np.flatnonzero(rows)))

    def to_pandas(self) -> Any:
        """See `Frame`."""
        table = self.data if isinstance(self.data, pa.Table) else pa.Table.from_batches([self.data])
        return table.to_pandas(ignore_metadata=True)


class PolarsFrame(Frame):
    """A polars DataFrame; a LazyFrame is collected once, and what comes back is lazy again."""

    library = "polars"

    def __init__(self, data: Any) -> None:
        import polars as pl

        self.lazy = isinstance(data, pl.LazyFrame)
        collected = data.collect() if self.lazy else data
        super().__init__(collected, list(collected.columns), collected.height)

    def cells(self, name: str, wanted: str = "") -> Cells:
        """See `Frame`."""
        import polars as pl

        series = self.data.get_column(name)
        if series.dtype == pl.Object:
            from prodkit.contracts.cells import from_objects

            return from_objects(np.array(series.to_list(), dtype=object), wanted)
        found = from_arrow(series.to_arrow(compat_level=pl.CompatLevel.oldest()), str(series.dtype))
        return replace(found, series=series) if series.dtype == pl.String else found

    def keep(self, rows: NDArray[np.bool_]) -> Any:
        """See `Frame`."""
        kept = self.data.filter(rows)
        return kept.lazy() if self.lazy else kept

    def set_aside(self, rows: NDArray[np.bool_], reasons: list[str]) -> Any:
        """See `Frame`."""
        import polars as pl

        kept = self.data.filter(rows).with_columns(
            pl.Series(REASON, reasons, dtype=pl.String), pl.Series(ROW, np.flatnonzero(rows))
        )
        return kept.lazy() if self.lazy else kept

    def to_pandas(self) -> Any:
        """See `Frame`."""
        return self.data.to_arrow().to_pandas(ignore_metadata=True)

    def to_polars(self) -> Any:
        """See `Frame`."""
        return self.data


def wrap(data: Any) -> Frame:
    """The frame behind its interface.

    Raises:
        DataError: `contract.no-frame`, it is none of the kinds that can be checked; `contract.duplicate-columns`.
    """
    if isinstance(data, Frame):
        return data
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return PandasFrame(data)
    if polars is not None and isinstance(data, polars.DataFrame | polars.LazyFrame):
        return PolarsFrame(data)
    if isinstance(data, pa.Table | pa.RecordBatch):
        return ArrowFrame(data)
    kind = f"{type(data).__module__.split('.')[0]}.{type(data).__name__}"
    raise DataError(
        "contract.no-frame",
        f"A {kind} can't be checked against a contract.",
        fix="pass a pandas or polars DataFrame, a polars LazyFrame or a pyarrow Table",
    )
