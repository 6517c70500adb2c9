"""Databases that nobody has used, and processes that count as another machine's."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

_names = itertools.count()
# A process with this before its code says of itself that it runs on another machine: nobody here may look at it.
ELSEWHERE = """
import sys
from prodkit.stores import owners
owners.place = lambda: "pod-2|machine|1|boot"
"""


@pytest.fixture
def namespace():
    """A project's name that nobody has used."""
    return f"stores-{next(_names)}"


@pytest.fixture
def elsewhere():
    """Starts a process of another machine: `elsewhere(code, *arguments)`; all are killed in the end."""
    started = []

    def start(code, *arguments):
        command = [sys.executable, "-c", ELSEWHERE + code, *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
