"""Cells that are tagged `outputs=a,b` are paid for once: a later attempt, or a resumed run, gets their variables back.

What is kept belongs to one run and to the exact code and parameters up to the cell: a change anywhere above makes the
cell run again. `keep` and `restore` run in the kernel; the files are only readable by the user who runs the job.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

KEPT, RESTORED = "kept", "restored"
_DIGEST_BYTES = 32


class Kept:
    """Where a run keeps the declared outputs of its cells.

    Args:
        folder: this run's own; written and read.
        earlier: the folder of the run that this one resumes; what is taken over moves.
    """

    def __init__(self, folder: Path, earlier: Path | None = None) -> None:
        self._folder, self._earlier = folder, earlier
        self._chain: dict[int, str] = {}

    def follow(self, nb: NotebookNode) -> None:
        """Know a notebook's cells: the name of what a cell keeps is the digest of all code up to it."""
        digest = hashlib.sha256()
        self._chain = {}
        for cell in nb.cells:
            if cell.cell_type == "code":
                digest.update(cell.source.encode() + b"\0")
                self._chain[id(cell)] = digest.hexdigest()[:32]

    def keep_expression(self, cell: NotebookNode) -> str:
        """What the kernel evaluates after the cell; "" when the cell declares no outputs."""
        names = declared_outputs(cell)
        if not names:
            return ""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._call("keep", self._folder / self._chain[id(cell)], names)

    def restore_expression(self, cell: NotebookNode) -> str:
        """What the kernel evaluates instead of the cell; "" when it must run."""
        names = declared_outputs(cell)
        if not names:
            return ""
        own = self._folder / self._chain[id(cell)]
        earlier = self._earlier / own.name if self._earlier else None
        if not own.is_file() and earlier is not None and earlier.is_file():
            own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            earlier.replace(own)  # from now on it is this run that somebody would resume
        return self._call("restore", own, names) if own.is_file() else ""

    def clear(self) -> None:
        """Nothing is kept of a run that succeeded."""
        for folder in (self._folder, self._earlier):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def _call(self, verb: str, path: Path, names: tuple[str, ...]) -> str:
        return f"__import__({__name__!r}, fromlist=[{verb!r}]).{verb}({str(path)!r}, {names!r}, globals())"


def declared_outputs(cell: NotebookNode) -> tuple[str, ...]:
    """The variables that a cell's tag `outputs=a,b` names."""
    for tag in cell.metadata.get("tags", []):
        key, _, names = str(tag).partition("=")
        if key == "outputs":
            return tuple(name.strip() for name in names.split(",") if name.strip())
    return ()


def keep(path: str, names: tuple[str, ...], namespace: dict[str, Any]) -> str:
    """Write variables to a file, whole or not at all; `kept`, or why not."""
    missing = [name for name in names if name not in namespace]
    if missing:
        return f"not kept: the cell sets no {', '.join(missing)}"
    try:
        content = pickle.dumps({name: namespace[name] for name in names}, protocol=5)
    except Exception as error:
        return f"not kept: {type(error).__name__}: one of {', '.join(names)} can't be stored"
    spare = f"{path}.{os.getpid()}.part"
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(hashlib.sha256(content).digest() + content)
    Path(spare).replace(path)
    return KEPT


def restore(path: str, names: tuple[str, ...], namespace: dict[str, Any]) -> str:
    """Set variables from a file that `keep` wrote; `restored`, or why not."""
    raw = Path(path).read_bytes()
    digest, content = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return "not restored: the file was changed"
    values = pickle.loads(content)  # noqa: S301  written by this job's own earlier attempt, in its user's own folder
    namespace.update({name: values[name] for name in names})
    return RESTORED
