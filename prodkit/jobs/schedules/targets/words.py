"""Words as shells and systemd read them, so that a name or a parameter stays one word whatever it holds."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from prodkit.jobs.schedules.plan import prodkit_command
from prodkit.manifest.project import ROOT_VARIABLE

if TYPE_CHECKING:
    from prodkit.jobs.schedules.plan import Plan

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def shell_command(plan: Plan, *more: str) -> str:
    """`prodkit run JOB -p NAME=VALUE ...` as a shell reads it; `more` are further words, as they are."""
    words = [shlex.quote(word) for word in plan.arguments()]
    if plan.path is not None:
        words = [*map(shlex.quote, [*prodkit_command(), "run", str(plan.path)]), *words]
    else:
        words = ["prodkit", "run", f'"${ROOT_VARIABLE}/{in_shell_quotes(plan.place)}"', *words]
    return " ".join([*words, *more])


def unit_command(plan: Plan) -> str:
    """The same as systemd reads it."""
    words = [unit_word(word) for word in plan.arguments()]
    if plan.path is not None:
        return " ".join([*map(unit_word, [*prodkit_command(), "run", str(plan.path)]), *words])
    place = unit_word(plan.place, always=True)[1:-1]
    return " ".join(["/usr/bin/env prodkit run", f'"${{{ROOT_VARIABLE}}}/{place}"', *words])


def in_shell_quotes(text: str) -> str:
    """Text inside of a shell's double quotes."""
    return re.sub(r'([\\"$`])', r"\\\1", text)


def unit_word(text: str, *, always: bool = False, command: bool = True) -> str:
    """One word of a unit file's line. systemd reads backslashes in single quotes too, so shlex's quoting isn't its own.

    Args:
        text: the word.
        always: in quotes also where none are needed.
        command: of an `Exec` line, where `$` has a meaning of its own.
    """
    if not always and _PLAIN.fullmatch(text):
        return text
    escaped = unit_text(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped.replace("$", "$$") if command else escaped}"'


def unit_text(text: str) -> str:
    """The rest of a unit file's line, where only `%` has a meaning."""
    return text.replace("%", "%%")
