"""A job and when it runs, and the command that a timekeeper starts: on this machine, or wherever a folder is taken."""

from __future__ import annotations

import ast
import math
import re
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, ParameterError
from prodkit.jobs.folder import relative
from prodkit.jobs.schedules.needs import Needs, needs_of
from prodkit.manifest.project import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodkit.jobs.folder import Execution, JobFolder
    from prodkit.jobs.schedules.cron import Cron

_SLACK = 300  # seconds beyond the job's own deadline, for its start and its end
_LONGEST_UNIT = 52  # a CronJob's name gets 11 characters for its Jobs
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FIELD = re.compile(r"[A-Za-z0-9*,/-]+")


@dataclass(frozen=True, slots=True)
class Plan:
    """A job and when it runs.

    `place` is its folder from the project's root. `path` is the folder on this machine; without one the files hold on
    any machine, and find the project by the variable PRODKIT_PROJECT. `params` are text, as `-p` takes them; `image` is
    only for Kubernetes. All of it may come from a folder that somebody else wrote, so it is checked before it becomes a
    file's name or a line in one.

    Raises:
        ConfigError: `schedule.text`: a name, path or cron line can't be written into the files of other systems.
        ParameterError: `schedule.parameter`: a parameter holds a line break, which would end its line in most of them.
    """

    name: str
    how: Execution
    cron: Cron
    place: str
    path: Path | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    needs: Needs = field(default_factory=Needs)
    root: Path | None = None  # the project's, on this machine
    folder: Path | None = None  # where the files will lie on this machine
    below: str = ""  # the project's folder from the root of its git repository, "" where that is the same

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise _unwritable("The job's name", self.name, "use letters, digits, '.', '_' and '-'; export it again")
        if not all(_FIELD.fullmatch(part) for part in self.cron.fields):
            raise _unwritable("The cron line", self.cron.line, 'use digits, names, and * , - /, e.g. "0 6 * * 1-5"')
        for what, text in (
            ("The job's folder", self.place),
            ("The job's folder", str(self.path)),
            ("The project's folder", self.below),
            ("The image", self.image),
        ):
            if not text.isprintable():
                raise _unwritable(what, text, "choose one without line breaks and the like")
        for name, value in self.params.items():
            if not f"{name}{value}".isprintable():
                raise ParameterError(
                    "schedule.parameter",
                    f"The value of {name!r} holds a line break or the like.",
                    fix="let the job read it from a file",
                )

    @classmethod
    def here(
        cls,
        folder: JobFolder,
        cron: Cron,
        params: Mapping[str, str] | None = None,
        image: str = "",
        *,
        to: Path | None = None,
    ) -> Plan:
        """For the machine on which the job folder lies; `to` is where the files will be, by default among the state."""
        from prodkit.manifest import load

        how, root = folder.index.execution, folder.project_root()
        return cls(
            name=folder.name,
            how=how,
            cron=cron,
            place=relative(folder.path, root),
            path=folder.path,
            params=params or {},
            image=image or how.image,
            needs=needs_of(load(folder.manifest), _code_of(folder), folder.index.needs),
            root=root,
            folder=to or state_of(root) / "schedules" / folder.name,
            below=below_repository(root),
        )

    @property
    def unit(self) -> str:
        """The name that other systems know it by: lower case letters, digits and `-`."""
        plain = re.sub(r"[^a-z0-9-]+", "-", f"prodkit-{self.name}".lower()).strip("-")
        return plain[:_LONGEST_UNIT].rstrip("-")

    @property
    def when(self) -> str:
        """The five fields."""
        return " ".join(self.cron.fields)

    @property
    def summary(self) -> str:
        """`0 6 * * 1-5 in Europe/Berlin`."""
        return f"{self.when} in {self.cron.zone}"

    @property
    def limit(self) -> int:
        """Seconds after which somebody else may end it."""
        return math.ceil(self.how.timeout) + _SLACK

    @property
    def contact(self) -> str:
        """Who answers for it and where to reach them, on one line."""
        person = self.needs.accountable
        said = f"{person.name} ({person.address})" if person else "nobody is named in prodkit.yaml"
        return "".join(letter if letter.isprintable() else " " for letter in said)

    def arguments(self, *more: str) -> list[str]:
        """What follows the job's folder on the command line."""
        pairs = [part for name, value in self.params.items() for part in ("-p", f"{name}={value}")]
        return [*pairs, *more]


def below_repository(root: Path) -> str:
    """The project's folder from the root of its git repository; "" for the root itself, or without one."""
    holder = next((place for place in (root, *root.parents) if (place / ".git").exists()), root)
    return "" if holder == root else root.relative_to(holder).as_posix()


def _code_of(folder: JobFolder) -> list[ast.Module]:
    """The syntax trees of a job's cells and modules, as far as they are Python."""
    from prodkit.jobs.reading import read_notebook
    from prodkit.jobs.script import tree_of

    found = []
    for read in (
        *(partial(tree_of, cell) for cell in read_notebook(folder.notebook).code),
        *(partial(_parse, path) for path in sorted(folder.modules.rglob("*.py"))),
    ):
        with suppress(SyntaxError, ValueError, ConfigError):  # edited by hand: running it says where
            found.append(read())
    return found


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def prodkit_command() -> list[str]:
    """The command of this installation: timekeepers have their own PATH."""
    beside = Path(sys.executable).with_name("prodkit")
    found = str(beside) if beside.exists() else shutil.which("prodkit")
    return [found] if found else [sys.executable, "-m", "prodkit"]


def _unwritable(what: str, text: str, fix: str) -> ConfigError:
    return ConfigError(
        "schedule.text", f"{what} can't be written into another system's file.", where=repr(text), fix=fix
    )
