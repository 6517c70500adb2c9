"""Reading the journal for shipping: chunks of whole, intact lines, each stream from its cursor on."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.ledger.chain import Entry, decode, intact
from prodkit.ledger.finding import find_entry, time_of
from prodkit.ledger.segments import Segment, by_stream, last_entry, read_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prodkit.ledger.shipments import Cursor, Shipments

CHUNK_LINES = 1000
CHUNK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """A line of a chunk and the cursor behind it; `entry` is None where the line isn't intact."""

    entry: Entry | None
    cursor: Cursor


def read_chunk(segments: list[Segment], cursor: Cursor) -> list[Step]:
    """The next lines of a stream behind its cursor; empty at its end."""
    steps: list[Step] = []
    size = 0
    for segment in segments:
        if segment.number < cursor.segment:
            continue
        offset = cursor.offset if segment.number == cursor.segment else 0
        _persist(segment.path)
        for position, line in read_lines(segment.path, offset):
            steps.append(_step(line, segment, position, steps[-1].cursor if steps else cursor))
            size += len(line)
            if len(steps) >= CHUNK_LINES or size >= CHUNK_BYTES:
                return steps
    return steps


def _step(line: bytes, segment: Segment, position: int, before: Cursor) -> Step:
    entry = _read(line)
    behind = dataclasses.replace(before, segment=segment.number, offset=position)
    if entry is not None:
        behind = dataclasses.replace(behind, seq=entry.seq, hash=entry.hash)
    return Step(entry, behind)


def _read(line: bytes) -> Entry | None:
    if intact(line) is None:
        return None
    try:
        return decode(line)
    except ValueError:
        return None


def _persist(path: Path) -> None:
    """What MLflow shows must not be lost from the journal by a power failure: fsync before shipping."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def count_pending(folder: Path, shipments: Shipments) -> int:
    """How many records of all streams haven't been shipped."""
    return count_unread(folder, shipments.heads()) + sum(span.records for span in shipments.parked())


def count_unread(folder: Path, heads: Mapping[str, Cursor]) -> int:
    """How many records shipping hasn't looked at yet."""
    unread = 0
    for stream, segments in by_stream(folder).items():
        last = last_entry(segments)
        read = heads[stream].seq if stream in heads else 0
        unread += max(0, last.seq - read) if last else 0
    return unread


def find_run_start(folder: Path, key: str) -> dict[str, Any] | None:
    """How a run began, as its record says; None when the journal doesn't hold it."""
    entry = find_entry(folder, "run.start", f'"key":{json.dumps(key)}', time_of(key))
    return None if entry is None else entry.public
