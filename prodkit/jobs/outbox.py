"""What remains to be published of runs that have ended: a small file a run, written before the end is on record.

A file goes when everything of its run is published. Whoever is at it holds the lock beside it, which the system frees
when its holder dies: so what a killed runner has left is published by the next one, and nothing by two at once.
"""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prodkit.jobs.saving import write_atomically
from prodkit.ledger.locks import try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = 1
RECORDS, PAGE = "records", "page"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run as the ledger gets it.

    Attributes:
        name: the run's name in MLflow.
        status: the ledger's word.
        metrics: its figures.
        tags: its outcome and what else is said of it.
        files: path below the project's state folder -> path among the run's artifacts.
    """

    name: str
    status: str
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run of which something remains to be published.

    Attributes:
        run: its id.
        job: the job's name.
        began: when it began, ISO with its zone.
        todo: `records` (its end and its artifacts in the ledger), `page` (the reviewer's page in MLflow).
        ending: what the records say.
        reason: why the last try came to nothing.
    """

    run: str
    job: str
    began: str
    todo: tuple[str, ...]
    ending: Ending
    reason: str = ""

    def without(self, step: str) -> Waiting:
        """With one thing less to do."""
        return replace(self, todo=tuple(one for one in self.todo if one != step), reason="")


class Outbox:
    """The runs of a project that wait to be published.

    Args:
        folder: holds a file for each; made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, waiting: Waiting) -> None:
        """Keep what remains to be published of a run; nothing remains: forget it.

        Raises:
            TransientError: the file can't be written.
        """
        path = self._path(waiting.run)
        if not waiting.todo:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"schema": SCHEMA, **asdict(waiting)}))

    def get(self, run: str) -> Waiting | None:
        """What remains of a run; None when nothing does."""
        return _read(self._path(run))

    def runs(self) -> tuple[str, ...]:
        """The runs of which something remains, that of the longest wait since its last try first."""
        found = sorted((path.stat().st_mtime_ns, path.stem) for path in self._folder.glob("*.json"))
        return tuple(run for _, run in found)

    @contextmanager
    def claimed(self, run: str) -> Iterator[bool]:
        """Hold a run's file for the block; gives False while somebody else does."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = try_lock(self._path(run).with_suffix(".lock"))
        try:
            yield lock is not None
        finally:
            if lock is not None:
                with contextlib.suppress(OSError):
                    if not self._path(run).exists():
                        self._path(run).with_suffix(".lock").unlink(missing_ok=True)
                os.close(lock)

    def _path(self, run: str) -> Path:
        return self._folder / f"{run}.json"


def _read(path: Path) -> Waiting | None:
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values = {name: told[name] for name in Waiting.__slots__ if name in told}
        return Waiting(**{**values, "todo": tuple(told["todo"]), "ending": Ending(**told["ending"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
