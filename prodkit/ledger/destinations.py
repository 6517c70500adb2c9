"""Where records go: a tracking address and an experiment, as one short name that the journal keeps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.ledger.reach import public_uri

if TYPE_CHECKING:
    from prodkit.ledger.mlflow_adapter import Mlflow
    from prodkit.ledger.places import Places
    from prodkit.manifest import Project

_SQLITE = "sqlite:///"
_SEPARATOR = "|"
_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
_last: list[tuple[object, str]] = [(None, "")]  # asked for on every record


def current_destination(project: Project) -> str:
    """The destination as the environment says it now. It holds no password."""
    uri, *rest = map(os.environ.get, _VARIABLES)
    seen = uri, rest, project.root, Path.cwd() if uri is not None and _is_relative(uri) else None
    last, destination = _last[0]
    if seen != last:
        destination = _destination(project)
        _last[0] = seen, destination
    return destination


def _is_relative(uri: str) -> bool:
    return uri.startswith(_SQLITE) and not uri.startswith(_SQLITE + "/")


def _destination(project: Project) -> str:
    # an id means something only together with the address that it belongs to: `mlflow.set_experiment` sets it alone,
    # for whatever store the user's own code talks to
    experiment = os.environ.get("MLFLOW_EXPERIMENT_ID", "") if os.environ.get("MLFLOW_TRACKING_URI") else ""
    return f"{public_uri(tracking_uri(project))}{_SEPARATOR}{'#' + experiment if experiment else project.experiment}"


def tracking_uri(project: Project) -> str:
    """The project's tracking address; a SQLite file that is given relatively becomes absolute."""
    uri = project.tracking_uri
    if _is_relative(uri) and uri != _SQLITE + ":memory:":
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
    return uri


def connect(project: Project, places: Places, destination: str) -> Mlflow:
    """The MLflow of a destination. Passwords come from the environment, never from the journal."""
    from prodkit.ledger.mlflow_adapter import Mlflow

    uri, _, experiment = destination.rpartition(_SEPARATOR)
    with_password = tracking_uri(project)
    return Mlflow(
        with_password if public_uri(with_password) == uri else uri,
        experiment,
        artifact_root=project.artifact_root,
        lock=places.mlflow_lock,
    )
