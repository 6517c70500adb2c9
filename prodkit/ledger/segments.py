"""The files of the journal: `<stream>-<number>.jsonl`, one stream for each process that writes at the same time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from prodkit.ledger.chain import Entry, decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"(?P<stream>\d{4,})-(?P<number>\d{6,})\.jsonl")
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A file of the journal."""

    stream: str
    number: int
    path: Path


@dataclass(frozen=True, slots=True)
class Tail:
    """How a segment ends: its last whole line, the bytes up to its end, and what lies torn behind it."""

    last: Entry | None
    whole: int
    torn: int = 0
    torn_hash: str = ""


def segment_path(folder: Path, stream: str, number: int) -> Path:
    """The path of a segment."""
    return folder / f"{stream}-{number:06d}.jsonl"


def lock_path(folder: Path, stream: str) -> Path:
    """The lock file of a stream."""
    return folder / f"{stream}.lock"


def list_segments(folder: Path) -> list[Segment]:
    """All segments, by stream and number."""
    try:
        names = os.listdir(folder)  # noqa: PTH208  iterdir would build a Path for every lock file too
    except FileNotFoundError:
        return []
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(Segment(match["stream"], int(match["number"]), folder / match.string) for match in matches)


def by_stream(folder: Path) -> dict[str, list[Segment]]:
    """The segments of each stream, in their order."""
    streams: dict[str, list[Segment]] = {}
    for segment in list_segments(folder):
        streams.setdefault(segment.stream, []).append(segment)
    return streams


def read_tail(path: Path) -> Tail:
    """The last whole line of a segment, found from its end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        whole = _end_of_last_line(path, size)
        torn = b""
        if whole < size:
            file.seek(whole)
            torn = file.read()
        line = _line_before(path, whole)
    try:
        last = decode(line) if line else None
    except ValueError:
        last = None
    return Tail(last, whole, len(torn), sha256(torn).hexdigest() if torn else "")


def last_entry(segments: list[Segment]) -> Entry | None:
    """The last whole line of a stream."""
    for segment in reversed(segments):
        if (entry := read_tail(segment.path).last) is not None:
            return entry
    return None


def read_lines(path: Path, offset: int = 0, *, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Whole lines from `offset` on, each with the offset behind it; a torn last line is left out."""
    position = offset
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            yield position, line
            if limit is not None and position - offset >= limit:
                return


def _end_of_last_line(path: Path, size: int) -> int:
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
    return 0


def _line_before(path: Path, end: int) -> bytes:
    """The line that ends at `end`."""
    if end == 0:
        return b""
    begin = _end_of_last_line(path, end - 1)
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(end - begin)
