"""Unpacking a backup: nothing is written outside of the project's folder, and nothing in it before all was read."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.ledger.backup import FORMAT, LABEL
from prodkit.ledger.locks import is_locked
from prodkit.ledger.relocation import mark_moved
from prodkit.manifest.project import STATE, state_of
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEFT = "Nothing was changed."


def restore_backup(file: Path, to: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Unpack a backup into a folder, and let its MLflow follow.

    Args:
        file: the archive.
        to: the project's folder; made when it isn't there.
        overwrite: also into a folder that holds something. Its state is kept beside the new one, its other files are
            replaced where the backup has them.

    Returns:
        The backup's label: `taken`, `service`, `keys`, and `aside`, where the earlier state lies.

    Raises:
        ConfigError: `backup.unreadable`, `backup.newer`, `backup.unsafe`, `restore.not-empty`, `restore.busy`.
    """
    to = to.absolute()
    state = state_of(to)
    if not overwrite and any(folder.is_dir() and any(folder.iterdir()) for folder in (to, state)):
        fix = "choose another folder with --to, or say --overwrite"
        raise ConfigError("restore.not-empty", "The folder isn't empty.", where=str(to), fix=fix)
    if any(is_locked(lock) for lock in (*(state / "journal").glob("*.lock"), state / "ship.lock")):
        fix = "stop its notebooks, jobs and scheduler first"
        raise ConfigError("restore.busy", "This project is in use.", where=str(state), fix=fix)
    to.mkdir(parents=True, exist_ok=True)
    draft = to / f".restoring-{os.getpid()}"
    draft.mkdir(mode=0o700)
    try:
        label = _unpack(file, draft)
        aside = _place(draft, to, state)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    mark_moved(state)
    return {**label, "aside": aside}


def _unpack(file: Path, draft: Path) -> dict[str, Any]:
    try:
        with tarfile.open(file, "r:gz") as archive:
            links = [entry for entry in _safe(archive, draft) if not _write(archive, entry, draft)]
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        what = f"The backup can't be read: {error}. {_LEFT}"
        raise ConfigError("backup.unreadable", what, where=str(file)) from None
    for entry in links:  # at last, so that nothing is written through one
        place = draft / entry.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.parent.resolve() != draft.resolve() / PurePosixPath(entry.name).parent:
            raise _unsafe(entry, str(file))  # a link behind a link would be read from elsewhere
        place.symlink_to(entry.linkname)
    label = _read_label(draft / LABEL, file)
    (draft / LABEL).unlink()
    return label


def _safe(archive: tarfile.TarFile, draft: Path) -> Iterator[tarfile.TarInfo]:
    """The entries, as long as each is a file, a folder or a link, and stays inside."""
    for entry in archive:
        path = PurePosixPath(entry.name)
        inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
        if entry.issym() and inside:
            ends = os.path.normpath(draft / path.parent / entry.linkname)
            inside = not entry.linkname.startswith("/") and Path(ends).is_relative_to(draft)
        if not inside or not (entry.isreg() or entry.isdir() or entry.issym()):
            raise _unsafe(entry, str(archive.name))
        yield entry


def _unsafe(entry: tarfile.TarInfo, file: str) -> ConfigError:
    what = f"The backup holds an entry that isn't one of a project: `{entry.name}`. {_LEFT}"
    return ConfigError("backup.unsafe", what, where=file)


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, draft: Path) -> bool:
    """Write a file or a folder; False for a link."""
    place = draft / entry.name
    if entry.issym():
        return False
    folder = place if entry.isdir() else place.parent
    folder.mkdir(parents=True, exist_ok=True)
    if entry.isreg():
        source = archive.extractfile(entry)
        own = PurePosixPath(entry.name).parts[0] == STATE
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(place, flags, 0o600), "wb") as target:
            if source is not None:
                shutil.copyfileobj(source, target)
        place.chmod(0o600 if own else (entry.mode & 0o755) | 0o600)
    return True


def _read_label(path: Path, file: Path) -> dict[str, Any]:
    try:
        label: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = int(label["format"])
    except (OSError, ValueError, KeyError, TypeError):
        what = f"This is no backup of a project. {_LEFT}"
        raise ConfigError("backup.unreadable", what, where=str(file), fix="`prodkit backup FILE` writes one") from None
    if version > FORMAT:
        what = f"The backup has format {version}; this prodkit knows formats up to {FORMAT}. {_LEFT}"
        raise ConfigError("backup.newer", what, where=str(file), fix="restore it with the version that has written it")
    return label


def _place(draft: Path, to: Path, state: Path) -> str:
    """Move everything from the draft to where it belongs; where the earlier state lies now."""
    aside = ""
    (draft / STATE).mkdir(exist_ok=True)
    for folder in (draft / STATE, *(path for path in (draft / STATE).rglob("*") if path.is_dir())):
        folder.chmod(0o700)
    if state.exists():
        kept = state.with_name(f"{state.name}.before-{now():%Y%m%dT%H%M%S}")
        state.rename(kept)
        aside = str(kept)
    state.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(draft / STATE, state)
    for path in sorted(draft.rglob("*")):
        place = to / path.relative_to(draft)
        if path.is_dir() and not path.is_symlink():
            place.mkdir(exist_ok=True)
        else:
            path.replace(place)
    return aside
