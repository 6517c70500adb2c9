"""A job and when it runs, and the command that a timekeeper starts: on this machine, or wherever a folder is taken."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.jobs.folder import relative
from prodkit.manifest.project import ROOT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.jobs.folder import Execution, JobFolder
    from prodkit.jobs.schedules.cron import Cron

_SLACK = 300  # seconds beyond the job's own deadline, for its start and its end
_KUBERNETES_NAME = 52  # a CronJob's name gets 11 characters for its Jobs


@dataclass(frozen=True, slots=True)
class Plan:
    """A job and when it runs.

    `place` is its folder from the project's root. `path` is the folder on this machine; without one the files hold on
    any machine, and find the project by the variable PRODKIT_PROJECT. `params` are text, as `-p` takes them; `image` is
    only for Kubernetes.
    """

    name: str
    how: Execution
    cron: Cron
    place: str
    path: Path | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    @classmethod
    def here(cls, folder: JobFolder, cron: Cron, params: Mapping[str, str] | None = None, image: str = "") -> Plan:
        """For the machine on which the job folder lies."""
        how = folder.index.execution
        place = relative(folder.path, folder.project_root())
        return cls(folder.name, how, cron, place, folder.path, params or {}, image or how.image)

    @property
    def unit(self) -> str:
        """The name that other systems know it by: lower case letters, digits and `-`."""
        plain = re.sub(r"[^a-z0-9-]+", "-", f"prodkit-{self.name}".lower()).strip("-")
        return plain[:_KUBERNETES_NAME].rstrip("-")

    @property
    def limit(self) -> int:
        """Seconds after which somebody else may end it."""
        return math.ceil(self.how.timeout) + _SLACK

    def arguments(self, *more: str) -> list[str]:
        """What follows the job's folder on the command line."""
        pairs = [part for name, value in self.params.items() for part in ("-p", f"{name}={value}")]
        return [*pairs, *more]

    def shell_command(self) -> str:
        """The command line as a shell reads it."""
        if self.path is not None:
            return shlex.join([*_prodkit(), "run", str(self.path), *self.arguments()])
        return " ".join([f'prodkit run "${ROOT_VARIABLE}/{_quoted(self.place)}"', *map(shlex.quote, self.arguments())])

    def unit_command(self) -> str:
        """The command line as systemd reads it: `%` and `$` have a meaning of their own there."""
        if self.path is not None:
            return _escaped(shlex.join([*_prodkit(), "run", str(self.path), *self.arguments()]))
        place = _escaped(_quoted(self.place))
        arguments = _escaped(shlex.join(self.arguments()))
        return f'/usr/bin/env prodkit run "${{{ROOT_VARIABLE}}}/{place}" {arguments}'.rstrip()


def _quoted(text: str) -> str:
    """Text inside of a shell's double quotes."""
    return re.sub(r'([\\"$`])', r"\\\1", text)


def _escaped(text: str) -> str:
    return text.replace("%", "%%").replace("$", "$$")


def _prodkit() -> list[str]:
    """The command of this installation: timekeepers have their own PATH."""
    beside = Path(sys.executable).with_name("prodkit")
    found = str(beside) if beside.exists() else shutil.which("prodkit")
    return [found] if found else [sys.executable, "-m", "prodkit"]
