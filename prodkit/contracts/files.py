"""Tables in files, for the commands: read as they are, without repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodkit.errors import DataError, nearest

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (".parquet", ".feather", ".arrow", ".csv", ".tsv", ".json", ".jsonl", ".xlsx")


def read_table(path: Path) -> Any:
    """A file as a pandas DataFrame, by its suffix.

    Raises:
        DataError: `contract.no-data`, `contract.unknown-file`, `contract.unreadable-data`.
    """
    if not path.is_file():
        others = (
            [other.name for other in path.parent.glob("*") if other.suffix in KINDS] if path.parent.is_dir() else []
        )
        raise DataError("contract.no-data", "There is no such file.", where=str(path), fix=nearest(path.name, others))
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DataError(
            "contract.unknown-file",
            f"Files of the kind `{kind}` aren't read.",
            where=str(path),
            fix="use " + ", ".join(KINDS),
        )
    try:
        return _read(path, kind)
    except Exception as error:  # each reader fails in its own ways, and its message may hold cells
        raise DataError(
            "contract.unreadable-data",
            f"The file can't be read as {kind}: {type(error).__name__}.",
            where=str(path),
            fix="open it with the program that wrote it, and save it again",
        ) from error


def _read(path: Path, kind: str) -> Any:
    import pandas as pd

    if kind == ".parquet":
        return pd.read_parquet(path)
    if kind in (".feather", ".arrow"):
        return pd.read_feather(path)
    if kind == ".xlsx":
        return pd.read_excel(path, engine="calamine")
    if kind in (".json", ".jsonl"):
        return pd.read_json(path, lines=kind == ".jsonl")
    return pd.read_csv(path, sep="\t" if kind == ".tsv" else ",")
