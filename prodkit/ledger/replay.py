"""Answers that were paid for, kept until their job run has succeeded, so that no later attempt pays for them again.

An answer is kept as the provider gave it, because a redacted one would be another answer. It is encrypted with the keys
of the person on whose behalf it was asked for; requests are only known by a keyed digest.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodkit.ledger.keys import Keyring
    from prodkit.manifest import Project

FOLDER = "replay"
LAST = "last"
_BUSY_SECONDS = 30.0
FORGET_DAYS = 30.0  # a failed run that nobody resumed
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
  id INTEGER PRIMARY KEY, digest TEXT NOT NULL, number INTEGER NOT NULL, attempt TEXT NOT NULL,
  subject TEXT NOT NULL, keys TEXT NOT NULL, sealed TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_digest ON answers (digest);
CREATE TABLE IF NOT EXISTS served (answer INTEGER NOT NULL, attempt TEXT NOT NULL, PRIMARY KEY (answer, attempt));
"""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it was given: the JSON of one object, or of a stream's chunks in a list; and by whom."""

    content: Any
    provider: str
    model: str
    degraded: bool


class Answers:
    """The kept answers of one job run.

    Args:
        project: whose they are.
        keyring: the project's keys.
        run: the id of the job run.
    """

    def __init__(self, project: Project, keyring: Keyring, run: str) -> None:
        self._path, self._keyring = place_of(project, run), keyring

    def digest(self, request: str) -> str:
        """What a request is known by: a digest that can't be guessed at without the project's key."""
        return hmac.digest(self._keyring.derive("replay"), request.encode("utf-8", "surrogatepass"), "sha256").hex()

    def keep(self, digest: str, attempt: str, answer: KeptAnswer, user: str = "") -> None:
        """Keep the next answer to this request. It is on the disk when this returns.

        Raises:
            sqlite3.Error, OSError: the store can't be written.
        """
        content = [answer.content, answer.provider, answer.model, answer.degraded]
        keys, sealed = self._keyring.seal(content, (user,) if user else ())
        make_store(self._path)
        with open_store(self._path) as db:
            db.execute(
                "INSERT INTO answers (digest, number, attempt, subject, keys, sealed) VALUES"
                " (?, (SELECT COUNT(*) + 1 FROM answers WHERE digest = ?), ?, ?, ?, ?)",
                (digest, digest, attempt, self._keyring.pseudonym(user), " ".join(keys), sealed),
            )

    def claim(self, digest: str, attempt: str) -> KeptAnswer | None:
        """The next answer to this request that another attempt has paid for; each is given once in each attempt.

        Raises:
            sqlite3.Error: the store can't be read.
        """
        if not self._path.exists():
            return None
        with open_store(self._path) as db:
            found = db.execute(
                "SELECT id, keys, sealed FROM answers WHERE digest = ? AND attempt != ?"
                " AND id NOT IN (SELECT answer FROM served WHERE attempt = ?) ORDER BY number LIMIT 1",
                (digest, attempt, attempt),
            ).fetchone()
            if found is None:
                return None
            db.execute("INSERT INTO served (answer, attempt) VALUES (?, ?)", (found[0], attempt))
        opened = self._keyring.open(tuple(found[1].split()), found[2])
        return None if opened is None else KeptAnswer(*opened)


def place_of(project: Project, run: str) -> Path:
    """The file with the answers of a job run."""
    return project.state / FOLDER / f"{run}.db"


def kept_runs(project: Project) -> tuple[str, ...]:
    """The job runs whose answers are kept, the latest first."""
    return tuple(sorted((path.stem for path in (project.state / FOLDER).glob("*.db")), reverse=True))


def find_kept(project: Project, which: str) -> str:
    """The job run that `last`, or the end of a run's id, means.

    Raises:
        ConfigError: `replay.unknown-run`: no answers are kept of it.
    """
    runs = kept_runs(project)
    found = next((run for run in runs if which == LAST or run.endswith(which)), "")
    if not found:
        raise ConfigError(
            "replay.unknown-run",
            "No answers are kept of any run." if which == LAST else f"No answers are kept of a run `{which}`.",
            where=str(project.state / FOLDER),
            fix="run the job with --keep-answers first; those of other runs are removed when they succeed",
        )
    return found


def take_over(project: Project, earlier: str, run: str) -> None:
    """Let a run that goes on with an earlier one have its answers."""
    source = place_of(project, earlier)
    if source.exists():
        with open_store(source):
            pass  # what a killed process was writing is rolled back before the file gets another name
        source.replace(place_of(project, run))


def remove(project: Project, run: str) -> None:
    """Keep nothing of a run."""
    path = place_of(project, run)
    for part in (path, path.with_name(path.name + "-journal")):
        part.unlink(missing_ok=True)


def forget_old(project: Project, days: float = FORGET_DAYS) -> None:
    """Remove what was kept of runs that nobody has gone on with for so many days, 30 at most."""
    for run in kept_runs(project):
        try:
            age = time.time() - place_of(project, run).stat().st_mtime
        except FileNotFoundError:  # another process was first
            continue
        if age > min(days, FORGET_DAYS) * 86_400.0:
            remove(project, run)


def erase_subject(project: Project, subject: str) -> int:
    """Remove every answer that was kept for a person, known by the pseudonym; returns how many there were."""
    erased = 0
    for run in kept_runs(project):
        with open_store(place_of(project, run)) as db:
            erased += db.execute("DELETE FROM answers WHERE subject = ?", (subject,)).rowcount
    return erased


def make_store(path: Path) -> None:
    """An empty file that only its owner can read, where there is none."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


@contextmanager
def open_store(path: Path, schema: str = _SCHEMA) -> Iterator[sqlite3.Connection]:
    """A transaction; the rollback journal is the default one, so that at rest a store is a single file."""
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON")
        db.execute("BEGIN IMMEDIATE")
        for statement in schema.strip().rstrip(";").split(";\n"):
            db.execute(statement)
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
