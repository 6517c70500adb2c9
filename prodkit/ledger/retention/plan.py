"""Which segments of the journal may go: whole ones from the beginning of a stream on, in which all is old enough."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from prodkit.ledger import events
from prodkit.ledger.chain import GENESIS, decode
from prodkit.ledger.locks import is_locked
from prodkit.ledger.segments import Segment, by_stream, lock_path, read_lines, read_tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from prodkit.ledger.chain import Entry
    from prodkit.ledger.retention.notes import End
    from prodkit.ledger.shipments import Cursor

_RUN_END = b'"kind":"run.end"'
_NAMED = re.compile(rb'"(?:run_key|parent_key)":"([^"]+)"')


@dataclass
class Plan:
    """What goes. `began` are the ends before the first record that each stream holds now."""

    segments: list[tuple[Segment, End]] = field(default_factory=list)
    began: dict[str, End] = field(default_factory=dict)
    records: int = 0
    bytes: int = 0
    requests: int = 0
    traces: list[str] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    waiting: int = 0
    """Segments that are old enough, and stay because MLflow hasn't got all of their records."""

    def ends(self) -> dict[str, list[End]]:
        """By stream, as a note lists them."""
        ends = {stream: [end] for stream, end in self.began.items()}
        for segment, end in self.segments:
            ends.setdefault(segment.stream, []).append(end)
        return ends


def make_plan(folder: Path, cursors: Mapping[str, Cursor], before: datetime) -> Plan:
    """Look through what is old enough, and through nothing else.

    Args:
        folder: `.prodkit/journal`.
        cursors: how far each stream was shipped.
        before: records from this moment on stay.
    """
    plan = Plan()
    for stream, segments in by_stream(folder).items():
        first = next((line for segment in segments for _, line in read_lines(segment.path)), None)
        if first is not None and (entry := decode(first)).prev != GENESIS:
            plan.began[stream] = (entry.seq - 1, entry.prev)
        shipped = cursors[stream].seq if stream in cursors else 0
        for segment in segments[:-1]:  # the last one holds the head that the next process goes on from
            last = read_tail(segment.path).last
            if last is None or _moment(last) >= before:
                break
            if shipped < last.seq:
                plan.waiting += 1
                break
            if not _take(plan, folder, segment, last, before):
                break
    plan.runs -= _named_in(folder, plan)
    return plan


def _take(plan: Plan, folder: Path, segment: Segment, last: Entry, before: datetime) -> bool:
    """Add a segment, when nothing in it is younger and no run that still goes on was begun in it."""
    entries = list(_entries(segment))
    if any(_moment(entry) >= before for entry in entries):  # the clock went back
        return False
    begun = {entry.public["key"] for entry in entries if entry.kind == events.RUN_START}
    if begun and is_locked(lock_path(folder, segment.stream)) and begun - _ended(folder):
        return False
    plan.runs |= begun | {entry.public["run_key"] for entry in entries if entry.public.get("run_key")}
    plan.traces += [entry.public["trace_id"] for entry in entries if events.is_trace(entry)]
    plan.requests += sum(entry.kind == events.CALL for entry in entries)
    plan.records += len(entries)
    plan.bytes += segment.path.stat().st_size
    plan.segments.append((segment, (last.seq, last.hash)))
    return True


def _ended(folder: Path) -> set[str]:
    """The runs that have ended, wherever the journal says so."""
    ended: set[str] = set()
    for _, line in _lines(folder):
        if _RUN_END in line[:400] and (match := _NAMED.search(line)):
            ended.add(match[1].decode())
    return ended


def _entries(segment: Segment) -> Iterator[Entry]:
    for _, line in read_lines(segment.path):
        try:
            yield decode(line)
        except ValueError:
            continue


def _named_in(folder: Path, plan: Plan) -> set[str]:
    """The runs that a record which stays belongs to, or that have a child which stays."""
    if not plan.runs:
        return set()
    gone = {segment.path for segment, _ in plan.segments}
    named: set[str] = set()
    for segment, line in _lines(folder):
        if segment.path not in gone:
            named.update(match.decode() for match in _NAMED.findall(line))
    return named


def traces_until(folder: Path, days: Iterable[str]) -> list[str]:
    """The traces of the calls whose own retention period ends on one of these days."""
    marks = tuple(f'"expires":"{day}"'.encode() for day in days)
    found = (decode(line) for _, line in _lines(folder) if any(mark in line for mark in marks))
    return [entry.public["trace_id"] for entry in found if _is_short(entry) and entry.public.get("trace_id")]


def _is_short(entry: Entry) -> bool:
    """Whether it is a call to which the period of a data source applies, and not that of the whole service."""
    return entry.kind == events.CALL and entry.public.get("retention_class", "") not in {"", events.COMPLIANCE}


def _lines(folder: Path) -> Iterator[tuple[Segment, bytes]]:
    for segments in by_stream(folder).values():
        for segment in segments:
            for _, line in read_lines(segment.path):
                yield segment, line


def _moment(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry.time)
