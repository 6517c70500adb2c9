"""Where the ledger keeps what: everything under `<project>/.prodkit`, readable by its owner alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """The ledger's folders and files below the project's state folder.

    Attributes:
        state: the state folder.
        root: the project's folder; None where it is the one around `state`.
    """

    state: Path
    root: Path | None = None

    @property
    def project_root(self) -> Path:
        """The project's folder."""
        return self.root or self.state.parent

    @property
    def journal(self) -> Path:
        """Segment files, and one lock file for each stream."""
        return self.state / "journal"

    @property
    def keys(self) -> Path:
        """The project key, the keys of the subjects, the signing key."""
        return self.state / "keys"

    @property
    def spool(self) -> Path:
        """Artifacts that wait to be shipped, named by their SHA-256."""
        return self.state / "spool"

    @property
    def checkpoints(self) -> Path:
        """Local copies of the signed checkpoints."""
        return self.state / "checkpoints"

    @property
    def ship_db(self) -> Path:
        """What has been shipped, and MLflow's ids for ours."""
        return self.state / "ship.db"

    @property
    def ship_lock(self) -> Path:
        """Held by the one process that ships."""
        return self.state / "ship.lock"

    @property
    def backup_lock(self) -> Path:
        """Held while a backup is written: files that wait to be shipped stay until it has them."""
        return self.state / "backup.lock"

    @property
    def mlflow_lock(self) -> Path:
        """Held while MLflow's database and experiment are created."""
        return self.state / "mlflow.lock"

    @property
    def runs_lock(self) -> Path:
        """Held while runs or prompt versions are created, so that each is created once."""
        return self.state / "runs.lock"

    @property
    def shipper_log(self) -> Path:
        """What the shipping process had to say, without any content."""
        return self.state / "shipper.log"

    def make(self) -> None:
        """Make the folders.

        Raises:
            ConfigError: the state folder can't be written.
        """
        try:
            for folder in (self.state, self.journal, self.keys, self.spool, self.checkpoints):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.state, error) from None
        if not os.access(self.journal, os.W_OK):
            raise unwritable(self.journal, PermissionError("read-only"))


def unwritable(where: Path, error: OSError) -> ConfigError:
    """The one error for a state folder or a disk that refuses to be written."""
    return ConfigError(
        "ledger.unwritable",
        f"The journal can't be written: {error.strerror or error}. Nothing runs unrecorded, so the call was not made.",
        where=str(where),
        fix="free some space or make the folder writable, then run the cell again",
    )
