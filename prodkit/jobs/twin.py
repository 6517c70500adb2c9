"""What `job.py` needs while it runs: its parameters from the command line, its project, and honest exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodkit.errors import ParameterError, ProdkitError
from prodkit.jobs.folder import JobFolder
from prodkit.jobs.parameters import as_code, check_parameters
from prodkit.jobs.starting import find_place
from prodkit.manifest.project import ROOT_VARIABLE, SIMULATION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from types import TracebackType


class Twin:
    """The running script twin of a job.

    It points the project at the job's root, changes into the folder that the notebook's relative paths are meant from,
    and ends the process with the exit code of a `ProdkitError`.

    Args:
        script: the script's `__file__`.
        arguments: `-p name=value` pairs; the process's own by default.
    """

    def __init__(self, script: str, arguments: Sequence[str] | None = None) -> None:
        self.folder = JobFolder.load(Path(script).absolute().parent)
        self._arguments = list(sys.argv[1:] if arguments is None else arguments)
        try:
            root = find_place(self.folder).root
        except ProdkitError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_code)
        os.environ.setdefault(ROOT_VARIABLE, str(root))
        os.environ.setdefault(SIMULATION_VARIABLE, "off")
        if self.folder.modules.is_dir():
            sys.path.insert(0, str(self.folder.modules))
        os.chdir(self.folder.working_directory(root))
        sys.excepthook = _end

    def set_parameters(self, names: MutableMapping[str, Any]) -> None:
        """Set the job's parameters in the script's namespace.

        Raises:
            ParameterError: one is unknown, missing or of the wrong type.
        """
        values = check_parameters(self.folder.schema, _pairs(self._arguments))
        # our own text, made from checked values: the same lines that the notebook's injected cell holds
        exec(as_code(self.folder.schema, values), names)  # type: ignore[arg-type]  # noqa: S102


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        pair = next(words, "") if word in {"-p", "--param"} else word.removeprefix("-p").lstrip()
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier() or (word == pair):
            raise ParameterError(
                "parameters.syntax", "An argument isn't `-p NAME=VALUE`.", fix="python job.py -p NAME=VALUE"
            )
        given[name] = value
    return given


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    if isinstance(error, ProdkitError):
        sys.stderr.flush()
        sys.exit(error.exit_code)
