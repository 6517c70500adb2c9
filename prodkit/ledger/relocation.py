"""A project that was moved, copied, restored or mounted elsewhere: its MLflow follows the folder.

MLflow writes down where artifacts lie as absolute addresses, in the experiment, in each run and in each trace, and has
no way to change them. In the database that lies in the project's own folder they are rewritten here, in one
transaction, when the folder is first opened at its new place; so a copy never writes into what it was copied from. The
tables are MLflow's own: `tests/ledger/test_mlflow_contract.py` says when they have changed.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from prodkit.ledger.locks import locked
from prodkit.manifest.project import STATE, STATE_VARIABLE
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESSES = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "source", ""),
    ("model_versions", "storage_location", ""),
    ("workspaces", "default_artifact_root", ""),
    ("workspaces", "trace_archival_location", ""),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation' AND "),
)
"""Table and column of each address where MLflow keeps files, with a condition."""

DATABASE = "mlflow.db"
_PLACE = "place"
_LOCK = "mlflow.lock"
_PATIENCE = 60.0
_INSIDE = re.compile(rf"(?:file://)?(/.*)/{re.escape(STATE)}/")


def settle(state: Path) -> bool:
    """See to it that the project's own MLflow names files where the project is now. Cheap where nothing has moved.

    Args:
        state: the project's state folder.

    Returns:
        Whether the folder was somewhere else when it was last opened.

    Raises:
        TimeoutError: another process held the database for a minute.
        sqlite3.Error: the database can't be written.
    """
    place = state / _PLACE
    if _read(place)[0] == str(state) or not state.is_dir() or not os.access(state, os.W_OK):
        return False
    with locked(state / _LOCK, timeout=_PATIENCE):
        before, moved = _read(place)
        if before == str(state):
            return False
        found = _rewrite(state / DATABASE, Path(before) if before else None, state)
        if before or found:
            moved = now().isoformat()
        _write(place, f"{state}\n{moved}\n")
    return bool(before or found)


def settle_uri(uri: str) -> bool:
    """As `settle`, for a tracking address that is a project's own database."""
    path = Path(uri.removeprefix("sqlite:///"))
    return uri.startswith("sqlite:////") and path.name == DATABASE and _is_state(path.parent) and settle(path.parent)


def moved_at(state: Path) -> str:
    """When the folder was last found at another place, as ISO 8601 in UTC; empty when it never was."""
    return _read(state / _PLACE)[1]


def mark_moved(state: Path) -> None:
    """Say that the folder isn't the only one with its ids, also where it lies at its earlier place: it was restored."""
    settle(state)
    _write(state / _PLACE, f"{state}\n{now().isoformat()}\n")


def _is_state(folder: Path) -> bool:
    return folder.name == STATE or str(folder) == os.environ.get(STATE_VARIABLE)


def _read(place: Path) -> tuple[str, str]:
    try:
        state, moved, *_ = [*place.read_text(encoding="utf-8").splitlines(), "", ""]
    except FileNotFoundError:
        return "", ""
    return state, moved


def _write(place: Path, text: str) -> None:
    draft = place.with_name(f"{_PLACE}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o600)
    draft.replace(place)


def _rewrite(path: Path, before: Path | None, state: Path) -> bool:
    """Let every address below the earlier places be one below this place; whether there was one."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
        known = {
            (table, column): condition
            for table, column, condition in ADDRESSES
            if any(row[1] == column for row in database.execute(f"PRAGMA table_info({table})"))
        }
        moves = dict(_moves(database, before, state)) if known else {}
        if not moves:
            return False
        database.execute("BEGIN IMMEDIATE")
        changed = 0
        for (table, column), condition in known.items():
            for old, new in moves.items():
                changed += database.execute(
                    f"UPDATE {table} SET {column} = ?2 || substr({column}, length(?1) + 1)"  # noqa: S608  our own names
                    f" WHERE {condition} substr({column}, 1, length(?1)) = ?1"
                    f" AND substr({column}, 1, length(?2)) != ?2",
                    (old, new),
                ).rowcount
        database.execute("COMMIT")
        return changed > 0


def _moves(database: sqlite3.Connection, before: Path | None, state: Path) -> Iterator[tuple[str, str]]:
    """Beginnings of addresses: as they are, as they should be."""
    folders = {before: state} if before is not None and before != state else {}
    rows = database.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    for (location,) in rows:
        if (match := _INSIDE.match(location or "")) and (folder := _unquoted(match[1], location) / STATE) != state:
            folders[folder] = state
    for old, new in sorted(folders.items()):
        pairs = [(old, new)]
        if old.name == STATE and new.name == STATE:
            pairs.append((old.parent, new.parent))  # what the user's own code has put beside it
        for here, there in pairs:
            yield f"{here}/", f"{there}/"
            yield f"file://{quote(str(here))}/", f"file://{quote(str(there))}/"


def _unquoted(path: str, location: str) -> Path:
    from urllib.parse import unquote

    return Path(unquote(path) if location.startswith("file:") else path)
