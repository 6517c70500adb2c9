"""Checking the journal: every edit, deletion, insertion, reordering and truncation is found and named.

Within a stream the hash chain tells. What a chain alone can't tell, the loss of its end or of a whole stream, is told
by witnesses elsewhere: the heads that other streams noted when they were opened, the signed checkpoints (their copies
in MLflow above all), and the shipping cursors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from prodkit.ledger import chain
from prodkit.ledger.locks import is_locked
from prodkit.ledger.retention.notes import read_note
from prodkit.ledger.segments import Segment, by_stream, lock_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prodkit.ledger.retention.notes import Note

Kind = Literal["edited", "deleted", "reordered", "truncated", "torn", "signature", "clock"]
_NOTES = {"torn", "clock"}
_OPEN, _RETENTION = b'"kind":"open"', b'"kind":"retention"'
_HEAD_BYTES = 400
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that isn't as it was written. `record` is the number of the record in its stream."""

    kind: Kind
    stream: str
    record: int
    what: str

    @property
    def is_note(self) -> bool:
        """Explained and harmless: a line that a killed process left unfinished, a clock that went back."""
        return self.kind in _NOTES


@dataclass(frozen=True, slots=True)
class Claim:
    """What a witness says: this stream had this record with this hash."""

    stream: str
    seq: int
    hash: str
    witness: str


@dataclass(frozen=True, slots=True)
class Removal:
    """Records up to `record` left the stream when their retention period of so many days was over."""

    stream: str
    record: int
    time: str
    days: float


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome: what was read, how long it took, and what is wrong."""

    records: int
    streams: int
    seconds: float
    flaws: tuple[Flaw, ...] = ()
    checkpoints: int = 0
    removals: tuple[Removal, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was changed."""
        return all(flaw.is_note for flaw in self.flaws)


@dataclass
class _Stream:
    """What was read of one stream."""

    name: str
    digests: bytearray = field(default_factory=bytearray)  # 32 bytes a record: a million records take 32 MB
    flaws: list[Flaw] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    expected: str | None = chain.GENESIS
    seq: int = 0
    base: int = 0
    """The record before the first that is held; everything up to it was removed."""
    notes: list[Note] = field(default_factory=list)
    time: str = ""
    torn: tuple[int, int, str] | None = None  # segment, bytes, hash
    begins: str = ""  # the hash that the first record hangs on, where it isn't the stream's first

    def flaw(self, kind: Kind, record: int, what: str) -> None:
        self.flaws.append(Flaw(kind, self.name, record, what))


def verify_journal(folder: Path, witnesses: Iterable[Claim] = (), *, key: str = "") -> Verification:
    """Check every stream of a journal, and what the witnesses say of it.

    Args:
        folder: `.prodkit/journal`.
        witnesses: claims from checkpoints and shipping cursors.
        key: the public key that must have signed the notes of removals, in hex; without one any key will do.
    """
    begun = time.perf_counter()
    streams = {name: _read_stream(folder, name, segments) for name, segments in by_stream(folder).items()}
    flaws = [flaw for stream in streams.values() for flaw in stream.flaws]
    claims = [claim for stream in streams.values() for claim in stream.claims]
    notes = [note for stream in streams.values() for note in stream.notes]
    removals, unexplained = _check_removals(streams, notes, key)
    flaws.extend(unexplained)
    flaws.extend(_check_claims(streams, [*claims, *witnesses]))
    return Verification(
        records=sum(len(stream.digests) // _DIGEST for stream in streams.values()),
        streams=len(streams),
        seconds=time.perf_counter() - begun,
        flaws=tuple(flaws),
        removals=tuple(removals),
    )


def _read_stream(folder: Path, name: str, segments: list[Segment]) -> _Stream:
    stream = _Stream(name)
    _begin(stream, segments[0])
    for before, segment in zip([None, *segments], segments, strict=False):
        expected = before.number + 1 if before else segment.number if stream.base else 1
        if segment.number != expected:
            stream.flaw("deleted", stream.seq + 1, f"segment {segment.number - 1} is missing")
        _read_segment(stream, segment)
    if stream.torn is not None and not is_locked(lock_path(folder, name)):
        _, size, _ = stream.torn
        stream.flaw("torn", stream.seq + 1, f"{size} bytes of a record that was never acknowledged")
    return stream


def _begin(stream: _Stream, segment: Segment) -> None:
    """A stream whose first records were removed begins in the middle: whether that is in order, a note has to say."""
    with segment.path.open("rb") as file:
        line = file.readline()
    seq, linked = _seq(line), chain.intact(line)
    if linked is not None and seq is not None and seq > 1:
        stream.base = stream.seq = seq - 1
        stream.expected = linked[1]
        stream.begins = linked[1]


def _check_removals(streams: dict[str, _Stream], notes: list[Note], key: str) -> tuple[list[Removal], list[Flaw]]:
    """What is missing at the beginning of a stream must be what a signed note says was removed."""
    removals: list[Removal] = []
    flaws: list[Flaw] = []
    genuine = [note for note in notes if note.key == (key or note.key) and note.is_genuine]
    for stream in (one for one in streams.values() if one.base):
        end = (stream.base, stream.begins)
        saying = sorted((one for one in genuine if end in one.ends.get(stream.name, ())), key=lambda one: one.time)
        if saying:
            removals.append(Removal(stream.name, stream.base, saying[0].time, saying[0].days))
        else:
            what = f"{stream.base} records are missing before record {stream.base + 1}, and no signed note says why"
            flaws.append(Flaw("deleted", stream.name, 1, what))
    return removals, flaws


def _read_segment(stream: _Stream, segment: Segment) -> None:
    first = True
    with segment.path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                stream.torn = (segment.number, len(line), sha256(line).hexdigest())
                return
            _read_line(stream, line)
            head = line[:_HEAD_BYTES]
            if first or _OPEN in head:
                _read_opening(stream, line, segment)
                first = False
            elif _RETENTION in head:
                _read_removal(stream, line)


def _read_line(stream: _Stream, line: bytes) -> None:
    """The hot loop: slices and one SHA-256, no JSON unless something is wrong."""
    linked = chain.intact(line)
    if linked is None:
        stream.seq += 1
        stream.digests += bytes(_DIGEST)
        stream.flaw("edited", stream.seq, "the record isn't what was written")
        stream.expected = None  # the next one hangs on what we no longer have
        return
    digest, prev = linked
    if prev != stream.expected:
        _explain_break(stream, line, prev)
    stream.seq += 1
    stream.digests += bytes.fromhex(digest)
    stream.expected = digest


def _explain_break(stream: _Stream, line: bytes, prev: str) -> None:
    seq = _seq(line)
    last = stream.seq
    if seq is None or seq == last + 1:
        if stream.expected is not None:
            stream.flaw("edited", last + 1, "the record before it was replaced")
    elif seq > last + 1:
        gap = seq - last - 1
        stream.flaw("deleted", last + 1, f"{gap} record{'s are' if gap > 1 else ' is'} missing before record {seq}")
        stream.digests += bytes(_DIGEST * (seq - last - 1))
        stream.seq = seq - 1
    else:
        stream.flaw("reordered", last + 1, f"record {seq} stands where record {last + 1} belongs")
    del prev


def _seq(line: bytes) -> int | None:
    try:
        return chain.decode(line).seq
    except ValueError:
        return None


def _read_opening(stream: _Stream, line: bytes, segment: Segment) -> None:
    try:
        entry = chain.decode(line)
    except ValueError:
        return
    if entry.stream != stream.name:
        stream.flaw("reordered", stream.seq, f"{segment.path.name} belongs to stream {entry.stream}")
    if entry.kind != "open":
        return
    if stream.time and entry.time < stream.time:
        stream.flaw("clock", entry.seq, "the clock went back; the order is that of the records")
    stream.time = max(stream.time, entry.time)
    _settle_torn(stream, entry.public.get("torn"))
    for name, (seq, digest) in entry.public.get("heads", {}).items():
        stream.claims.append(Claim(name, int(seq), str(digest), f"stream {stream.name}, record {entry.seq}"))


def _read_removal(stream: _Stream, line: bytes) -> None:
    try:
        note = read_note(chain.decode(line).public)
    except ValueError:
        return
    if note is not None:
        stream.notes.append(note)


def _settle_torn(stream: _Stream, declared: dict[str, Any] | None) -> None:
    """An unfinished line is in order when the next process found and noted just that line."""
    if stream.torn is None and declared is None:
        return
    noted = (declared["segment"], declared["bytes"], declared["sha256"]) if declared else None
    if noted != stream.torn:
        stream.flaw("edited", stream.seq, "the unfinished line before this record isn't the one that was noted")
    stream.torn = None


def _check_claims(streams: dict[str, _Stream], claims: Iterable[Claim]) -> list[Flaw]:
    flaws: dict[tuple[str, str], Flaw] = {}
    for claim in sorted(claims, key=lambda claim: claim.seq):
        if claim.seq == 0:
            continue
        flaw = _check_claim(streams.get(claim.stream), claim)
        if flaw is not None:
            flaws[(claim.stream, flaw.kind)] = flaw
    return list(flaws.values())


def _check_claim(stream: _Stream | None, claim: Claim) -> Flaw | None:
    if stream is None:
        return Flaw("truncated", claim.stream, 0, f"the stream is missing; {claim.witness} saw {claim.seq} records")
    held = stream.base + len(stream.digests) // _DIGEST
    if claim.seq <= stream.base:  # removed; the note says until where
        return None
    if claim.seq > held:
        what = f"it ends at record {held}; {claim.witness} saw record {claim.seq}"
        return Flaw("truncated", claim.stream, held, what)
    at = claim.seq - stream.base
    found = bytes(stream.digests[(at - 1) * _DIGEST : at * _DIGEST])
    if found not in {bytes.fromhex(claim.hash), bytes(_DIGEST)}:  # zeros: reported as edited or deleted already
        what = f"record {claim.seq} isn't the one that {claim.witness} saw"
        return Flaw("edited", claim.stream, claim.seq, what)
    return None
