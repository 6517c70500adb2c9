"""The folder that a notebook belongs to, and where prodkit writes in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodkit.manifest.model import Manifest

MANIFEST = "prodkit.yaml"
STATE = ".prodkit"
ROOT_VARIABLE = "PRODKIT_PROJECT"
STATE_VARIABLE = "PRODKIT_STATE"
SIMULATION_VARIABLE = "PRODKIT_SIMULATION"
"""`off` in everything that a job runs: a job without a key fails, and isn't answered by the simulated provider."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project: its root folder, its manifest, and the paths that follow from them.

    Everything that prodkit writes lies under `state`, whatever the current directory is.
    """

    root: Path
    manifest: Manifest
    manifest_path: Path | None = None

    @property
    def state(self) -> Path:
        """`<root>/.prodkit`, or the folder that `PRODKIT_STATE` names."""
        return state_of(self.root)

    @property
    def tracking_uri(self) -> str:
        """MLflow's address: `MLFLOW_TRACKING_URI`, else SQLite in the project's folder."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.state / 'mlflow.db'}"

    @property
    def artifact_root(self) -> Path:
        """Where MLflow puts artifacts when it writes to the project's own SQLite."""
        return self.state / "artifacts"

    @property
    def experiment(self) -> str:
        """The name of the MLflow experiment: `MLFLOW_EXPERIMENT_NAME`, else the service's name."""
        return os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.manifest.service.name

    def path(self, relative: str | Path) -> Path:
        """A path of the manifest, which is relative to the project's root."""
        return self.root / Path(relative).expanduser()


def state_of(root: Path) -> Path:
    """Where the project with this root writes: `PRODKIT_STATE` (a relative one is below the root), else `.prodkit`.

    The variable is for one project whose own folder can't be written, as in an image; two that share it would mix.
    """
    return root / Path(os.environ.get(STATE_VARIABLE) or STATE).expanduser()


def find_project(start: Path | None = None) -> Project:
    """The project around `start` (default: `PRODKIT_PROJECT`, else the current directory).

    The nearest parent with a `prodkit.yaml` is the root. Without one the nearest git checkout's root is, else `start`
    itself; the service is then called like the folder.

    Raises:
        ConfigError: the manifest is there and wrong.
    """
    from prodkit.manifest.loading import (
        load,  # here, because half of the time that `%load_ext prodkit` took went into it
    )
    from prodkit.manifest.model import Manifest, Service

    begin = (start or Path(os.environ.get(ROOT_VARIABLE) or Path.cwd())).resolve()
    if begin.is_file():
        begin = begin.parent
    folders = [begin, *begin.parents]
    for folder in folders:
        if (folder / MANIFEST).is_file():
            return Project(folder, load(folder / MANIFEST), folder / MANIFEST)
    root = next((folder for folder in folders if (folder / ".git").exists()), begin)
    return Project(root, Manifest(service=Service(name=_service_name(root))))


def _service_name(root: Path) -> str:
    kept = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in root.name).strip("-")
    return kept[:63] or "notebook"
