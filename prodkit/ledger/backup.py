"""A backup of a project while it is used: one archive that holds together, whoever writes meanwhile.

What comes first may be older than what comes after it, and never the other way round: files that wait to be shipped,
then what is noted as shipped, then MLflow, then the journal, which knows all of it, and at last the keys, so that every
record in the archive can be opened. Databases are copied with SQLite's own backup, the journal up to whole records.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.ledger.locks import locked
from prodkit.ledger.places import Places
from prodkit.ledger.segments import by_stream, list_segments
from prodkit.manifest.project import STATE
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.ledger.segments import Segment
    from prodkit.manifest import Project

FORMAT = 1
LABEL = "prodkit-backup.json"
_SQLITE = b"SQLite format 3\x00"
_BESIDE = ("-wal", "-shm", "-journal")
_SKIPPED = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints", ".mypy_cache"})
_OTHERS = 600.0  # seconds for another backup that is being written
_FIRST, _LAST = ("spool", "ship.db", "mlflow.db", "artifacts", "checkpoints"), ("journal", "spool", "keys")
_BLOCK = 1 << 20


@dataclass(slots=True)
class Written:
    """What a backup holds. `skipped` are the files that couldn't be taken along, each with the reason."""

    path: Path
    files: int = 0
    bytes: int = 0
    keys: bool = True
    skipped: list[str] = field(default_factory=list)


def write_backup(
    project: Project, file: Path, *, keys: bool = True, state_only: bool = False, overwrite: bool = False
) -> Written:
    """Write a project into one archive that its owner alone can read.

    Args:
        project: the project; other processes may go on recording, running and shipping.
        file: the archive, a gzipped tar file.
        keys: with the keys that open prompts and answers. Without them the journal still verifies.
        state_only: only what prodkit has written, not the project's own files.
        overwrite: replace a file that is there.

    Raises:
        ConfigError: `backup.exists`, `backup.empty`, `backup.unwritable`.
    """
    if file.exists() and not overwrite:
        raise ConfigError("backup.exists", "The file is there already.", where=str(file), fix="say --overwrite")
    if not project.state.is_dir():
        fix = "run a captured cell first, or pass --project"
        raise ConfigError("backup.empty", "This project has no state yet.", where=str(project.state), fix=fix)
    draft = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with (
            _nothing_vanishes(Places(project.state)),
            os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw,
        ):
            with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as archive:
                packer = _Packer(project, archive, Written(file, keys=keys), {draft.resolve(), file.resolve()})
                packer.pack(state_only=state_only)
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(file)
    except OSError as error:
        where = str(error.filename or file)
        raise ConfigError(
            "backup.unwritable", f"No backup was written: {error.strerror or error}.", where=where
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    packer.written.bytes = file.stat().st_size
    return packer.written


@contextmanager
def _nothing_vanishes(places: Places) -> Iterator[None]:
    """Let whoever ships leave the files that were waiting where they are; a folder that is read-only loses none."""
    if not os.access(places.state, os.W_OK):
        yield
        return
    with locked(places.backup_lock, timeout=_OTHERS):
        yield


class _Packer:
    """Puts one file after the other into the archive."""

    def __init__(self, project: Project, archive: tarfile.TarFile, written: Written, own: set[Path]) -> None:
        self._project = project
        self._state = project.state
        self._archive = archive
        self._own = own
        self._taken: set[str] = set()
        self.written = written

    def pack(self, *, state_only: bool) -> None:
        self._label()
        if not state_only:
            self._folder(self._project.root, "", leave=_SKIPPED | {STATE})
        middle = [
            path.name
            for path in sorted(self._state.iterdir())
            if path.name not in {*_FIRST, *_LAST} and not path.name.endswith(_BESIDE)
        ]
        for name in (*_FIRST, *middle, *_LAST):
            if name == "journal":
                self._journal()
            elif name != "keys" or self.written.keys:
                self._any(self._state / name, f"{STATE}/{name}")

    def _label(self) -> None:
        label = {
            "format": FORMAT,
            "taken": now().isoformat(),
            "service": self._project.manifest.service.name,
            "keys": self.written.keys,
        }
        self._add(LABEL, json.dumps(label, indent=1).encode(), 0o600)

    def _folder(self, folder: Path, name: str, leave: frozenset[str] | set[str] = frozenset()) -> None:
        try:
            entries = sorted(folder.iterdir())
        except (FileNotFoundError, PermissionError) as error:
            self._skip(name, error.strerror)
            return
        for path in entries:
            if path.name not in leave and not path.name.endswith(_BESIDE):
                self._any(path, f"{name}/{path.name}".lstrip("/"), leave - {STATE})

    def _any(self, path: Path, name: str, leave: frozenset[str] | set[str] = frozenset()) -> None:
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                self._folder(path, name, leave)
            elif stat.S_ISLNK(mode):
                self._link(path, name)
            elif stat.S_ISREG(mode) and path.resolve() not in self._own and name not in self._taken:
                self._file(path, name, stat.S_IMODE(mode))
        except FileNotFoundError:  # it was there a moment ago
            return
        except (PermissionError, sqlite3.Error) as error:
            self._skip(name, getattr(error, "strerror", None) or str(error))

    def _link(self, path: Path, name: str) -> None:
        target = path.readlink()
        if target.is_absolute() or not path.resolve().is_relative_to(self._project.root.resolve()):
            return self._skip(name, "a link that leads out of the project")
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, str(target)
        self._archive.addfile(entry)
        return None

    def _file(self, path: Path, name: str, mode: int) -> None:
        with path.open("rb") as source:
            if source.read(len(_SQLITE)) == _SQLITE:
                return self._database(path, name, mode)
            source.seek(0)
            return self._copy(source, name, os.fstat(source.fileno()).st_size, mode)

    def _database(self, path: Path, name: str, mode: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.db"
            with closing(sqlite3.connect(path, timeout=60.0)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
            with copy.open("rb") as file:
                self._copy(file, name, copy.stat().st_size, mode)

    def _copy(self, source: Any, name: str, size: int, mode: int) -> None:
        """So many bytes: a file that grows meanwhile is taken as long as it was, one that shrinks is filled up."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size, mode, int(time.time())
        self._archive.addfile(entry, _Exactly(source, size))
        self._taken.add(name)
        self.written.files += 1

    def _add(self, name: str, data: bytes, mode: int) -> None:
        self._copy(io.BytesIO(data), name, len(data), mode)

    def _journal(self) -> None:
        for segment, size in _whole(Places(self._state).journal):
            with segment.path.open("rb") as source:
                self._copy(source, f"{STATE}/journal/{segment.path.name}", size, 0o600)

    def _skip(self, name: str, why: str | None) -> None:
        self.written.skipped.append(f"{name}: {why}")


def _whole(folder: Path) -> Iterator[tuple[Segment, int]]:
    """The journal's files and how much of each belongs to one moment.

    The opening of a stream names the heads of all others. So the files are chosen first, and measured afterwards: what
    one of them says of another one is then within what is taken of that.
    """
    chosen = [segment for segment in list_segments(folder) if segment.path.stat().st_size]
    last = {segments[-1].path for segments in by_stream(folder).values()} & {one.path for one in chosen}
    newest = {one.stream: one.path for one in chosen}
    for segment in chosen:
        size = segment.path.stat().st_size
        if segment.path == newest[segment.stream] or segment.path in last:
            size = _end_of_last_record(segment.path, size)
        if size:
            yield segment, size


def _end_of_last_record(path: Path, size: int) -> int:
    with path.open("rb") as file:
        end = size
        while end > 0:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            at = file.read(end - begin).rfind(b"\n")
            if at >= 0:
                return begin + at + 1
            end = begin
    return 0


class _Exactly(io.RawIOBase):
    """Reads just so many bytes from a file, zeros where it has become shorter."""

    def __init__(self, source: Any, size: int) -> None:
        self._source, self._left = source, size

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data: bytes = self._source.read(wanted)
        data += bytes(wanted - len(data))
        self._left -= wanted
        return data
