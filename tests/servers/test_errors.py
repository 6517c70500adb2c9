"""What stands between us and MLflow is found by MLflow's own client, and said with its code, its cause and its fix."""

from __future__ import annotations

import os
import socket
import time
import urllib.parse

import pytest

from prodkit.errors import ConfigError, TransientError
from prodkit.ledger import client as asked
from prodkit.ledger.mlflow_errors import RejectedError, UncertainError, UnreachableError, told
from prodkit.ledger.patience import BOUNDS, bounded
from prodkit.ledger.reach import find_obstacle, probe
from tests.servers.proxy import make_authority, proxied


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def mlflow_like():
    """Something that answers MLflow's simplest question as MLflow does, and remembers what it was sent."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.seen.append((self.path, dict(self.headers)))
            body = b'{"experiments": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    server.uri = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(asked, "_answered", {})
    for name in [
        name for name in os.environ if name.startswith("MLFLOW_TRACKING_") or name.endswith(("_PROXY", "_proxy"))
    ]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("status", "error", "code", "named"),
    [
        (401, ConfigError, "credentials", "MLFLOW_TRACKING_USERNAME"),
        (403, ConfigError, "credentials", "MLFLOW_TRACKING_TOKEN"),
        (404, ConfigError, "foreign", "MLFLOW_TRACKING_URI"),
        (429, TransientError, "busy", "prodkit audit sync"),
        (502, TransientError, "busy", "prodkit audit sync"),
        (503, TransientError, "busy", "prodkit audit sync"),
        (504, TransientError, "busy", "prodkit audit sync"),
        (200, TransientError, "foreign", "MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_each_status_is_one_error_with_its_fix(status, error, code, named):
    """What a proxy or a log-in answers is told by status: correct a setting (78), or try again (75)."""
    with proxied(status=status) as proxy:
        begun = time.monotonic()
        with pytest.raises(error, match=named) as caught, asked.asking(proxy.uri):
            pytest.fail("it was let in")
        assert caught.value.code == f"ledger.mlflow-{code}"
        assert proxy.uri in caught.value.where
        assert proxy.count == 1
        assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, UnreachableError), (502, UnreachableError), (200, UnreachableError), (413, RejectedError)],
)
def test_what_a_proxy_answers_never_rejects_a_record(status, kind, monkeypatch):
    """In the middle of a shipment the same answers mean that it waits; only what is too large is given up."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with proxied(status=status) as proxy, pytest.raises(kind), told():
        asked.open_client(proxy.uri).get_run("0" * 32)


def test_mlflows_own_word_on_a_record_is_final_and_its_failure_is_not():
    """A code of MLflow's own rejects a record; a failure inside leaves open whose fault it is."""
    from mlflow.exceptions import MlflowException, RestException

    with pytest.raises(RejectedError, match="RESOURCE_DOES_NOT_EXIST"), told():
        raise RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"})
    with pytest.raises(UncertainError, match="INTERNAL_ERROR"), told():
        raise MlflowException("something with a secret")
    with pytest.raises(UnreachableError, match="MLFLOW_TRACKING_USERNAME"), told():
        raise RestException({"error_code": "PERMISSION_DENIED", "message": "no"})


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://127.0.0.1:9", "refused"),
        ("http://no-such-host.invalid:5000", "name isn't known"),
        ("http://127.0.0.1:port", "no address"),
        ("postgresql://127.0.0.1:9/x", "refused"),
    ],
)
def test_each_wrong_address_is_said(uri, words):
    """No server, no such host, no number where the port is: a few words each."""
    assert words in probe(uri)


@pytest.mark.parametrize(
    "uri", ["postgresql:///db?host=/var/run/postgresql", "sqlite:////x.db", "databricks://profile"]
)
def test_what_only_mlflow_can_tell_is_left_to_it(uri):
    """A socket's folder, a file and other people's addresses aren't guessed at."""
    assert find_obstacle(uri) is None


def test_a_private_authority_is_accepted_when_it_is_named(authority, mlflow_like, monkeypatch):
    """Behind TLS with a private authority the error names the two settings, and each of them lets us in."""
    with proxied(mlflow_like.uri, tls=authority.context()) as proxy:
        with pytest.raises(ConfigError, match="MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE") as caught:
            asked.check(proxy.uri)
        assert caught.value.code == "ledger.mlflow-tls"
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/no/such/file.pem")
        with pytest.raises(ConfigError, match="no file at the path"):
            asked.check(proxy.uri)
        for name, value in (
            ("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority.ca)),
            ("REQUESTS_CA_BUNDLE", str(authority.ca)),
            ("MLFLOW_TRACKING_INSECURE_TLS", "true"),
        ):
            with monkeypatch.context() as setting:
                setting.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
                setting.setenv(name, value)
                setting.setattr(asked, "_answered", {})
                if name.endswith("INSECURE_TLS"):
                    with pytest.warns(match="Unverified HTTPS"):
                        asked.check(proxy.uri)
                else:
                    asked.check(proxy.uri)
        assert find_obstacle(proxy.uri.replace("https", "http")) is not None
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    with pytest.raises(ConfigError, match="http://"):
        asked.check(mlflow_like.uri.replace("http", "https"))


def test_a_clients_certificate_is_sent_where_it_is_set(authority, mlflow_like, monkeypatch):
    """A server that asks for a certificate gets the one of MLflow's setting."""
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority.ca))
    with proxied(mlflow_like.uri, tls=authority.context(ask_client=True)) as proxy:
        assert find_obstacle(proxy.uri) is not None
        monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(authority.client))
        assert find_obstacle(proxy.uri) is None


def test_credentials_are_those_of_mlflow(mlflow_like, monkeypatch, tmp_path):
    """Name and password, a token, MLflow's own file and those in the address all reach the server."""
    import base64

    def sent(uri=mlflow_like.uri):
        monkeypatch.setattr(asked, "_answered", {})
        assert find_obstacle(uri) is None
        return mlflow_like.seen[-1][1].get("Authorization", "")

    def basic(pair):
        return "Basic " + base64.b64encode(pair.encode()).decode()

    monkeypatch.setenv("HOME", str(tmp_path))
    assert sent() == ""
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = f\nmlflow_tracking_password = g\n"
    )
    assert sent() == basic("f:g")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "u")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p")
    assert sent() == basic("u:p")
    (tmp_path / ".mlflow" / "credentials").unlink()
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    assert sent() == "Bearer t"
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    assert sent(mlflow_like.uri.replace("//", "//a:b@")) == basic("a:b")


def test_the_way_through_an_http_proxy_is_the_clients(mlflow_like, monkeypatch):
    """HTTP_PROXY is used and NO_PROXY heeded, and a proxy that isn't there is named as such."""
    monkeypatch.setenv("HTTP_PROXY", mlflow_like.uri)
    assert find_obstacle("http://mlflow.invalid:5000") is None
    assert urllib.parse.urlsplit(mlflow_like.seen[-1][0]).hostname == "mlflow.invalid"
    monkeypatch.setattr(asked, "_answered", {})
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match="HTTPS_PROXY"):
        asked.check("http://mlflow.invalid:5000")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert find_obstacle(mlflow_like.uri) is None


def test_a_slow_server_is_waited_for_by_an_act_and_not_by_a_cell(mlflow_like, caplog):
    """Four seconds for an answer are too long for a cell; an act waits, and says why it takes so long."""
    with proxied(mlflow_like.uri, delay=4.0) as proxy:
        failure = find_obstacle(proxy.uri, 1.0)
        assert failure is not None
        assert "journal" in failure.while_records_wait("x")
        assert failure.kind == "slow"
        asked.check(proxy.uri)
        assert "takes" in caplog.text


def test_a_silent_server_is_given_up_within_mlflows_own_time_out(monkeypatch):
    """A server that takes the connection and never answers costs as long as MLflow's setting says."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TransientError, match="MLFLOW_HTTP_REQUEST_TIMEOUT"):
            asked.check(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_mlflows_retries_are_bounded_only_while_we_ask(monkeypatch):
    """The bound holds within, also when blocks overlap; what the user has set stays as it is."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    with bounded():
        with bounded():
            assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == BOUNDS["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"
