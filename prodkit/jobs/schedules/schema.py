"""The tables of the scheduler's store, by version, and how a file of an older version becomes one of today's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.manifest.project import STATE

if TYPE_CHECKING:
    import sqlite3

VERSION = 2

_TABLES = """
CREATE TABLE schedules (
  name TEXT PRIMARY KEY, job TEXT NOT NULL, line TEXT NOT NULL, zone TEXT NOT NULL, params TEXT NOT NULL,
  since TEXT NOT NULL, pool TEXT NOT NULL, priority INTEGER NOT NULL, jitter REAL NOT NULL, catch_up TEXT NOT NULL,
  catch_up_limit INTEGER NOT NULL, date_parameter TEXT NOT NULL, date_kind TEXT NOT NULL, paused TEXT,
  revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE firings (
  name TEXT NOT NULL, due TEXT NOT NULL, kind TEXT NOT NULL, missed INTEGER NOT NULL, claimed TEXT NOT NULL,
  begun TEXT, ended TEXT, outcome TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (name, due)
) WITHOUT ROWID;
CREATE INDEX firings_unfinished ON firings (name, due) WHERE ended IS NULL;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


def prepare(db: sqlite3.Connection, path: Path, root: Path) -> None:
    """Make the tables, or bring them to today's version, in one transaction.

    Raises:
        ConfigError: `schedule.store-newer`.
    """
    if _known(db, path) == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if _known(db, path) < VERSION:  # somebody else may have been faster
            _upgrade(db, root)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _known(db: sqlite3.Connection, path: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise ConfigError(
            "schedule.store-newer",
            f"The schedules were written by a newer prodkit (version {version}; this one reads up to {VERSION}).",
            where=str(path),
            fix="install the prodkit that wrote them, or move the file away and add the schedules again",
        )
    return version


def _upgrade(db: sqlite3.Connection, root: Path) -> None:
    """From version 0: an empty file, or the two tables of prodkit 0.1."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    schedules = db.execute("SELECT name, job, line, zone, params, since FROM schedules").fetchall() if tables else []
    ticks = db.execute("SELECT name, due, missed, begun, ended, outcome FROM ticks").fetchall() if tables else []
    for table in sorted(tables & {"schedules", "ticks"}):
        db.execute(f"DROP TABLE {table}")
    for statement in filter(str.strip, _TABLES.split(";")):
        db.execute(statement)
    decided: dict[str, str] = {}
    for name, due, missed, begun, ended, outcome in ticks:
        decided[name] = max(decided.get(name, ""), due)
        db.execute(
            "INSERT INTO firings VALUES (?, ?, 'cron', ?, ?, ?, ?, ?, '')",
            (name, due, missed, begun, begun, ended, outcome or ""),
        )
    for name, job, line, zone, params, since in schedules:
        db.execute(
            "INSERT INTO schedules VALUES (?, ?, ?, ?, ?, ?, 'default', 0, 0, 'latest', 100, '', '', NULL, 1)",
            (name, _here(Path(job), root), line, zone, params, max(since, decided.get(name, ""))),
        )
    db.execute(f"PRAGMA user_version = {VERSION}")


def _here(job: Path, root: Path) -> str:
    """A job's folder from the project's root; one of where the project was before, or was copied from, is found in it.

    What still lies at that place, and in no other project, was always outside.
    """
    if job.is_relative_to(root):
        return job.relative_to(root).as_posix()
    for start in range(1, len(job.parts)):
        before, part = Path(*job.parts[:start]), Path(*job.parts[start:])
        if (root / part / "job.yaml").is_file() and (not job.is_dir() or (before / STATE).is_dir()):
            return part.as_posix()
    return str(job)
