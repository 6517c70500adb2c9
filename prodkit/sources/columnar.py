"""Parquet files: they carry their own types, so columns are only renamed and joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.sources.grids import plain
from prodkit.sources.report import ORIGIN, SheetRead, Skipped, place
from prodkit.sources.tables import Harvest

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from prodkit.sources.options import TableOptions


def gather_frames(paths: dict[str, Path], options: TableOptions) -> tuple[pd.DataFrame, Harvest]:
    """All rows of all files, one below the other, and what was read. A column that a file lacks is missing there."""
    import pandas as pd

    harvest = Harvest()
    frames = [opened for label, path in paths.items() if (opened := _open(path, label, options, harvest)) is not None]
    return (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()), harvest


def _open(path: Path, label: str, options: TableOptions, harvest: Harvest) -> pd.DataFrame | None:
    import pandas as pd
    import pyarrow as pa

    try:
        found = pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        reason = f"the file can't be opened ({type(error).__name__})"
        harvest.skipped.append(Skipped(label, "", (), reason, "ask its owner to write it again", unreadable=True))
        return None
    ours = {plain(word): name for name, others in options.columns.items() for word in (name, *others)}
    names = {column: ours[plain(column)] for column in found.columns if plain(column) in ours}
    renamed = found.rename(columns=names)
    kept = [name for name in options.columns if name in renamed.columns] or list(renamed.columns)
    ignored = tuple(str(name) for name in renamed.columns if name not in kept)
    missing = tuple(name for name in options.columns if name not in kept)
    harvest.sheets.append(SheetRead(label, "", 0, len(found), ignored, missing))
    taken: pd.DataFrame = renamed[kept].reset_index(drop=True)
    taken.attrs = {}
    return taken.assign(**{ORIGIN: [place(label, "", row) for row in range(1, len(taken) + 1)]})
