"""What MLflow's own calls in a notebook mean for its job, when the server is away or says no."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from prodkit.jobs.ends import Failure, Outcome
from prodkit.jobs.probe import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEAD = "http://127.0.0.1:9"
REST = {"error_code": "INTERNAL_ERROR", "message": "x"}


@contextmanager
def answering(status: int, body: str, *, waits: float = 0.0) -> Iterator[str]:
    """A server that gives every request the same answer, at once or after so many seconds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(waits)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815  the names that http.server asks for

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def outcome_of(act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """What the error of a call means, told as the kernel tells it to the engine."""
    with pytest.raises(Exception) as caught:
        act()
    monkeypatch.setattr(sys, "last_value", caught.value, raising=False)
    told = json.loads(describe())
    failure = Failure(type(caught.value).__name__, str(caught.value), tuple(told["names"]), None, told["http_status"])
    bare = Failure(type(caught.value).__name__, str(caught.value))  # a kernel that has no prodkit
    if caught.type.__name__ == "MlflowException" and "API request" in str(caught.value):
        assert bare.outcome in {failure.outcome, Outcome.FAILED}
    return failure.outcome


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """MLflow's client, without its waits between tries."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return lambda uri: MlflowClient(uri, registry_uri=uri)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (500, json.dumps(REST), Outcome.TRANSIENT),
        (503, json.dumps({**REST, "error_code": "TEMPORARILY_UNAVAILABLE"}), Outcome.TRANSIENT),
        (429, json.dumps({**REST, "error_code": "REQUEST_LIMIT_EXCEEDED"}), Outcome.TRANSIENT),
        (502, "<html>Bad Gateway</html>", Outcome.TRANSIENT),
        (504, "<html>Gateway Time-out</html>", Outcome.TRANSIENT),
        (200, "<html>We are back soon</html>", Outcome.TRANSIENT),
        (400, json.dumps({**REST, "error_code": "INVALID_PARAMETER_VALUE"}), Outcome.FAILED),
        (400, json.dumps({**REST, "error_code": "RESOURCE_ALREADY_EXISTS"}), Outcome.FAILED),
        (404, json.dumps({**REST, "error_code": "RESOURCE_DOES_NOT_EXIST"}), Outcome.FAILED),
        (404, "<html>Not Found</html>", Outcome.FAILED),
        (401, "You are not authenticated.", Outcome.MISCONFIGURED),
        (403, json.dumps({**REST, "error_code": "PERMISSION_DENIED"}), Outcome.MISCONFIGURED),
    ],
)
def test_what_a_server_answers(
    status: int, body: str, outcome: Outcome, client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that fails or is in the way of a proxy is transient, a refusal is the set-up's, the rest the notebook's."""
    with answering(status, body) as uri:
        assert outcome_of(lambda: client(uri).create_experiment("x"), monkeypatch) is outcome


def test_a_server_that_is_away(client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port where nothing listens, a host without a name and a database that can't be opened are transient."""
    assert outcome_of(lambda: client(DEAD).create_experiment("x"), monkeypatch) is Outcome.TRANSIENT
    assert outcome_of(lambda: client("http://nowhere.invalid").get_run("0"), monkeypatch) is Outcome.TRANSIENT


def test_what_mlflow_finds_wrong_by_itself(client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that MLflow's client raises without asking anybody is the notebook's own, whatever code it has."""
    from mlflow.exceptions import MlflowException

    def fail() -> None:
        raise MlflowException("no model flavour is known")

    assert outcome_of(fail, monkeypatch) is Outcome.FAILED
    assert outcome_of(lambda: client("nonsense://x").get_run("0"), monkeypatch) is Outcome.FAILED


def test_a_foreign_certificate_is_no_outage() -> None:
    """A certificate that isn't trusted is the set-up's fault, although libraries call it a connection error."""
    said = "Max retries exceeded (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')))"
    assert Failure("MlflowException", said).outcome is Outcome.MISCONFIGURED
    assert Failure("SSLError", said, ("requests.exceptions.SSLError", "requests.exceptions.ConnectionError")).outcome


def test_a_notebook_learns_soon_that_mlflow_is_away(
    make_job: Callable[..., Path], run_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a job's kernel a call of MLflow's ends within seconds where nothing listens, and its job with 75."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    job = make_job("import mlflow\nmlflow.set_experiment('mine')\nmlflow.log_metric('m', 1)", retries=1)
    begun = time.monotonic()
    result = run_here(job)
    assert (result.exit_code, [one.error_class for one in result.attempts]) == (75, ["MlflowException"] * 2)
    assert time.monotonic() - begun < 100  # MLflow's own patience would be four minutes an attempt


def test_the_users_own_patience_holds(
    make_job: Callable[..., Path], run_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user has set for MLflow's client reaches the kernel as it is."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    names = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    result = run_here(make_job(f"import os\nprint([os.environ[name] for name in {names}])"))
    assert "['77', '2']" in result.output.read_text()
