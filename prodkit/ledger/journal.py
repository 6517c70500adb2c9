"""The journal: append-only, chained, and written before anything else happens.

Each process writes a stream of its own, so that parallel jobs never wait for each other and never tear each other's
lines. `append` has handed the line to the operating system when it returns: a killed process loses nothing. Who also
wants to survive a power failure waits with `Receipt.durable()`; all who wait at the same time share one fsync.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from prodkit.ledger.chain import GENESIS, Entry, encode
from prodkit.ledger.locks import try_lock
from prodkit.ledger.places import Places, unwritable
from prodkit.ledger.segments import by_stream, last_entry, lock_path, read_tail, segment_path
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodkit.ledger.keys import Keyring

SEGMENT_BYTES = 64 << 20
SEGMENT_SECONDS = 86_400.0  # retention removes whole segments: what is younger holds up what is older by a day at most
_sync = getattr(os, "fdatasync", os.fsync)  # all but the file's times, which nobody needs after a power failure


class Event(NamedTuple):
    """What is to be written: `public` in the clear, `private` sealed for the subjects whose content it is."""

    kind: str
    public: dict[str, Any]
    private: Any = None
    subjects: tuple[str, ...] = ()


class Receipt(NamedTuple):
    """Where a record stands in the journal. It is in the operating system's hands already."""

    stream: str
    seq: int
    sync: Callable[[int], None]

    def durable(self) -> None:
        """Wait until the record is on the disk itself."""
        self.sync(self.seq)


class Journal:
    """The stream of this process.

    Args:
        places: where the segments lie.
        keyring: seals private content.
        opening: what the first record of each process says (where records are shipped to).
        segment_bytes: a new file is begun behind this size.
    """

    def __init__(
        self,
        places: Places,
        keyring: Keyring,
        *,
        opening: Callable[[], dict[str, Any]] | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._places = places
        self._keyring = keyring
        self._opening = opening or dict
        self._segment_bytes = segment_bytes
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._pid = os.getpid()
        self._stream = ""
        self._lock_fd = self._fd = -1
        self._number = self._seq = self._synced = self._size = 0
        self._prev = GENESIS
        self._begun = 0.0

    @property
    def head(self) -> tuple[str, int]:
        """This process's stream and the number of its last record."""
        return (self._stream, self._seq) if self._pid == os.getpid() else ("", 0)

    def append(self, kind: str, public: dict[str, Any], private: Any = None, subject: str = "") -> Receipt:
        """Write one record.

        Args:
            kind: what it is: `call`, `run.start`, ...
            public: stays readable after an erasure; must hold no content of a person.
            private: sealed with the subject's key; goes with it.
            subject: whose content it is (a user's id); empty for nobody's.

        Raises:
            ConfigError: the disk is full or can't be written. Nothing of the record stays behind.
        """
        return self.append_all([Event(kind, public, private, (subject,) if subject else ())])

    def append_all(self, events: Sequence[Event]) -> Receipt:
        """Write several records with one write; returns the receipt of the last."""
        sealed = [self._seal(event) for event in events]
        with self._here():
            if not self._stream:
                self._claim()
            if self._size >= self._segment_bytes or time.monotonic() - self._begun > SEGMENT_SECONDS:
                self._rotate()
            return self._write(sealed)

    def sync(self) -> None:
        """Wait until everything that was appended is on the disk itself."""
        stream, seq = self.head
        if stream:
            self._sync_to(seq)

    def close(self) -> None:
        """Sync and give the stream back, for the next process to go on with."""
        if self._pid != os.getpid():
            return self.abandon()
        self.sync()
        with self._lock:
            self._drop()
        return None

    def abandon(self) -> None:
        """Forget the stream without touching it: what a forked child does with its parent's."""
        for descriptor in (self._fd, self._lock_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._forget()

    def renew(self, stream: str) -> bool:
        """Begin a new segment of a stream that no process writes now, so that all before it may go.

        The journal must not have a stream of its own yet. False when another process writes the stream.
        """
        with self._here():
            descriptor = try_lock(lock_path(self._places.journal, stream))
            if descriptor is None:
                return False
            self._continue(stream, descriptor)
        self.close()
        return True

    def _here(self) -> threading.Lock:
        if self._pid != os.getpid():  # forked: the stream belongs to the parent
            self.abandon()
        return self._lock

    def _seal(self, event: Event) -> tuple[Event, tuple[str, ...], str]:
        if event.private is None:
            return event, (), ""
        return event, *self._keyring.seal(event.private, event.subjects)

    def _write(self, sealed: Sequence[tuple[Event, tuple[str, ...], str]]) -> Receipt:
        prev, seq, lines = self._prev, self._seq, []
        for event, keys, secret in sealed:
            seq += 1
            entry = Entry(self._stream, seq, now().isoformat(), event.kind, event.public, secret, keys, prev)
            line, prev = encode(entry)
            lines.append(line)
        self._put(b"".join(lines))
        self._prev, self._seq = prev, seq
        return Receipt(self._stream, seq, self._sync_to)

    def _put(self, data: bytes) -> None:
        """Write all of it, or nothing of it."""
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            os.ftruncate(self._fd, self._size)  # these bytes were never acknowledged
            raise unwritable(self._places.journal, error) from None
        self._size += len(data)

    def _sync_to(self, seq: int) -> None:
        if self._synced >= seq:
            return
        with self._sync_lock:  # who waits here finds that the one before has synced for him too
            if self._synced >= seq or self._fd < 0:
                return
            reached = self._seq
            _sync(self._fd)
            self._synced = max(self._synced, reached)

    def _claim(self) -> None:
        """Take a stream that no process writes now, or make a new one."""
        self._places.make()
        folder = self._places.journal
        try:
            known = sorted(path.stem for path in folder.glob("*.lock"))
            for stream in known:
                if (descriptor := try_lock(lock_path(folder, stream))) is not None:
                    return self._continue(stream, descriptor)
            number = int(known[-1]) if known else 0
            while True:
                number += 1
                stream = f"{number:04d}"
                if (descriptor := try_lock(lock_path(folder, stream))) is not None:
                    return self._continue(stream, descriptor)
        except OSError as error:
            raise unwritable(folder, error) from None

    def _continue(self, stream: str, descriptor: int) -> None:
        segments = by_stream(self._places.journal).get(stream, [])
        torn: dict[str, Any] = {}
        last = None
        if segments:
            last = last_entry(segments)
            tail = read_tail(segments[-1].path)
            if tail.torn:  # a process died while it wrote; say so and leave its bytes as they are
                torn = {"torn": {"segment": segments[-1].number, "bytes": tail.torn, "sha256": tail.torn_hash}}
        self._lock_fd = descriptor
        self._stream = stream
        self._seq = self._synced = last.seq if last else 0
        self._prev = last.hash if last else GENESIS
        self._open_segment(segments[-1].number + 1 if segments else 1)
        heads = {name: self._head_of(name) for name in by_stream(self._places.journal) if name != stream}
        try:
            self._write([(Event("open", {**self._opening(), **torn, "pid": os.getpid(), "heads": heads}), (), "")])
        except BaseException:
            self._drop()
            raise

    def _head_of(self, stream: str) -> list[Any]:
        entry = last_entry(by_stream(self._places.journal)[stream])
        return [entry.seq, entry.hash] if entry else [0, GENESIS]

    def _rotate(self) -> None:
        with self._sync_lock:
            os.fsync(self._fd)
            os.close(self._fd)
            self._synced = self._seq
            self._open_segment(self._number + 1)

    def _open_segment(self, number: int) -> None:
        path = segment_path(self._places.journal, self._stream, number)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._number = number
        self._size = 0
        self._begun = time.monotonic()

    def _drop(self) -> None:
        for descriptor in (self._fd, self._lock_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd = self._lock_fd = -1
        self._stream = ""
