"""Which database holds the state of a project: its own files, or a PostgreSQL server that several machines share."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from prodkit.manifest import Project

VARIABLE = "PRODKIT_STATE_URL"
LOCAL, MLFLOW = "local", "mlflow"
_MLFLOW_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FIX = f"e.g. `state: postgresql://prodkit@db.internal/prodkit` in prodkit.yaml, or {VARIABLE}"


def state_url(project: Project) -> str:
    """The PostgreSQL address of a project's state, its password included; "" where its own files hold it.

    Raises:
        ConfigError: `state.address`, or `state.variable`.
    """
    said = os.environ.get(VARIABLE) or project.manifest.state
    if said in {"", LOCAL}:
        return ""
    return _postgresql(_of_mlflow() if said == MLFLOW else _filled_in(said))


def without_password(url: str) -> str:
    """An address for messages: no password, and nothing of its options."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit((parts.scheme, user + parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _of_mlflow() -> str:
    """The address of MLflow's own database, where this machine knows it."""
    for name in _MLFLOW_VARIABLES:
        uri = os.environ.get(name, "")
        if uri.startswith("postgres"):
            return uri
    raise ConfigError(
        "state.address",
        "`state: mlflow` means MLflow's PostgreSQL, and no variable names one here.",
        where=" or ".join(_MLFLOW_VARIABLES),
        fix=f"set MLFLOW_BACKEND_STORE_URI to the database of the MLflow server, or {VARIABLE} to another one",
    )


def _filled_in(text: str) -> str:
    """An address with the variables that it names; what is only a part of it is quoted for an address."""
    whole = _REFERENCE.fullmatch(text)

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise ConfigError(
                "state.variable",
                f"The address of the state names the variable {match[1]}, which isn't set.",
                where="prodkit.yaml (state)",
                fix=f"set {match[1]} in the environment of this process",
            )
        return found if whole else quote(found, safe="")

    return _REFERENCE.sub(value, text)


def _postgresql(url: str) -> str:
    """The address as PostgreSQL's library takes it: SQLAlchemy's name of a driver is none of its business."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise ConfigError("state.address", "The state's address isn't one of PostgreSQL.", where=VARIABLE, fix=_FIX)
    return f"postgresql://{rest}"
