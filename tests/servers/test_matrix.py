"""Every act against every MLflow, and what MLflow then holds, read with MLflow's own client.

`python tests/servers/matrix_table.py` prints the whole table.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from prodkit.ledger import client as asked
from prodkit.testing import simulated_provider
from tests.servers.acts import ACTS, MANIFEST, Stage
from tests.servers.proxy import make_authority, proxied
from tests.servers.stage import CREDENTIALS, postgres_database, serve, serve_with_log_in

TRANSIENT = 75
ANSWERS = {"429": 429, "502": 502, "504": 504, "HTML": 200}


@dataclass
class Setting:
    """How prodkit reaches a server: the store itself, what it is told, and the proxy on the way."""

    direct: str
    uri: str = ""
    proxy: object = None
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def houses(tmp_path_factory, mlflow_template):
    """The servers, each started when it is first asked for, and stopped at the end."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        started = {}

        def start(kind):
            if kind not in started:
                folder = tmp_path_factory.mktemp(kind)
                if kind == "log-in":
                    opened = serve_with_log_in(folder, mlflow_template)
                elif kind == "PostgreSQL":
                    opened = serve(stack.enter_context(postgres_database()), folder)
                else:
                    shutil.copy(mlflow_template, folder / "server.db")
                    opened = serve(f"sqlite:///{folder}/server.db", folder)
                started[kind] = stack.enter_context(opened).uri
            return started[kind]

        yield start


@pytest.fixture(scope="module")
def provider():
    with simulated_provider(latency=0.0) as running:
        yield running


SERVERS = (
    "file", "server", "PostgreSQL", "log-in", "TLS", "slow 2 s", "slow 10 s",
    *(f"{name} at first" for name in ANSWERS), *(f"{name} always" for name in ANSWERS), "away and back", "HTML for uploads",
)  # fmt: skip


@contextmanager
def setting_of(server, houses, folder):
    if server == "file":
        yield Setting("", "")
    elif server in {"server", "PostgreSQL"}:
        uri = houses(server)
        yield Setting(uri, uri)
    elif server == "log-in":
        uri = houses(server)
        yield Setting(uri, uri, environment=CREDENTIALS)
    elif server == "TLS":
        authority = make_authority(folder)
        with proxied(houses("server"), tls=authority.context()) as proxy:
            named = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority.ca)}
            yield Setting(proxy.target, proxy.uri, proxy, named)
    else:
        with proxied(houses("server")) as proxy:
            yield Setting(proxy.target, proxy.uri, proxy)


@contextmanager
def trouble(server, proxy):
    """What the server does while an act is done."""
    word, _, how = server.partition(" ")
    asked._answered.clear()
    if word == "slow":
        proxy.delay = float(how.split()[0])
    elif word in ANSWERS:
        proxy.status, proxy.times = ANSWERS[word], 3 if how == "at first" else None
        proxy.methods = {"PUT"} if how == "for uploads" else set()
    elif word == "away":
        proxy.leave_after(4)
    try:
        yield
    finally:
        if word in {"slow", "away", *ANSWERS}:
            proxy.delay, proxy.status = 0.0, 0
            proxy.come_back()
        asked._answered.clear()


def play(act, server, stage, proxy):
    """One cell of the table: the act in trouble, again where it says so, and what MLflow holds then."""
    steps = ACTS[act](stage)
    do = next(steps)
    with trouble(server, proxy):
        code = do()
    ill = server.split()[0] in {*ANSWERS, "away"}
    assert code == 0 or (ill and code == TRANSIENT), f"exit code {code}: {stage.output}"
    stage.settle()
    if code:
        again = do()
        assert again == 0, f"exit code {again} when all is well again: {stage.output}"
        stage.settle()
    for _ in steps:
        pytest.fail("an act is done once")


@pytest.fixture
def stage_of(make_project, provider, houses, tmp_path, monkeypatch):
    """Makes a project whose MLflow is one of the servers, in an experiment that is empty."""
    from contextlib import ExitStack

    stack = ExitStack()

    def make(server):
        setting = stack.enter_context(setting_of(server, houses, tmp_path))
        project = make_project(MANIFEST)
        monkeypatch.chdir(project.root)
        monkeypatch.setenv("PRODKIT_PROJECT", str(project.root))
        for name, value in {**setting.environment, **provider.environment()}.items():
            monkeypatch.setenv(name, value)
        if setting.uri:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", setting.uri)
        stage = Stage(project, setting.direct or project.tracking_uri, provider)
        _empty(stage)
        return stage, setting.proxy

    with stack:
        yield make


def _empty(stage):
    """One server serves many projects: what another one has left goes under another name."""
    found = stage.mlflow.get_experiment_by_name("matrix")
    if found is not None:
        stage.mlflow.rename_experiment(found.experiment_id, f"matrix-{os.urandom(4).hex()}")


COLUMNS = [(server, tuple(ACTS)) for server in SERVERS if server != "slow 10 s"]
COLUMNS += [("slow 10 s", tuple(ACTS)[begin::4]) for begin in range(4)]  # most of it is waiting

QUICK = [
    ("file", "show verify erase clean"),
    ("server", "run review approve require-approval fan-out schedule"),
    ("log-in", "capture"),
    ("TLS", "prompts ui"),
    ("slow 2 s", "capture"),
    ("429 at first", "feedback"),
    ("502 at first", "sync"),
    ("504 at first", "prompts"),
    ("HTML at first", "compare"),
    ("429 always", "ui"),
    ("502 always", "erase"),
    ("504 always", "show"),
    ("HTML always", "capture"),
    ("away and back", "sync"),
    ("HTML for uploads", "capture"),
]


@pytest.mark.xdist_group("servers")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("server", "acts"), QUICK, ids=[server for server, _ in QUICK])
def test_each_server_and_each_act(server, acts, stage_of):
    """Each server is met by an act and each act by a server: all end well, or say 75 and end well then."""
    stage, proxy = stage_of(server)
    for act in acts.split():
        play(act, server, stage, proxy)


@pytest.mark.slow
@pytest.mark.xdist_group("servers")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("server", "acts"), COLUMNS, ids=[f"{server}-{acts[0]}" for server, acts in COLUMNS])
def test_every_act_against_every_server(server, acts, stage_of):
    """The whole table: every act works the same whatever MLflow is, and wherever it fails in between."""
    stage, proxy = stage_of(server)
    ends = {}
    for act in acts:
        try:
            play(act, server, stage, proxy)
            ends[act] = "ok"
        except (Exception, pytest.fail.Exception) as error:
            ends[act] = f"{type(error).__name__}: {str(error)[:300]!r}"
        print(f"\nmatrix|{server}|{act}|{ends[act]}", flush=True)
    assert {act: end for act, end in ends.items() if end != "ok"} == {}
