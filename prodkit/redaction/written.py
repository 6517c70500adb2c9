"""Secrets that somebody has written into a file of the project: on which line, and of which class."""

from __future__ import annotations

import re
from functools import cache

from prodkit.redaction.classes import PERSONAL
from prodkit.redaction.redactor import Redactor

_REFERENCE = re.compile(r"\$\{\w+\}")  # to a variable of the environment: where it is, not what


@cache
def secrets_only() -> Redactor:
    """The rules for secrets alone: an address in code or in a manifest is somebody's contact, not a leak."""
    return Redactor(dict.fromkeys(PERSONAL, "keep"), None)


def secrets_in(text: str) -> tuple[tuple[int, str], ...]:
    """The (line, class) of each secret that stands in a file's text; lines count from 1."""
    rules, text = secrets_only(), _REFERENCE.sub("", text)
    whole = rules.clean(text).counts
    if not whole:
        return ()
    lines = enumerate(text.split("\n"), start=1)
    found = tuple((number, kind) for number, line in lines for kind in rules.clean(line).counts)
    return found or tuple((1, kind) for kind in whole)  # it needs several lines to be seen
