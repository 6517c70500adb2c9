"""Which changes of a table change its id, and which ways to store it don't: prints two tables in Markdown.

    python tests/benchmarks/sensitivity_table.py

The cases are those of `tests/fingerprint`. Beside prodkit's id: the digests that MLflow computes from a pandas and from
a polars frame, and SHA-256 over the table as an Arrow IPC stream. `no` is a wrong answer, `-` is a table that the peer
can't take. Ends with 1 when prodkit answers one case wrong.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from prodkit.fingerprints import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable


def as_table(frame: Any) -> pa.Table:
    """Whatever a case makes as an Arrow table, for the peers."""
    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    if isinstance(frame, pl.DataFrame):
        return frame.to_arrow()
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    return frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)


def ipc(table: pa.Table) -> str:
    """SHA-256 of the Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def mlflow_pandas(table: pa.Table) -> str:
    """MLflow's digest of a pandas frame."""
    import mlflow.data

    return str(mlflow.data.from_pandas(table.to_pandas()).digest)


def mlflow_polars(table: pa.Table) -> str:
    """MLflow's digest of a polars frame."""
    import mlflow.data

    if any(pa.types.is_decimal256(kind) for kind in table.schema.types):
        raise TypeError("polars ends with a panic")
    return str(mlflow.data.from_polars(pl.DataFrame(table)).digest)


PEERS: dict[str, Callable[[Any], str]] = {
    "prodkit": fingerprint,
    "mlflow.data.from_pandas": lambda frame: mlflow_pandas(as_table(frame)),
    "mlflow.data.from_polars": lambda frame: mlflow_polars(as_table(frame)),
    "Arrow IPC": lambda frame: ipc(as_table(frame)),
}


def answers(cases: dict[str, Callable[[], Any]], base: Any, *, same: bool) -> dict[str, list[str]]:
    """For each case, whether each peer is right: `yes`, `no`, or `-`."""
    found: dict[str, list[str]] = {}
    for name, make in cases.items():
        found[name] = []
        for identify in PEERS.values():
            try:
                right = (identify(make()) == identify(base)) is same
            except Exception:
                found[name].append("-")
                continue
            found[name].append("yes" if right else "no")
    return found


def show(title: str, found: dict[str, list[str]]) -> int:
    """Print a table; returns how often prodkit is wrong."""
    print(f"| {title} | {' | '.join(PEERS)} |\n|---|{'---|' * len(PEERS)}")
    for name, row in found.items():
        print(f"| {name} | {' | '.join(row)} |")
    right = [sum(row[place] == "yes" for row in found.values()) for place in range(len(PEERS))]
    print(f"| **right, of {len(found)}** | {' | '.join(map(str, right))} |\n")
    return len(found) - right[0]


def main() -> int:
    """Print both tables; the exit code."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_MODEL_CATALOG_URI": ""}
    warnings.simplefilter("ignore")
    path = Path(__file__).parents[1] / "fingerprint" / "test_fingerprint.py"
    spec = importlib.util.spec_from_file_location("fingerprint_tests", path)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    wrong = show("the id changes with", answers(tests.DIFFERENT, tests.BASE, same=False))
    wrong += show("the id stays when stored as", answers(tests.SAME, tests.BASE, same=True))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
