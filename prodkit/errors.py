"""What can go wrong, said so that one can act: a code, what, where, and the next step.

Every error that a user sees is a `ProdkitError`. The classes differ only in the exit code that a job ends with, because
that is what a scheduler acts on: 65 and 78 mean "don't retry", 75 means "retry".
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ProdkitError(Exception):
    """An error with a stable code and a next step.

    Args:
        code: stable and greppable, `room.kind` in lower case, e.g. `manifest.unknown-key`.
        what: one sentence that says what is wrong. Never holds raw data values.
        where: file and line, cell, column or address; empty when there is no place to point at.
        fix: the next step, as a command or an edit.
    """

    exit_code = 1

    def __init__(self, code: str, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(code, what, where, fix)
        self.code, self.what, self.where, self.fix = code, what, where, fix

    def __str__(self) -> str:
        parts = [f"[{self.code}] {self.what}"]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.fix:
            parts.append(f"  fix:   {self.fix}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between processes (the default would pass the four parts positionally)."""
        return _rebuild, (type(self), self.code, self.what, self.where, self.fix)

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines instead of a traceback; the error output itself stays a real one."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(ProdkitError):
    """The set-up is wrong: manifest, address, missing package, nobody accountable. Retrying doesn't help."""

    exit_code = 78


class ParameterError(ProdkitError):
    """A parameter is unknown, missing or of the wrong type. Retrying doesn't help."""

    exit_code = 65


class DataError(ProdkitError):
    """The data breaks its contract or can't be read. Retrying doesn't help."""

    exit_code = 65


class BudgetError(ProdkitError):
    """A call was refused because it would have broken a budget. Retrying doesn't help."""

    exit_code = 65


class TransientError(ProdkitError):
    """The outside world failed for the moment. A later attempt may succeed."""

    exit_code = 75


class KernelDiedError(ProdkitError):
    """The kernel's process ended in the middle of a cell."""

    exit_code = 138


class TerminatedError(ProdkitError):
    """The job was told to stop (SIGTERM or SIGINT)."""

    exit_code = 143


def nearest(word: str, known: Iterable[str]) -> str:
    """A fix that names the nearest known word, or all of them when none is near."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known: " + ", ".join(options) if options else ""


def missing_extra(extra: str, what_for: str) -> ConfigError:
    """The one sentence for an optional package that isn't there, with the line that installs it."""
    return ConfigError(
        "package.missing",
        f"{what_for} needs the extra `{extra}`, which isn't installed.",
        fix="pip install " + " ".join(f"'{requirement}'" for requirement in requirements_of(extra)),
    )


def requirements_of(extra: str) -> list[str]:
    """The requirements of one of our extras, e.g. `["polars<3,>=2"]`, as the installed package declares them."""
    from importlib.metadata import requires

    marker = f'extra == "{extra}"'
    declared = [line.replace("'", '"').partition(";") for line in requires("prodkit") or ()]
    return [requirement.strip() for requirement, _, condition in declared if marker in condition]


def _rebuild(kind: type[ProdkitError], code: str, what: str, where: str, fix: str) -> ProdkitError:
    return kind(code, what, where=where, fix=fix)
