"""The parameter sets of a fan-out: read from a CSV or Parquet file, all checked before the first one runs."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.errors import ParameterError
from prodkit.jobs.folder import digest
from prodkit.jobs.parameters import as_json, check_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prodkit.jobs.folder import JobFolder

FANOUT_PREFIX = "fan"
"""The run ids of fan-outs as a whole begin with it."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Item:
    """One parameter set. `number` is its row, from 1; `digest` stands for its checked values."""

    number: int
    params: Mapping[str, object]
    digest: str


def batch_of(folder: JobFolder, salt: str = "") -> str:
    """What marks the items of one notebook: an item that has succeeded in this batch isn't run again."""
    return digest(salt or folder.index.source.digest)[-16:]


def key_of(batch: str, item: Item) -> str:
    """The idempotency key of an item's run."""
    return f"{batch}/{item.digest}"


def one_item(schema: Mapping[str, Any], params: Mapping[str, object]) -> Item:
    """A single parameter set.

    Raises:
        ParameterError: it doesn't fit the schema.
    """
    return Item(1, params, _digest_of(schema, check_parameters(schema, params)))


def read_items(path: Path, schema: Mapping[str, Any], common: Mapping[str, object]) -> tuple[Item, ...]:
    """The parameter sets of a file, each with the common parameters below its own.

    Args:
        path: `.csv` (text, parsed by the parameters' types) or `.parquet` (typed).
        schema: the job's parameters.
        common: parameters that all rows share; a column wins over them.

    Raises:
        ParameterError: the file can't be read, has no rows, has the same row twice, or rows that don't fit the schema:
            how many, and what is wrong with the first ones.
    """
    rows = _read(path)
    if not rows:
        raise ParameterError("items.empty", "The file has no rows.", where=str(path), fix="one row is one run")
    items, findings = [], []
    for number, row in enumerate(rows, start=1):
        params = {**common, **row}
        try:
            marked = _digest_of(schema, check_parameters(schema, params))
        except ParameterError as error:
            findings.append(f"row {number}: {error.what}")
            continue
        items.append(Item(number, params, marked))
    if findings:
        more = f" and {len(findings) - _SHOWN} rows more" if len(findings) > _SHOWN else ""
        raise ParameterError(
            "items.invalid",
            f"{len(findings)} of {len(rows)} rows don't fit the job: {'; '.join(findings[:_SHOWN])}{more}",
            where=str(path),
            fix="correct the rows; nothing was run",
        )
    _refuse_twins(items, path)
    return tuple(items)


def _digest_of(schema: Mapping[str, Any], values: dict[str, Any]) -> str:
    text = json.dumps(as_json(schema, values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _refuse_twins(items: list[Item], path: Path) -> None:
    first: dict[str, int] = {}
    for item in items:
        if item.digest in first:
            raise ParameterError(
                "items.twice",
                f"Rows {first[item.digest]} and {item.number} are the same run.",
                where=str(path),
                fix="remove one of them",
            )
        first[item.digest] = item.number


def _read(path: Path) -> list[dict[str, object]]:
    kind = path.suffix.lower()
    try:
        if kind == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return [_whole(row, path) for row in csv.DictReader(file)]
        if kind in {".parquet", ".pq"}:
            import pyarrow.parquet

            return [dict(row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    except (OSError, ValueError, csv.Error) as error:
        raise ParameterError(
            "items.file", f"The file can't be read ({type(error).__name__}).", where=str(path)
        ) from None
    raise ParameterError("items.kind", f"`{kind}` files aren't read.", where=str(path), fix="use .csv or .parquet")


def _whole(row: dict[str | Any, str | Any], path: Path) -> dict[str, object]:
    """A row that has as many fields as the header."""
    if None in row or None in row.values():
        raise ParameterError(
            "items.ragged", "A row has more or fewer fields than the header.", where=str(path), fix="quote commas"
        )
    return dict(row)
