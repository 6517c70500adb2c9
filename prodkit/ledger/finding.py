"""Finding records in a large journal without reading it as JSON, or at all where it is older than what is sought.

Ids of requests and runs begin with the time at which they were made, and segments are in the order of time: what is
sought can't stand in a segment that had ended before. Within the others it is found by its bytes.
"""

from __future__ import annotations

import mmap
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prodkit.ledger.chain import Entry, decode, intact
from prodkit.ledger.segments import by_stream, read_lines, read_tail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodkit.ledger.segments import Segment

_ID = re.compile(r"[a-z]+-([0-9a-f]{12})[0-9a-f]{16}")
_SKEW = timedelta(hours=1)  # a clock that was set back in between
_HEAD_BYTES = 400
_MOST_FREQUENT = (b'"kind":"call"', b'"kind":"trace"')


def time_of(name: str) -> datetime | None:
    """When an id of ours was made; None for one of somebody else's making."""
    match = _ID.fullmatch(name)
    return datetime.fromtimestamp(int(match[1], 16) / 1000, UTC) if match else None


def find_entry(folder: Path, kind: str, mark: str, since: datetime | None = None) -> Entry | None:
    """The first intact record of a kind that holds this piece of JSON.

    Args:
        folder: `.prodkit/journal`.
        kind: what it is.
        mark: e.g. `"request_id":"req-..."`.
        since: it isn't older than this.
    """
    for segment in _segments(folder, since):
        for line in _lines_with(segment.path, mark.encode("ascii", "backslashreplace")):
            if f'"kind":"{kind}"'.encode() in line[:_HEAD_BYTES] and intact(line) is not None:
                return decode(line)
    return find_entry(folder, kind, mark) if since is not None else None  # the clock was wrong


def rare_entries(folder: Path, kinds: tuple[str, ...], since: datetime | None = None) -> Iterator[Entry]:
    """The intact records of some kinds, in one pass; meant for those that are rare among many calls and traces."""
    marks = tuple(f'"kind":"{kind}"'.encode() for kind in kinds)
    frequent = tuple(mark for mark in _MOST_FREQUENT if mark not in marks)
    for segment in _segments(folder, since):
        for _, line in read_lines(segment.path):
            head = line[:_HEAD_BYTES]
            if any(mark in head for mark in frequent):
                continue
            if any(mark in head for mark in marks) and intact(line) is not None:
                yield decode(line)


def _segments(folder: Path, since: datetime | None) -> Iterator[Segment]:
    for segments in by_stream(folder).values():
        for segment in segments:
            last = read_tail(segment.path).last if since is not None else None
            if last is None or since is None or datetime.fromisoformat(last.time) >= since - _SKEW:
                yield segment


def _lines_with(path: Path, mark: bytes) -> Iterator[bytes]:
    """The whole lines of a file that hold some bytes; the file is looked at where it lies, without a copy of it."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as view:
            at = view.find(mark)
            while at >= 0:
                begin, end = view.rfind(b"\n", 0, at) + 1, view.find(b"\n", at)
                if end < 0:
                    return  # torn
                yield view[begin : end + 1]
                at = view.find(mark, end)
