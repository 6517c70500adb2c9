"""The line that makes a cell a captured one, in its two spellings, and the `with` block that says the same.

`%%prodkit --name classify --budget 0.50` and `#| prodkit: name=classify budget=0.50` both read as a `Directive`.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass

from prodkit.errors import ConfigError

_MAGIC = re.compile(r"%%prodkit\b(?P<options>.*)")
_COMMENT = re.compile(r"# ?\|\s*prodkit:(?P<options>.*)")
_KEY = re.compile(r"[a-z][a-z0-9_-]*")
_OTHER_MAGIC = re.compile(r"%%(time|capture|prun)\b")


FIELDS = {
    "name": "name",
    "budget": "budget",
    "input": "inputs",
    "output": "outputs",
    "mode": "mode",
    "strict": "strict",
    "user": "user",
    "source": "source",
    "session": "session",
    "purpose": "purpose",
}
"""Option of the prodkit line -> argument of `prodkit.run`."""

_TRUE = ("true", "yes", "1")


@dataclass(frozen=True, slots=True)
class Directive:
    """The options of a captured cell, as text. A flag such as `--strict` has the value True."""

    options: tuple[tuple[str, str | bool], ...]
    magic: bool  # written as %%prodkit, which needs the extension; the comment does too, but harmlessly

    @property
    def name(self) -> str:
        """The run's name; empty when the cell doesn't say."""
        return next((str(value) for key, value in self.options if key == "name"), "")

    @property
    def compares(self) -> bool:
        """Whether the cell compares models or prompts."""
        return any(key == "matrix" for key, _ in self.options)

    def values(self, key: str) -> tuple[str, ...]:
        """All values of an option that may be repeated, e.g. `input`; a comma separates too."""
        given = [str(value) for name, value in self.options if name == key]
        return tuple(part.strip() for value in given for part in value.split(",") if part.strip())


def split_directive(source: str, where: str) -> tuple[Directive | None, str]:
    """A cell's directive and its body. The body keeps its number of lines, so that positions stay right.

    Raises:
        ConfigError: `notebook.directive`: the line can't be split into options.
    """
    lines = source.split("\n")
    for position, line in enumerate(lines):
        text = line.strip()
        match = _MAGIC.fullmatch(text) or _COMMENT.fullmatch(text)
        if match:
            body = ["" if _OTHER_MAGIC.match(above.strip()) else above for above in lines[:position]]
            options = _options(match["options"], f"{where}, line {position + 1}")
            return Directive(options, text.startswith("%")), "\n".join([*body, "", *lines[position + 1 :]])
        if text and not text.startswith("#") and not _OTHER_MAGIC.match(text):
            break
    return None, source


def call_of(directive: Directive) -> str:
    """The `prodkit.run(...)` call that a cell's prodkit line means."""
    arguments = [json.dumps(directive.name, ensure_ascii=False)]
    for key in dict.fromkeys(key for key, _ in directive.options if key != "name"):
        value: object
        if key in {"input", "output"}:
            value = directive.values(key)
        else:
            value = next(given for name, given in directive.options if name == key)
        if key == "strict":
            value = value is True or str(value).lower() in _TRUE
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else _tuple(value)
        arguments.append(f"{FIELDS.get(key, key.replace('-', '_'))}={text}")
    return f"prodkit.run({', '.join(arguments)})"


def _tuple(value: object) -> str:
    if not isinstance(value, tuple):
        return repr(value)
    return "[" + ", ".join(json.dumps(part, ensure_ascii=False) for part in value) + "]"


def _options(text: str, where: str) -> tuple[tuple[str, str | bool], ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise _unreadable(where, str(error)) from None
    options: list[tuple[str, str | bool]] = []
    waiting = ""  # `--name` that still lacks its value
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if waiting and not word.startswith("--"):
            options.append((waiting, word))
            waiting = ""
        elif not _KEY.fullmatch(key):
            raise _unreadable(where, "an option has no name")
        else:
            if waiting:
                options.append((waiting, True))
            waiting = key if word.startswith("--") and not equals else ""
            if not waiting:
                options.append((key, value if equals else True))
    return tuple([*options, (waiting, True)] if waiting else options)


def _unreadable(where: str, why: str) -> ConfigError:
    return ConfigError(
        "notebook.directive",
        f"The prodkit line can't be read: {why}.",
        where=where,
        fix="write `%%prodkit --name NAME --budget 0.50` or `#| prodkit: name=NAME budget=0.50`",
    )
