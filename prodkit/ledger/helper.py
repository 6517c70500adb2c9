"""Starting the shipping process: beside the kernel, so that shipping never takes its interpreter lock."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.ledger.locks import is_locked

if TYPE_CHECKING:
    from prodkit.ledger.places import Places

_PAUSE = 0.5
_LOG_BYTES = 1 << 20


class Helper:
    """Starts the shipping process when none runs.

    Args:
        root: the project's folder.
        places: the ledger's files.
    """

    def __init__(self, root: Path, places: Places) -> None:
        self._root = root
        self._places = places
        self._asked = 0.0
        self._pids: list[int] = []
        self.problem = ""

    def wake(self, *, now: bool = False) -> None:
        """See to it that somebody ships. Costs a few microseconds when it was asked a moment ago."""
        moment = time.monotonic()
        if not now and moment - self._asked < _PAUSE:
            return
        self._asked = moment
        self._reap()
        if not is_locked(self._places.ship_lock) and not self._pids:
            self._start()

    @property
    def running(self) -> bool:
        """Whether a process of ours is starting or shipping, or another one ships."""
        self._reap()
        return bool(self._pids) or is_locked(self._places.ship_lock)

    def _start(self) -> None:
        arguments = [sys.executable, "-m", "prodkit.ledger.shipper", "--project", str(self._root)]
        log = str(self._log())
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            self._pids.append(os.posix_spawn(sys.executable, arguments, _environment(), file_actions=actions))
            self.problem = ""
        except OSError as error:
            self.problem = f"the shipping process can't be started: {error.strerror}"

    def _log(self) -> Path:
        log = self._places.shipper_log
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        return log

    def _reap(self) -> None:
        alive = []
        for pid in self._pids:
            try:
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    alive.append(pid)
            except ChildProcessError:  # forked since, or somebody else has waited for it
                continue
        self._pids = alive


def _environment() -> dict[str, str]:
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
