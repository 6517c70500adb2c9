"""What `prodkit audit verify` says of a journal after each way to change it. Prints a table in Markdown.

`python tests/benchmarks/tamper_table.py`: two processes make captured calls to the simulated provider and ship them to
MLflow; then each change is made to a copy of the whole project, and the command is run there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.testing import simulated_provider

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = "service: {name: tampered}\n"
CALLS = """
import prodkit
from openai import OpenAI
from prodkit.testing import openai_options
with OpenAI(**openai_options()) as client, prodkit.run("answers"), prodkit.request(user="ada"):
    for number in range(4):
        message = {"role": "user", "content": f"Ticket {number}: I was charged twice"}
        client.chat.completions.create(model="gpt-4o-mini", messages=[message])
"""
Lines = list[bytes]


def forge(line: bytes) -> bytes:
    """The record with another cost, its own hash made right again."""
    body = json.loads(line)["body"]
    body["public"]["cost"]["usd"] = "0"
    raw = json.dumps(body, separators=(",", ":")).encode()
    return b'{"hash":"%s","body":%s}\n' % (sha256(raw).hexdigest().encode(), raw)


def call_in(lines: Lines) -> int:
    """Where the first call stands."""
    return next(at for at, line in enumerate(lines) if b'"kind":"call"' in line)


def at_call(change: Callable[[Lines, int], Lines]) -> Callable[[Path], None]:
    """A change of the first stream's file, around its first call."""

    def act(project: Path) -> None:
        path = min((project / ".prodkit" / "journal").glob("*.jsonl"))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(change(lines, call_in(lines))))

    return act


def cut_off(project: Path, *, hidden: bool = False) -> None:
    """Take the last three records away; hidden: with every trace of them that lies in the project."""
    state = project / ".prodkit"
    path = max((state / "journal").glob("*.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    if hidden:
        shutil.rmtree(state / "checkpoints")
        for book in state.glob("ship.db*"):
            book.unlink()


def drop_stream(project: Path) -> None:
    """Remove all that one process has written."""
    for file in (project / ".prodkit" / "journal").glob("0001*"):
        file.unlink()


def erase(project: Path) -> None:
    """Erase a person."""
    command(project, "audit", "erase", "--user", "ada", "--yes")


CHANGES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "nothing": (lambda _: None, ()),
    "a person's content erased by `audit erase`": (erase, ()),
    "a last line torn by a kill": (at_call(lambda lines, _: [*lines, b'{"hash":"00']), ()),
    "a figure edited": (
        at_call(
            lambda lines, at: [*lines[:at], lines[at].replace(b"gpt-4o-mini", b"gpt-4o-maxi", 1), *lines[at + 1 :]]
        ),
        (),
    ),
    "a figure edited, its hash made right": (
        at_call(lambda lines, at: [*lines[:at], forge(lines[at]), *lines[at + 1 :]]),
        (),
    ),
    "a record deleted": (at_call(lambda lines, at: [*lines[:at], *lines[at + 1 :]]), ()),
    "a record written twice": (at_call(lambda lines, at: [*lines[: at + 1], *lines[at:]]), ()),
    "two records exchanged": (
        at_call(lambda lines, at: [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]),
        (),
    ),
    "the end cut off": (cut_off, ()),
    "the end cut off, and every trace of it in the project": (lambda project: cut_off(project, hidden=True), ()),
    "the same, verified against the checkpoints in MLflow": (
        lambda project: cut_off(project, hidden=True),
        ("--mlflow",),
    ),
    "a process's whole stream removed": (drop_stream, ()),
}


def command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run prodkit in a project."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PRODKIT_", "MLFLOW_"))}
    quiet = {"PRODKIT_PROJECT": str(project), "MLFLOW_DISABLE_TELEMETRY": "true", "NO_COLOR": "1", "COLUMNS": "200"}
    full = [sys.executable, "-m", "prodkit", *words]
    return subprocess.run(full, cwd=project, env=environment | quiet, capture_output=True, text=True, check=False)


def make(project: Path, environment: dict[str, str]) -> None:
    """Let two processes record, one after the other's stream is taken, and ship all of it."""
    project.mkdir()
    (project / "prodkit.yaml").write_text(MANIFEST)
    inline = {**os.environ, **environment, "PRODKIT_PROJECT": str(project), "PRODKIT_SHIPPER": "inline"}
    both = [subprocess.Popen([sys.executable, "-c", CALLS], cwd=project, env=inline) for _ in range(2)]
    if any(process.wait() for process in both):
        raise SystemExit("the calls failed")
    for words in (("audit", "checkpoint"), ("audit", "sync")):
        if command(project, *words).returncode:
            raise SystemExit(f"prodkit {' '.join(words)} failed")


def told(output: str) -> str:
    """The first finding, how many more there are, and the verdict."""
    *flaws, verdict = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    more = [f"{len(flaws) - 1} more"] if len(flaws) > 1 else []
    return "; ".join([*flaws[:1], *more, verdict.partition(",")[0]])


def main() -> None:
    """Make each change, verify, and print."""
    with tempfile.TemporaryDirectory() as folder, simulated_provider() as provider:
        whole = Path(folder, "whole")
        make(whole, provider.environment())
        print("| what was done to the journal | exit code | `prodkit audit verify` says |\n|---|---|---|")
        for number, (name, (change, options)) in enumerate(CHANGES.items()):
            project = Path(folder, str(number))
            shutil.copytree(whole, project)
            change(project)
            done = command(project, "audit", "verify", *options)
            print(f"| {name} | {done.returncode} | {told(done.stdout)} |", flush=True)


if __name__ == "__main__":
    main()
