"""Reads over HTTP and from a database server."""
# The functions are looked up when they are called: that is what is tested.
# ruff: noqa: PLW0108, S310

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import fsspec
import httpx
import pandas as pd
import polars as pl
import psycopg
import psycopg2
import psycopg2.extras
import pytest
import requests
import sqlalchemy

from prodkit.capture import run
from prodkit.capture.lineage import watch
from prodkit.capture.lineage.databases import base_of_engine, base_of_url
from prodkit.capture.lineage.http import is_service


class _Handler(BaseHTTPRequestHandler):
    body = b"id,text\n1,a\n2,b\n"

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def do_GET(self):
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if part is None:
            self.do_HEAD()
            self.wfile.write(self.body)
            return
        first, last = int(part[1]), min(int(part[2]), len(self.body) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.body)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(self.body[first : last + 1])

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    """A web server on this machine that answers everything with a small table."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def get_with_urllib(url):
    with urllib.request.urlopen(url) as answer:
        answer.read()


def get_with_requests(url):
    with requests.Session() as session:
        session.get(url)


def get_with_httpx(url):
    with httpx.Client() as client:
        client.get(url)


GETS = {
    "urllib": get_with_urllib,
    "requests": get_with_requests,
    "httpx": get_with_httpx,
    "pandas": lambda url: pd.read_csv(url),
    "polars": lambda url: pl.read_csv(url),
}


@pytest.mark.parametrize("client", GETS)
def test_http(project, site, client):
    """A file that is got over HTTP is seen, without its query, which may hold a key."""
    with watch(project) as seen:
        GETS[client](f"http://{site}/data.csv?key=canary-9")
    assert [(record.source, record.kind) for record in seen.reads] == [(f"http://{site}/data.csv", "http")]
    assert "canary" not in repr(seen.reads)


async def test_async_http(project, site):
    """Asynchronous clients are seen too."""
    with watch(project) as seen:
        async with httpx.AsyncClient() as client:
            await client.get(f"http://{site}/a.csv")
        async with aiohttp.ClientSession() as session, session.get(f"http://{site}/b.csv") as answer:
            await answer.read()
    assert [record.source for record in seen.reads] == [f"http://{site}/a.csv", f"http://{site}/b.csv"]


def test_passwords_in_urls(project, site):
    """A URL's user and password are kept nowhere."""
    with watch(project) as seen:
        get_with_httpx(f"http://ana:canary-9@{site}/data.csv")
        with contextlib.suppress(Exception):
            fsspec.open(f"http://ana:canary-9@{site}/other.csv").open()
    assert seen.reads
    assert "canary" not in repr(seen.reads)


def test_calls_of_models_are_no_data(project, site):
    """Requests to a model's endpoint, to MLflow and posts to services are no datasets."""
    with watch(project) as seen, httpx.Client() as client:
        client.post(f"http://{site}/v1/chat/completions", json={})
        client.get(f"http://{site}/v1/models")
        client.post(f"http://{site}/api/2.0/mlflow/runs/search", json={})
        client.get(f"http://{site}/health")
        client.post(f"http://{site}/search", json={})
    assert seen.reads == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1/chat/completions",
        "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
        "https://api.anthropic.com/v1/messages",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent",
        "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse",
        "http://127.0.0.1:8000/v1/embeddings",
        "http://127.0.0.1:5000/api/2.0/mlflow/experiments/get-by-name",
    ],
)
def test_services(url):
    """Endpoints of models and of MLflow are told from data by host or path."""
    assert is_service(url)


@pytest.mark.parametrize(
    "url", ["https://example.org/files.csv", "https://data.example.org/v1/rows", "https://x.ai.example.org/"]
)
def test_data(url):
    """Other addresses are data."""
    assert not is_service(url)


def test_simulated_provider(project, site, monkeypatch):
    """What goes to the simulated provider is no data."""
    monkeypatch.setenv("PRODKIT_SIMULATED_URL", f"http://{site}")
    with watch(project) as seen:
        get_with_httpx(f"http://{site}/anything")
    assert seen.reads == ()


@pytest.fixture(scope="module")
def postgres():
    """The address of a PostgreSQL server with one table."""
    if not shutil.which("initdb") or not shutil.which("postgres"):
        pytest.skip("PostgreSQL isn't installed")
    if os.geteuid() == 0 and (
        not shutil.which("runuser") or subprocess.run(["id", "postgres"], check=False).returncode
    ):
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="prodkit-pg-"))  # not in pytest's folders, which other users may not enter
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if prefix:
        shutil.chown(folder, "postgres")
    subprocess.run(
        [*prefix, "initdb", "-D", folder / "db", "-A", "trust", "-U", "ana"], check=True, capture_output=True
    )
    command = [*prefix, "postgres", "-D", folder / "db", "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                with contextlib.suppress(psycopg.OperationalError):
                    with psycopg.connect(host="127.0.0.1", port=port, user="ana", dbname="postgres") as database:
                        database.execute("CREATE TABLE tickets AS SELECT 1 AS id")
                    break
                threading.Event().wait(0.05)
            yield port
        finally:
            server.terminate()
            server.wait(10)
            shutil.rmtree(folder, ignore_errors=True)


def test_psycopg(project, postgres):
    """Statements through psycopg are seen with host, database and table, without the password."""
    address = f"postgresql://ana:canary-9@127.0.0.1:{postgres}/postgres"
    with watch(project) as seen, psycopg.connect(address) as database:
        database.execute("SELECT * FROM tickets").fetchall()
        database.execute("CREATE TABLE notes (text text)")
        database.rollback()
    assert [record.source for record in seen.reads] == [f"postgresql://127.0.0.1:{postgres}/postgres#tickets"]
    assert [record.name for record in seen.writes] == [f"127.0.0.1:{postgres}/postgres#notes"]
    assert "canary" not in repr(seen.reads + seen.writes)


def test_postgres_through_sqlalchemy(project, postgres):
    """Through SQLAlchemy the same table is the same dataset."""
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://ana:canary-9@127.0.0.1:{postgres}/postgres")
    with watch(project) as seen:
        frame = pd.read_sql("SELECT * FROM tickets", engine)
    engine.dispose()
    assert len(frame) == 1
    assert f"postgresql://127.0.0.1:{postgres}/postgres#tickets" in [record.source for record in seen.reads]
    assert len(seen.reads) == 1


POSTGRES = {
    "psycopg": lambda port: _ask(psycopg.connect(f"postgresql://ana:canary-9@127.0.0.1:{port}/postgres")),
    "psycopg-dsn": lambda port: _ask(
        psycopg.connect(f"host=127.0.0.1 port={port} user=ana password=canary-9 dbname=postgres")
    ),
    "psycopg2": lambda port: _ask(psycopg2.connect(f"postgresql://ana:canary-9@127.0.0.1:{port}/postgres")),
    "psycopg2-dict": lambda port: _ask(
        psycopg2.connect(
            host="127.0.0.1",
            port=port,
            user="ana",
            password="canary-9",
            dbname="postgres",
            cursor_factory=psycopg2.extras.DictCursor,
        )
    ),
    "sqlalchemy-psycopg": lambda port: _engine(f"postgresql+psycopg://ana:canary-9@127.0.0.1:{port}/postgres"),
    "sqlalchemy-psycopg2": lambda port: _engine(f"postgresql+psycopg2://ana:canary-9@127.0.0.1:{port}/postgres"),
    "sqlalchemy-query": lambda port: _engine(
        f"postgresql+psycopg:///postgres?host=127.0.0.1&port={port}&user=ana&password=canary-9"
    ),
    "pandas.read_sql-url": lambda port: pd.read_sql(
        "SELECT * FROM tickets", f"postgresql+psycopg://ana:canary-9@127.0.0.1:{port}/postgres"
    ),
}


def _ask(connection):
    with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SELECT * FROM tickets WHERE id <> %s", ("77",))
        return cursor.fetchall()


def _engine(url):
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("SELECT * FROM tickets")).all()
    engine.dispose()
    return found


@pytest.mark.parametrize("way", POSTGRES)
def test_passwords_of_postgres(project, postgres, way):
    """However a password reaches PostgreSQL, the table is one dataset of one name, and the password is nowhere."""
    with watch(project) as seen:
        assert len(POSTGRES[way](postgres)) == 1
    assert [record.source for record in seen.reads] == [f"postgresql://127.0.0.1:{postgres}/postgres#tickets"]
    assert "canary" not in repr(seen.reads + seen.writes)


URLS = {
    "postgresql+psycopg://ana:canary@db/shop": "postgresql://db:5432/shop",
    "postgres://ana:canary@db:6000/shop?sslpassword=canary&application_name=x": "postgresql://db:6000/shop",
    "postgresql:///shop?host=db&user=ana&password=canary": "postgresql://db:5432/shop",
    "mysql+pymysql://ana:can%40ary@db/shop?charset=utf8": "mysql://db:3306/shop",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BX%7D%3BSERVER%3Dtcp%3Adb%2C1444%3BDATABASE%3Dshop%3BUID%3Da%3BPWD%3Dcanary": (
        "mssql://db:1444/shop"
    ),
    "mssql+pyodbc://ana:canary@db/shop?driver=X": "mssql://db:1433/shop",
    "snowflake://ana:canary@account/shop/public?warehouse=w&token=canary": "snowflake://account/shop%2Fpublic",
    "sqlite:////data/shop.db?key=canary": "sqlite:///data/shop.db",
}


@pytest.mark.parametrize("url", URLS)
def test_passwords_in_database_urls(url):
    """A database's address has host, port and database, and neither password nor options, by text and by SQLAlchemy."""
    assert base_of_url(url) == URLS[url]
    assert base_of_engine(sqlalchemy.make_url(url)) == URLS[url]


def read_with_passwords(port, site):
    for ask in POSTGRES.values():
        ask(port)
    for get in GETS.values():
        get(f"http://{site}/data.csv?key=canary-9")
    for get in (get_with_requests, get_with_httpx):  # urllib, which pandas uses, knows no users in URLs
        get(f"http://ana:canary-9@{site}/data.csv?key=canary-9")


def test_no_password_is_stored(project, site, postgres):
    """Nothing that a run writes, into the journal, MLflow or artifacts, holds a password of what was read."""
    manifest = (
        "service: {name: lineage}\ndata_sources:\n"
        f"  crm: {{kind: sql, location: 'postgresql+psycopg2://ana:canary-9@127.0.0.1:{postgres}/postgres?password=canary-9'}}\n"
        f"  site: {{kind: http, location: 'http://ana:canary-9@{site}/data.csv?key=canary-9'}}\n"
    )
    (project.root / "prodkit.yaml").write_text(manifest)
    with run("read", inputs={"site": pd.DataFrame({"a": [1]})}) as opened:
        read_with_passwords(postgres, site)
    opened.ledger.flush()
    assert {one.name for one in opened.datasets} >= {"crm", "site"}
    stored = [path for path in project.state.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in stored)
    assert [path for path in stored if b"canary" in path.read_bytes()] == []
    assert "canary" not in repr(opened.summary())
