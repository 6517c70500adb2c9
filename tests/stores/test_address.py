"""Which database holds a project's state, and that no password reaches a manifest or a message."""

from __future__ import annotations

import pytest

from prodkit.errors import ConfigError
from prodkit.manifest import find_project
from prodkit.stores.address import state_url, without_password
from prodkit.stores.opening import budget_store, leases_of


def project_with(folder, state=""):
    (folder / "prodkit.yaml").write_text(f"service: {{name: demo}}\n{f'state: {state}' if state else ''}\n")
    return find_project(folder)


@pytest.mark.parametrize("said", ["", "local"])
def test_files_are_the_default(tmp_path, said):
    """Without an address the project's own files hold its state, and there are no leases."""
    project = project_with(tmp_path, said)
    assert state_url(project) == ""
    assert leases_of(project) is None
    assert budget_store(project).where == str(project.state / "budget.db")


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("postgresql://prodkit@db.internal/state", "postgresql://prodkit@db.internal/state"),
        ("postgres://db.internal/state?sslmode=require", "postgresql://db.internal/state?sslmode=require"),
        ("postgresql+psycopg2://db.internal/state", "postgresql://db.internal/state"),
        ("postgresql://u:${PW}@db/state", "postgresql://u:a%40b%2F@db/state"),
        ("${WHOLE}", "postgresql://u:secret@db/state"),
        ("mlflow", "postgresql://mlflow:pw@db/mlflow"),
    ],
)
def test_addresses(tmp_path, monkeypatch, said, url):
    """An address is taken in all its spellings; variables are filled in, and quoted where they are only a part."""
    monkeypatch.setenv("PW", "a@b/")
    monkeypatch.setenv("WHOLE", "postgresql://u:secret@db/state")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.internal")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql+psycopg2://mlflow:pw@db/mlflow")
    assert state_url(project_with(tmp_path, said)) == url


def test_the_variable_wins(tmp_path, monkeypatch):
    """PRODKIT_STATE_URL stands over the manifest, also to keep a developer's state on the own machine."""
    project = project_with(tmp_path, "postgresql://db.internal/state")
    monkeypatch.setenv("PRODKIT_STATE_URL", "postgresql://other/state")
    assert state_url(project) == "postgresql://other/state"
    monkeypatch.setenv("PRODKIT_STATE_URL", "local")
    assert state_url(project) == ""


@pytest.mark.parametrize(
    "said",
    ["postgresql://u:hunter2@db/state", "postgresql://db/state?user=u&password=hunter2", "mysql://db/state", "/a/path"],
)
def test_the_manifest_refuses(tmp_path, said):
    """A password in the manifest is refused without being repeated, and so is what is no address."""
    with pytest.raises(ConfigError) as caught:
        project_with(tmp_path, said)
    assert caught.value.code == "manifest.invalid"
    assert caught.value.where == "prodkit.yaml:2 (state)"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("said", "code"), [("mlflow", "state.address"), ("${NOBODY_SET_THIS}", "state.variable")])
def test_what_is_not_known_here(tmp_path, said, code):
    """An address that this machine doesn't know is one error that names the variable."""
    with pytest.raises(ConfigError) as caught:
        state_url(project_with(tmp_path, said))
    assert caught.value.code == code
    assert caught.value.fix


def test_messages_hold_no_password():
    """What messages show of an address is server, user and database."""
    shown = without_password("postgresql://u:hunter2@db:5433/state?sslmode=require&password=hunter2")
    assert shown == "postgresql://u@db:5433/state"
