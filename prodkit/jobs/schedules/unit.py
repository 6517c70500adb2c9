"""The scheduler itself as a systemd service."""

from __future__ import annotations

import getpass
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.templates import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.manifest import Project


@dataclass(frozen=True, slots=True)
class SchedulerUnit:
    """A hardened service that runs `prodkit scheduler` of a project as a user.

    It may write to the project's folder and its state, and nowhere else on the machine.
    """

    root: Path
    state: Path
    user: str
    command: tuple[str, ...]
    pools: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def here(cls, project: Project, pools: Mapping[str, int]) -> SchedulerUnit:
        """For this machine, installation and user."""
        beside = Path(sys.executable).with_name("prodkit")
        found = str(beside) if beside.exists() else shutil.which("prodkit")
        command = (found,) if found else (sys.executable, "-m", "prodkit")
        return cls(project.root.absolute(), project.state.absolute(), getpass.getuser(), command, pools)

    @property
    def name(self) -> str:
        """The file's name."""
        plain = re.sub(r"[^a-z0-9-]+", "-", self.root.name.lower()).strip("-") or "project"
        return f"prodkit-scheduler-{plain}.service"

    @property
    def writable(self) -> tuple[str, ...]:
        """The folders that it writes to, as systemd reads paths."""
        inside = self.state.is_relative_to(self.root)
        return tuple(_path(path) for path in ((self.root,) if inside else (self.root, self.state)))

    @property
    def home(self) -> bool:
        """Whether what it needs lies where people's own files lie, so that these can't be hidden from it."""
        needed = (self.root, self.state, Path(sys.prefix), Path(sys.base_prefix))
        return any(path.is_relative_to(place) for path in needed for place in ("/home", "/root", "/run/user"))

    @property
    def scratch(self) -> bool:
        """Whether what it needs lies in a folder for temporary files, of which it gets its own otherwise."""
        needed = (self.root, self.state, Path(sys.prefix))
        return any(path.is_relative_to(place) for path in needed for place in ("/tmp", "/var/tmp"))  # noqa: S108

    @property
    def start(self) -> str:
        """The command as systemd reads it: `%` and `$` have a meaning of their own there."""
        pools = [part for name, size in sorted(self.pools.items()) for part in ("--pool", f"{name}={size}")]
        line = shlex.join([*self.command, "scheduler", *pools])
        return line.replace("%", "%%").replace("$", "$$")

    @property
    def folder(self) -> str:
        """The project's folder, for `WorkingDirectory=`, which takes a line as it is but for `%`."""
        return str(self.root).replace("%", "%%")

    @property
    def variable(self) -> str:
        """The assignment of `PRODKIT_STATE`, where the state doesn't lie in the project's folder."""
        return "" if self.state == self.root / ".prodkit" else _path(Path(f"PRODKIT_STATE={self.state}"))

    def text(self) -> str:
        """The file."""
        return render("schedule/scheduler.service.j2", unit=self)


def _path(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
