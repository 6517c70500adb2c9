"""MLflow servers of all kinds on loopback: on SQLite, on PostgreSQL, with log-ins, and what stands in front of them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from prodkit.ledger.ui import SERVER_ENVIRONMENT
from tests.postgres import free_port

USER, PASSWORD = "admin", "prodkit-tests-only"
CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}


def until(ready, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.2)
    raise TimeoutError(what)


def healthy(uri):
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=1):  # noqa: S310  our own address on loopback
            return True
    except OSError:
        return False


class Server:
    """An MLflow server that can be stopped and started again at the same address."""

    def __init__(self, store, folder, *options, **environment):
        self.store, self.folder, self.port = store, folder, free_port()
        self.options, self.environment = options, environment
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--artifacts-destination", str(self.folder / "art"), *self.options]
        environment = {**os.environ, **SERVER_ENVIRONMENT, **self.environment}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )
        until(lambda: healthy(self.uri), 120, "the MLflow server didn't start")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serve(store, folder, *options, **environment):
    server = Server(store, folder, *options, **environment)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serve_with_log_in(folder, template):
    """A server with MLflow's own basic authentication; `CREDENTIALS` let in."""
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("needs Flask-WTF, as `mlflow[auth]` does")
    database = folder / "server.db"
    shutil.copy(template, database)
    settings = folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        f"admin_username = {USER}\nadmin_password = {PASSWORD}\nauth_cache_ttl_seconds = 60\ngrant_default_workspace_access = false\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "tests-only"}
    with serve(f"sqlite:///{database}", folder, "--app-name", "basic-auth", **environment) as server:
        yield server


@contextmanager
def postgres_database():
    """An empty database in a PostgreSQL of our own on loopback."""
    from tests.postgres import Postgres

    server = Postgres()
    server.start()
    try:
        yield server.url()
    finally:
        server.remove()
