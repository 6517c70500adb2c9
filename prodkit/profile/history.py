"""The profiles of a project's datasets, each with the fingerprint of the data that it describes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import DataError
from prodkit.profile.columns import Profile
from prodkit.records import now

if TYPE_CHECKING:
    from pathlib import Path

_KEPT = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One profile, of which data, and since when."""

    fingerprint: str
    at: str  # ISO time in UTC
    profile: Profile


class History:
    """Profiles in one JSON file for each dataset, the last 50 of each.

    Args:
        folder: where the files lie; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def last(self, dataset: str, *, other_than: str = "") -> Entry | None:
        """The latest profile of a dataset, of other data than the given fingerprint.

        Raises:
            DataError: `profile.unreadable`.
        """
        entries = [entry for entry in self._read(dataset) if entry.fingerprint != other_than]
        return entries[-1] if entries else None

    def keep(self, dataset: str, fingerprint: str, profile: Profile) -> None:
        """Add a profile; one of the same data takes the place of its earlier one."""
        entries = [entry for entry in self._read(dataset) if entry.fingerprint != fingerprint]
        entries.append(Entry(fingerprint, now().isoformat(), profile))
        lines = [
            {"fingerprint": entry.fingerprint, "at": entry.at, "profile": entry.profile.to_json()}
            for entry in entries[-_KEPT:]
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(dataset)
        draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        draft.write_text(json.dumps(lines), encoding="utf-8")
        os.replace(draft, path)  # noqa: PTH105  atomic, also when two jobs keep at once

    def _read(self, dataset: str) -> list[Entry]:
        path = self._path(dataset)
        try:
            lines = json.loads(path.read_text(encoding="utf-8"))
            return [Entry(line["fingerprint"], line["at"], Profile.from_json(line["profile"])) for line in lines]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, DataError) as error:
            raise DataError(
                "profile.unreadable", "The file of profiles is broken.", where=str(path), fix="remove the file"
            ) from error

    def _path(self, dataset: str) -> Path:
        plain = re.sub(r"[^A-Za-z0-9._\-]", "_", dataset)[:80]
        return self.folder / f"{plain}-{hashlib.sha256(dataset.encode()).hexdigest()[:8]}.json"
