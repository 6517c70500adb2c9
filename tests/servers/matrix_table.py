"""Prints the table of acts and servers: `python tests/servers/matrix_table.py [words that name the servers]`.

Each cell is played as `test_matrix.py` does, and read back with MLflow's own client. It takes a while.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def cells(words: list[str]) -> list[str]:
    """The tests of the servers that hold one of these words, all without words."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "slow", str(HERE / "test_matrix.py")]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parents[1]).stdout
    found = [line for line in listed.splitlines() if "test_every_act_against_every_server[" in line]
    return [one for one in found if not words or any(word in one.partition("[")[2] for word in words)]


def play(words: list[str]) -> dict[str, dict[str, str]]:
    """Server -> act -> how it ended, as the cells come."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "slow", "--timeout", "7200", *cells(words)]
    ends: dict[str, dict[str, str]] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1]) as running:
        for line in running.stdout or ():
            if line.startswith("matrix|"):
                _, server, act, end = line.rstrip("\n").split("|", 3)
                ends.setdefault(server, {})[act] = end
                print(f"{server}: {act}: {end}", file=sys.stderr, flush=True)
    return ends


def show(ends: dict[str, dict[str, str]]) -> bool:
    """Print them; whether all are well."""
    table = Table("act", *ends)
    acts = dict.fromkeys(act for column in ends.values() for act in column)
    for act in acts:
        table.add_row(act, *(("ok" if column.get(act) == "ok" else "FAILS") for column in ends.values()))
    Console(width=220).print(table)
    told = [end for column in ends.values() for end in column.values()]
    print(f"{told.count('ok')} of {len(told)} cells are well")
    return told.count("ok") == len(told) > 0


if __name__ == "__main__":
    sys.exit(0 if show(play(sys.argv[1:])) else 1)
