"""MLflow's own UI over the project's store: started on loopback, opened at a run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.ledger.client import asking, found_or_none, search_runs
from prodkit.ledger.reach import is_server, public_uri

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodkit.manifest import Project

START_SECONDS = 90.0
STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.2
# no telemetry, no remote price catalog, one worker, no job runner: 2 processes in place of 15
SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running UI. `url` is the deep link, `owned` says whether we started it."""

    base: str
    url: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def owned(self) -> bool:
        """Whether the process is ours to stop."""
        return self.process is not None

    def wait(self) -> None:
        """Until the server ends or the user presses Ctrl-C. Returns at once for a server that isn't ours."""
        if self.process is not None:
            try:
                while self.process.poll() is None:
                    time.sleep(_LOOK_SECONDS)  # a wait without end isn't left where another thread takes the signal
            except KeyboardInterrupt:
                return


@contextmanager
def serve(project: Project, *, run_id: str | None = None, port: int = 0) -> Iterator[Server]:
    """The MLflow UI at one run; a server of ours ends with the block.

    Args:
        project: whose store is shown.
        run_id: MLflow's id of the run; default: the latest one that prodkit wrote.
        port: on loopback; 0 takes a free one.

    Raises:
        ConfigError: `ui.empty`, `ui.no-run`, `ui.failed`.
    """
    place = _place(project, run_id)
    if is_server(project.tracking_uri):
        base = public_uri(project.tracking_uri).rstrip("/")
        yield Server(base, base + place)
        return
    log = project.state / "ui.log"
    process, base = _start(project.tracking_uri, port or _free_port(), log)
    try:
        _await_health(base, process, log)
        yield Server(base, base + place, process)
    finally:
        _stop(process)


def _place(project: Project, run_id: str | None) -> str:
    os.environ.update({key: os.environ.get(key, value) for key, value in SERVER_ENVIRONMENT.items()})
    uri = project.tracking_uri
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):  # noqa: PTH110
        raise ConfigError(
            "ui.empty", "Nothing was captured yet.", where=uri, fix="run a cell under `%%prodkit`, or `prodkit demo`"
        )
    with asking(uri) as client:
        return _page(client, project.experiment, run_id, uri)


def _page(client: Any, experiment_name: str, run_id: str | None, uri: str) -> str:
    if run_id:
        run = found_or_none(lambda: client.get_run(run_id))
        if run is None:
            raise ConfigError(
                "ui.no-run", f"There is no run `{run_id}`.", where=uri, fix="leave --run out for the latest"
            )
        return f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    experiment = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        return "/#/experiments"
    latest = search_runs(client, [experiment.experiment_id], newest=True, most=1)
    place = f"/#/experiments/{experiment.experiment_id}"
    return f"{place}/runs/{latest[0].info.run_id}" if latest else place


def _start(uri: str, port: int, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    address = {
        "MLFLOW_BACKEND_STORE_URI": uri
    }  # a database's address holds its password, and arguments are seen by all
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **SERVER_ENVIRONMENT, **address},
            start_new_session=True,  # its worker processes end with it
        )
    return process, f"http://127.0.0.1:{port}"


def _await_health(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's loopback
    while time.monotonic() < end and process.poll() is None:
        try:
            with straight.open(f"{base}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ConfigError(
        "ui.failed", "The MLflow UI didn't start.", where=str(log), fix="read that log; is the port taken?"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
