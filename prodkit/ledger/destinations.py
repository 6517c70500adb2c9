"""Where records go: a tracking address and an experiment, as one short name that the journal keeps.

A SQLite file inside of the project is named by its place in the project (`project:.prodkit/mlflow.db`), so that the
name holds wherever the folder is moved, copied or mounted to.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.ledger.reach import public_uri
from prodkit.manifest.project import STATE, state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.ledger.mlflow_adapter import Mlflow
    from prodkit.ledger.places import Places
    from prodkit.manifest import Project

FORMAT = 2
"""Of the records that name a destination; format 1 (of 0.1.0, without a number) named the project's own absolutely."""

_SQLITE = "sqlite:///"
_INSIDE = "project:"
_OWN = f"/{STATE}/mlflow.db"
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
    address = portable(public_uri(tracking_uri(project)), project.root)
    return f"{address}{_SEPARATOR}{'#' + experiment if experiment else project.experiment}"


def tracking_uri(project: Project) -> str:
    """The project's tracking address; a SQLite file that is given relatively becomes absolute."""
    return absolute_sqlite(project.tracking_uri)


def absolute_sqlite(uri: str) -> str:
    """An address; that of a SQLite file seen from the current directory becomes absolute."""
    if _is_relative(uri) and uri != _SQLITE + ":memory:":
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
    return uri


def portable(uri: str, root: Path) -> str:
    """An address; that of a SQLite file inside of the project relatively to it."""
    if not uri.startswith(_SQLITE):
        return uri
    path = Path(uri.removeprefix(_SQLITE))
    for place in (path, path.parent.resolve() / path.name):
        for folder, inside in ((state_of(root), f"{STATE}/"), (root, "")):
            if place.is_relative_to(folder):
                return f"{_INSIDE}{inside}{place.relative_to(folder).as_posix()}"
    return uri


def adopt(destination: str, root: Path) -> str:
    """A destination as 0.1.0 wrote it, in the form of today.

    It named the project's own MLflow by the path that the project had then. Whatever that was, it means the MLflow of
    this project, and never that of another copy, unless the environment says that very address now.
    """
    address, experiment = split(destination)
    named_now = os.environ.get("MLFLOW_TRACKING_URI") == address
    if address.startswith(_SQLITE) and address.endswith(_OWN) and not named_now:
        return f"{_INSIDE}{_OWN[1:]}{_SEPARATOR}{experiment}"
    return f"{portable(address, root)}{_SEPARATOR}{experiment}" if address else destination


def destination_in(record: Mapping[str, Any], root: Path, before: str) -> str:
    """The destination that a record of the journal names; that before it where it names none."""
    named = record.get("destination")
    if named is None:
        return before
    return str(named) if record.get("format", 1) >= FORMAT else adopt(str(named), root)


def split(destination: str) -> tuple[str, str]:
    """Address and experiment."""
    address, _, experiment = destination.rpartition(_SEPARATOR)
    return address, experiment


def join(address: str, experiment: str) -> str:
    """The destination of an address and an experiment's name, or `#` and its id."""
    return f"{address}{_SEPARATOR}{experiment}"


def absolute(address: str, root: Path) -> str:
    """An address as MLflow takes it and as people read it."""
    if not address.startswith(_INSIDE):
        return address
    folder, _, below = (inner := address.removeprefix(_INSIDE)).partition("/")
    return f"{_SQLITE}{state_of(root) / below if folder == STATE else root / inner}"


def is_inside(destination: str) -> bool:
    """Whether it is a database in the project's own folder."""
    return destination.startswith(_INSIDE)


def describe(destination: str, root: Path) -> str:
    """A destination for a message: its address, without any password."""
    return absolute(split(destination)[0], root)


def connect(project: Project, places: Places, destination: str) -> Mlflow:
    """The MLflow of a destination. Passwords come from the environment, never from the journal."""
    from prodkit.ledger.mlflow_adapter import Mlflow

    address, experiment = split(destination)
    uri = absolute(address, project.root)
    with_password = tracking_uri(project)
    return Mlflow(
        with_password if public_uri(with_password) == uri else uri,
        experiment,
        artifact_root=project.artifact_root,
        lock=places.mlflow_lock,
    )
