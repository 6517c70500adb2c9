"""Writes a running notebook to disk: whole or not at all, seldom enough, and finished cells are encoded only once."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbformat import NotebookNode

_SHARE_OF_TIME = 0.1  # saving takes at most this share of the wall time, however large the notebook grows


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by `text`: a reader, and a kill at any moment, sees the old content or the new, never a part.

    Raises:
        TransientError: the disk is full or the folder can't be written; the old file is as it was.
    """
    spare = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with spare.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, path)  # noqa: PTH105  the atomic one
    except OSError as error:
        with contextlib.suppress(OSError):
            spare.unlink()
        raise TransientError(
            "jobs.cannot-save",
            f"The executed notebook couldn't be saved: {error.strerror or type(error).__name__}.",
            where=str(path),
            fix="free space or allow writing there; the last saved state is intact",
        ) from error


class Saver:
    """Saves one notebook at most once per `every` seconds.

    Args:
        nb: the notebook; its cells are changed by others while it runs.
        path: where to; an empty path saves nothing. Addresses such as `s3://` go through `remote`.
        every: seconds between two saves at least; 0 saves only when forced.
        remote: writes text to an address that isn't a local file.
    """

    def __init__(
        self, nb: NotebookNode, path: str, *, every: float = 1.0, remote: Callable[[str, str], None] | None = None
    ) -> None:
        self.nb, self.path, self.every, self._remote = nb, path, every, remote
        self.dirty = False
        self._encoded: dict[int, str] = {}  # id of a finished cell -> its JSON
        self._next = 0.0

    def save(self, *, force: bool = False) -> None:
        """Save now if it is time or forced; else remember that there is something to save."""
        now = time.monotonic()
        if not self.path or (not force and (self.every <= 0 or now < self._next)):
            self.dirty = True
            return
        self._write(self.text())
        done = time.monotonic()
        self._next = done + max(self.every, (done - now) / _SHARE_OF_TIME)
        self.dirty = False

    def finished(self, cell: NotebookNode) -> None:
        """Encode a cell that won't change any more (unless `changed` says so)."""
        if self.path:
            self._encoded[id(cell)] = _encode(cell)

    def changed(self, cell: NotebookNode) -> None:
        """A finished cell has changed after all, e.g. by an update of a display."""
        self._encoded.pop(id(cell), None)

    def text(self) -> str:
        """The notebook as JSON, one line a cell: nbformat reads it, and it is written at the speed of the C encoder."""
        cells = ",\n".join(self._encoded.get(id(cell)) or _encode(cell) for cell in self.nb.cells)
        rest = _encode({key: value for key, value in self.nb.items() if key != "cells"})
        return f'{{"cells": [\n{cells}\n],\n{rest[1:]}\n'

    def _write(self, text: str) -> None:
        if self._remote is not None and "://" in self.path:
            self._remote(text, self.path)
        else:
            write_atomically(Path(self.path), text)


def _encode(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_ascii)


def _ascii(value: object) -> str:
    """Base64 that came as bytes, as nbformat takes it."""
    if isinstance(value, bytes):
        return value.decode("ascii")
    raise TypeError(f"{type(value).__name__} isn't JSON")
