"""A PostgreSQL server of the tests' own on loopback, as the user that it accepts."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

USER = "prodkit"


def free_port() -> int:
    """A port of loopback that nobody has just now, and that no client gets while the server is away."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randrange(20_000, 32_000)
            probe.bind(("127.0.0.1", port))
            return port


class Postgres:
    """A server that can be stopped, killed and started again at the same address.

    Its folder isn't one of pytest's, which other users may not enter.
    """

    def __init__(self) -> None:
        pytest.importorskip("psycopg")
        if not shutil.which("initdb"):
            pytest.skip("needs PostgreSQL's initdb")
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="prodkit-pg-")), free_port()
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            if not shutil.which("setpriv"):
                pytest.skip("PostgreSQL doesn't run as root, and there is no setpriv")
            shutil.chown(self.folder, "nobody")
            self._prefix = ["setpriv", "--reuid=nobody", "--clear-groups"]
        self._databases = 0
        make = [*self._prefix, "initdb", "-D", str(self.folder / "data"), "-U", USER, "--auth=trust"]
        make += ["--encoding=UTF8", "--locale=C"]
        done = subprocess.run(make, check=False, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def url(self, database: str = "postgres", user: str = USER) -> str:
        """The address of one of its databases."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it; returns when it answers."""
        while not self._begin():
            self.port = free_port()

    def _begin(self) -> bool:
        """Start it; False where somebody else was faster to take its port."""
        run = [*self._prefix, "postgres", "-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1"]
        run += ["-k", str(self.folder), "-F", "-c", "max_connections=200"]
        with (self.folder / "pg.log").open("ab") as log:
            self.process = subprocess.Popen(run, stdout=log, stderr=log, cwd=self.folder)
        import psycopg

        deadline = time.monotonic() + 120
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    return False
                assert time.monotonic() < deadline, (self.folder / "pg.log").read_text()
                time.sleep(0.1)
            else:
                return True

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it at once: sessions are cut off."""
        self.process.send_signal(number)
        self.process.wait(60)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as its owner."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """The address of a database that nobody has used."""
        self._databases += 1
        name = f"test_{os.getpid()}_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def remove(self) -> None:
        """Stop it and remove its files."""
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
