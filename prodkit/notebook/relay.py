"""`%prodkit export`, `run`, `lint`, ...: the command of the same name, in a process of its own.

A child process keeps the kernel's event loop, its environment and its open runs out of the command, can be
interrupted, and says the same as in a terminal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, ProdkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

# command -> what it does, and whether it takes this notebook when none is named
COMMANDS: dict[str, tuple[str, bool]] = {
    "lint": ("Say what stands between this notebook and production.", True),
    "export": ("Export this notebook into a job folder; `--to FOLDER` says where.", True),
    "run": ("Run an exported job: `%prodkit run jobs/NAME -p name=value`.", False),
    "rehearse": ("Put the calls of this notebook, or of a job, to every fault.", True),
    "review": ("Show what a reviewer needs of this notebook's run, or of a RUN; `--approve` says yes.", False),
    "schedule": ("Say when a job runs: `%prodkit schedule jobs/NAME --target cron`.", False),
    "runs": ("Show what has run, and how it ended.", False),
    "doctor": ("Say what is installed, where things are written, and what is missing.", False),
    "audit": ("Verify the journal, explain one answer, erase one person.", False),
}


def relay(command: str, words: Sequence[str], *, notebook: Path | None, root: Path) -> None:
    """Run a command and show its lines as they come.

    Args:
        command: one of `COMMANDS`.
        words: its arguments, as written.
        notebook: the file of this notebook, for commands that take one.
        root: the project's folder.

    Raises:
        ConfigError: `notebook.no-file`: the command takes this notebook, and it has no file.
        ProdkitError: `notebook.command`: the command failed; its own lines have been shown.
    """
    arguments = list(words)
    if COMMANDS[command][1] and not _names_target(command, arguments) and "--help" not in arguments:
        if notebook is None:
            what = "This notebook's file isn't known: it was never saved, or the editor doesn't say."
            raise ConfigError("notebook.no-file", what, fix=f"save it, or name it: `%prodkit {command} NOTEBOOK.ipynb`")
        arguments.insert(0, str(notebook))
    code = _stream([sys.executable, "-m", "prodkit", command, *arguments], root)
    if code:
        what = f"`prodkit {command}` ended with exit code {code}."
        raise ProdkitError("notebook.command", what, fix="what it said is above")


def _names_target(command: str, words: Sequence[str]) -> bool:
    """Whether a notebook is named, or, where that does as well, a job."""
    return any(word.endswith(".ipynb") or (command == "rehearse" and Path(word).is_dir()) for word in words)


def _stream(command: list[str], root: Path) -> int:
    environment = {**os.environ, "PRODKIT_PROJECT": str(root), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    for forced in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # a kernel sets them: what is piped isn't a terminal
        environment.pop(forced, None)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        for line in process.stdout or ():
            print(line, end="", flush=True)  # noqa: T201  the command's own lines
        return process.wait()
    finally:
        if process.poll() is None:  # interrupted
            process.terminate()
            process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
