"""Removing a run from MLflow for good, as far as MLflow can: with its artifacts, and from the project's own SQLite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

_GONE = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
REVIEW_TAG = "prodkit.review"


@dataclass(frozen=True, slots=True)
class RunRemoval:
    """How it ended with one run.

    Attributes:
        removed: MLflow lists it no more, and did before.
        decided: it stays, without its artifacts, as the record of a person's decision.
        left: what MLflow can't do, one sentence each.
    """

    removed: bool = False
    decided: bool = False
    left: tuple[str, ...] = ()


def remove_run(client: Any, uri: str, run_id: str) -> RunRemoval:
    """Remove a run; one on which a person has decided loses its artifacts and stays as the record of that.

    Args:
        client: MLflow's.
        uri: the tracking address.
        run_id: MLflow's id; nothing happens when there is no such run any more.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in _GONE:
            return RunRemoval()
        raise
    left = tuple(_remove_artifacts(run.info.artifact_uri, uri))
    if run.data.tags.get(REVIEW_TAG):
        return RunRemoval(decided=True, left=left)
    listed = run.info.lifecycle_stage == "active"
    if listed:
        client.delete_run(run_id)
    if uri.startswith("sqlite:"):
        _store(uri)._hard_delete_run(run_id)  # noqa: SLF001  what `mlflow gc` does
        return RunRemoval(listed, left=left)
    return RunRemoval(
        listed, left=(*left, "a deleted run stays in the server's database until its operator runs `mlflow gc`")
    )


def _store(uri: str) -> Any:
    from mlflow.tracking._tracking_service.utils import _get_store

    return _get_store(uri)


def _remove_artifacts(artifact_uri: str, uri: str) -> list[str]:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if urlsplit(artifact_uri).scheme in {"", "file"}:
        folder = Path(url2pathname(urlsplit(artifact_uri).path))
        if not folder.exists():  # never written to, or on the server's own disk
            return (
                [] if uri.startswith("sqlite:") else [f"artifacts below {folder.parent.parent} aren't on this machine"]
            )
    try:
        get_artifact_repository(artifact_uri, tracking_uri=uri).delete_artifacts()
    except (MlflowException, NotImplementedError, OSError) as error:
        what = str(error) or "this kind of store has no way to delete"
        return [f"artifacts at {artifact_uri.rpartition('/artifacts')[0].rpartition('/')[0]}: {what}"]
    if urlsplit(artifact_uri).scheme in {"", "file"} and folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return []
