"""Where a project writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prodkit.manifest import find_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("given", "state"),
    [(None, "project/.prodkit"), ("", "project/.prodkit"), ("{}/state", "state"), ("kept/here", "project/kept/here")],
)
def test_state_lies_where_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, state: str):
    """State lies in the project, or where PRODKIT_STATE says; a relative one is below the project's root."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "prodkit.yaml").write_text("service: {name: sample}\n")
    if given is not None:
        monkeypatch.setenv("PRODKIT_STATE", given.format(tmp_path))
    project = find_project(root)
    assert project.state == tmp_path / state
    assert project.artifact_root == tmp_path / state / "artifacts"
    assert project.tracking_uri == f"sqlite:///{tmp_path / state / 'mlflow.db'}"
