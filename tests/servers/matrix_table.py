"""Prints the table of acts and servers: `python tests/servers/matrix_table.py [words that name the servers]`.

Each cell is played as `test_matrix.py` does, and read back with MLflow's own client. It takes a while. What it says
meanwhile (`2> FILE`) makes the table again without playing, also of several such files: `--of FILE...`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent
MARK = "matrix|"


def read(paths: list[str]) -> Iterator[str]:
    """The lines of these files, one after another."""
    for path in paths:
        yield from Path(path).read_text().splitlines()


def cells(words: list[str]) -> list[str]:
    """The tests of the servers that hold one of these words, all without words."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "slow", str(HERE / "test_matrix.py")]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parents[1]).stdout
    found = [line for line in listed.splitlines() if "test_every_act_against_every_server[" in line]
    return [one for one in found if not words or any(word in one.partition("[")[2] for word in words)]


def play(words: list[str]) -> Iterator[str]:
    """Its lines, as the cells come."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "slow", "--timeout", "7200", *cells(words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1]) as running:
        for line in running.stdout or ():
            if line.startswith(MARK):
                print(line, end="", file=sys.stderr, flush=True)
                yield line


def collect(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """Server -> act -> how it ended; a cell that was played again counts as it ended then."""
    ends: dict[str, dict[str, str]] = {}
    for line in lines:
        if line.startswith(MARK):
            _, server, act, end = line.rstrip("\n").split("|", 3)
            ends.setdefault(server, {})[act] = end
    return ends


def show(ends: dict[str, dict[str, str]]) -> bool:
    """Print them; whether all are well."""
    table = Table("act", *ends)
    acts = dict.fromkeys(act for column in ends.values() for act in column)
    for act in acts:
        table.add_row(act, *(_word(column.get(act)) for column in ends.values()))
    Console(width=260).print(table)
    for server, column in ends.items():
        for act, end in column.items():
            if end != "ok":
                print(f"{server}: {act}: {end}")
    played = [end for column in ends.values() for end in column.values()]
    print(f"{played.count('ok')} of {len(acts) * len(ends)} cells are well")
    return played.count("ok") == len(acts) * len(ends) > 0


def _word(end: str | None) -> str:
    return "-" if end is None else "ok" if end == "ok" else "FAILS"


if __name__ == "__main__":
    asked = sys.argv[1:]
    sys.exit(0 if show(collect(read(asked[1:]) if asked[:1] == ["--of"] else play(asked))) else 1)
