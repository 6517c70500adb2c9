"""What every room's tests share: a project in a folder of its own, and an MLflow database that is prepared once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.manifest import Project
    from tests.postgres import Postgres

REPOSITORY = Path(__file__).parents[1]
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "GIT_PYTHON_REFRESH": "quiet",
}
KEPT = ("PRODKIT_SHOTS", "PRODKIT_SHIPPER")
FOREIGN = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
)


def pytest_configure() -> None:
    """Nothing of the developer's own set-up reaches the tests, and nothing of the tests leaves the machine."""
    os.environ.update(QUIET)
    os.environ["PRODKIT_SHIPPER"] = "inline"  # no helper process for each of hundreds of projects
    ours = [name for name in os.environ if name.startswith("PRODKIT_") and name not in KEPT]
    for name in [*FOREIGN, *ours]:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """A test's runs, sessions, switches and variables end with it: rooms share a process here, as notebooks don't."""
    before = dict(os.environ)
    yield
    if "prodkit.capture.opening" in sys.modules:
        from prodkit.capture import close_run
        from prodkit.capture.autolog import switch_off
        from prodkit.capture.context import open_runs

        for run in reversed(open_runs()):
            close_run(run)
        switch_off()
    if "prodkit.ledger.ledger" in sys.modules:
        from prodkit.ledger import Ledger

        for ledger in Ledger._opened.values():
            ledger.close()
        Ledger._opened.clear()
    if "mlflow.tracking" in sys.modules:
        from mlflow.tracking._tracking_service import utils

        utils._tracking_uri = None
    if dict(os.environ) != before:  # MLflow's setters write variables of their own
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty MLflow database. Migrating takes seconds, copying takes none."""
    shared = Path(tmp_path_factory.getbasetemp())
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    database = shared / "template" / "mlflow.db"
    lock = shared / "template.lock"
    import fcntl

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not database.exists():
            database.parent.mkdir()
            making = database.with_suffix(".making")
            command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{making}"]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, **QUIET})
            with sqlite3.connect(making) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            making.rename(database)
    return database


@pytest.fixture
def make_project(tmp_path: Path, mlflow_template: Path) -> Callable[..., Project]:
    """Makes a project: `make_project("service: {name: x}")`, its MLflow database ready."""
    from prodkit.manifest import find_project

    def make(manifest: str = "service: {name: demo}\n", name: str = "project") -> Project:
        root = tmp_path / name
        (root / ".prodkit").mkdir(parents=True)
        (root / "prodkit.yaml").write_text(manifest)
        shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
        return find_project(root)

    return make


@pytest.fixture
def project(make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A small project that is also the current directory."""
    made = make_project()
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("PRODKIT_PROJECT", str(made.root))
    return made


@pytest.fixture
def example(tmp_path: Path, repository: Path, mlflow_template: Path) -> Project:
    """A copy of the example project, with an empty store."""
    root = tmp_path / "example"
    shutil.copytree(repository / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(repository / "contracts", root / "contracts")
    shutil.copy(repository / "prodkit.yaml", root)
    (root / ".prodkit").mkdir()
    shutil.copy(mlflow_template, root / ".prodkit" / "mlflow.db")
    from prodkit.manifest import find_project

    return find_project(root)


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of a process; whoever stops it starts it again."""
    from tests.postgres import Postgres

    server = Postgres()
    server.start()
    yield server
    server.remove()
