"""Hashes for a lock: uv asks the package registry that this machine uses for what it has of each pinned version.

No address of a registry is ever written down. pip isn't asked: it would have to download every file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PIN = re.compile(r"^([A-Za-z0-9._-]+==[^\s;\\]+)", re.MULTILINE)
_ONE_PIN = re.compile(r"[A-Za-z0-9._-]+==[^\s;\\]+( ?\\)?")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
_SECONDS = 60.0
OWN_PART, OTHERS_PART = "# wheels/", "# for other patch releases of Python"
"""The lines below which a lock holds what the registry hasn't, and pins for some patch releases alone."""
_IMPATIENT = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "1"}


def hashes_of(pins: Sequence[str]) -> str:
    """The pins (`name==version`, sorted) with a line for each hash; "" when no registry gives all of them in time."""
    text = _ask_uv(pins)
    return text if text and pins_in(text) == tuple(pins) else ""


def pins_in(lock: str) -> tuple[str, ...]:
    """The `name==version` of each line of a lock."""
    return tuple(_PIN.findall(lock))


def hashed_part(lock: str, pins: Sequence[str]) -> str:
    """The pins with hashes that an earlier lock holds, if it is for the same pins; else ""."""
    lock = re.split(f"^(?:{OWN_PART}|{OTHERS_PART})$", lock, maxsplit=1, flags=re.MULTILINE)[0]
    if pins_in(lock) != tuple(pins) or "--hash=" not in lock:
        return ""
    return "".join(f"{line}\n" for line in lock.splitlines() if not line.startswith("#"))


def others_part(lock: str) -> str:
    """What an earlier lock has for some patch releases alone."""
    return lock.partition(f"{OTHERS_PART}\n")[2].partition(f"{OWN_PART}\n")[0]


def ask_under(requirements: list[str], python: str) -> str:
    """The lock lines, with hashes, of what requirements come to under a full version of Python; "" without an answer.

    Lines `-c name==version` are constraints.
    """
    bounds = [line.removeprefix("-c ") for line in requirements if line.startswith("-c ")]
    wanted = [line for line in requirements if not line.startswith("-c ")]
    return _ask_uv(wanted, options=["--python-version", python], bounds=bounds)


def _ask_uv(pins: Sequence[str], options: Sequence[str] = ("--no-deps",), bounds: Sequence[str] = ()) -> str:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        return ""
    fixed = ["--generate-hashes", "--no-header", "--no-annotate", "--quiet", *options]
    text = _run([uv, "pip", "compile", *fixed, "--python", sys.executable], pins, bounds)
    # only pins and hashes are kept: whatever else a set-up makes uv write (an address, a marker) stays out
    kept = [line for line in text.splitlines() if _ONE_PIN.fullmatch(line) or _HASH.fullmatch(line)]
    return "".join(f"{line}\n" for line in kept)


def _run(command: list[str], pins: Sequence[str], bounds: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="prodkit-") as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        if bounds:
            limits = file.with_name("bounds.txt")
            limits.write_text("".join(f"{pin}\n" for pin in bounds), encoding="utf-8")
            command = [*command, "--constraint", str(limits)]
        try:
            done = subprocess.run(
                [*command, str(file)],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                env={**_IMPATIENT, **os.environ},
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
    return done.stdout if done.returncode == 0 else ""
