"""papermill writes the finished notebook once more by itself; a kill in that moment must not tear it."""

from __future__ import annotations

from pathlib import Path

from papermill.iorw import LocalHandler, papermill_io

from prodkit.jobs.saving import write_atomically


class WholeFiles:
    """Stands in for papermill's handler of local files: reads are its own, writes are whole or not at all."""

    def __init__(self, inner: LocalHandler) -> None:
        self._inner = inner
        self.read, self.listdir = inner.read, inner.listdir
        self.pretty_path, self.cwd = inner.pretty_path, inner.cwd

    def write(self, buf: str, path: str) -> None:
        """Replace a local file.

        Raises:
            FileNotFoundError: its folder isn't there, as papermill says it.
            TransientError: it can't be written; the old file is as it was.
        """
        full = Path(self._inner._cwd or ".") / path  # noqa: SLF001  the handler shows its folder in no other way
        if not full.parent.is_dir():
            raise FileNotFoundError(f"output folder {full.parent} doesn't exist.")
        write_atomically(full, buf)


def make_local_writes_whole() -> None:
    """Put the handler in the place of papermill's own, once a process."""
    handlers = papermill_io._handlers  # noqa: SLF001  its registry can add, but not replace
    for position, (scheme, handler) in enumerate(handlers):
        if scheme == "local" and isinstance(handler, LocalHandler):
            handlers[position] = (scheme, WholeFiles(handler))
