"""The latest answer to each request, kept for when nobody answers: encrypted, and not longer than asked for."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING

from prodkit.ledger.replay import KeptAnswer, make_store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodkit.ledger.keys import Keyring
    from prodkit.manifest import Project

_SCHEMA = """
CREATE TABLE IF NOT EXISTS latest (
  digest TEXT PRIMARY KEY, kept_at REAL NOT NULL, subject TEXT NOT NULL, keys TEXT NOT NULL, sealed TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS latest_by_age ON latest (kept_at);
"""


class Cache:
    """The kept answers of a project.

    Args:
        project: whose they are.
        keyring: the project's keys; an answer is sealed with those of the person on whose behalf it was asked for.
        clock: seconds since the epoch.
    """

    def __init__(self, project: Project, keyring: Keyring, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._keyring, self._clock = place_of(project), keyring, clock

    def keep(self, request: str, answer: KeptAnswer, user: str = "", *, max_age: float) -> None:
        """Keep an answer in place of an earlier one to the same request; what is older than `max_age` s is removed.

        Raises:
            sqlite3.Error, OSError: the store can't be written.
        """
        content = [answer.content, answer.provider, answer.model, answer.degraded]
        keys, sealed = self._keyring.seal(content, (user,) if user else ())
        now, subject = self._clock(), self._keyring.pseudonym(user)
        make_store(self._path)
        with open_store(self._path, _SCHEMA) as db:
            db.execute("DELETE FROM latest WHERE kept_at < ?", (now - max_age,))
            row = (self._digest(request), now, subject, " ".join(keys), sealed)
            db.execute("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?, ?)", row)

    def find(self, request: str, max_age: float) -> KeptAnswer | None:
        """The answer to this very request, when it isn't older than so many seconds.

        Raises:
            sqlite3.Error: the store can't be read.
        """
        if not self._path.exists():
            return None
        with open_store(self._path, _SCHEMA) as db:
            found = db.execute(
                "SELECT keys, sealed FROM latest WHERE digest = ? AND kept_at >= ?",
                (self._digest(request), self._clock() - max_age),
            ).fetchone()
        opened = None if found is None else self._keyring.open(tuple(found[0].split()), found[1])
        return None if opened is None else KeptAnswer(*opened)

    def _digest(self, request: str) -> str:
        return hmac.digest(self._keyring.derive("cache"), request.encode("utf-8", "surrogatepass"), "sha256").hex()


def place_of(project: Project) -> Path:
    """The file with the kept answers."""
    return project.state / "cache" / "answers.db"


def forget_old(project: Project, days: float) -> int:
    """Remove every answer that is older than so many days; returns how many there were."""
    path = place_of(project)
    if not path.exists():
        return 0
    with open_store(path, _SCHEMA) as db:
        return db.execute("DELETE FROM latest WHERE kept_at < ?", (time.time() - days * 86_400.0,)).rowcount


def erase_subject(project: Project, subject: str) -> int:
    """Remove every answer that was kept for a person, known by the pseudonym; returns how many there were."""
    path = place_of(project)
    if not path.exists():
        return 0
    with open_store(path, _SCHEMA) as db:
        return db.execute("DELETE FROM latest WHERE subject = ?", (subject,)).rowcount
