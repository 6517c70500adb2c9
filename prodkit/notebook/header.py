"""The line that makes a cell a captured one, in its two spellings, and what its options mean.

`%%prodkit --name classify --budget 0.50` and `#| prodkit: name=classify budget=0.50` are equal, and equal to
`with prodkit.run("classify", budget="0.50"):`. The header line alone is rewritten into a call; the body stays an
ordinary cell, so that top-level `await`, `_`, line numbers and `%%time` above it work as ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prodkit.errors import ParameterError, nearest
from prodkit.jobs.directives import split_directive

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = "prodkit"
OPENER = "prodkit_cell"  # the line magic that a header is rewritten into

_HEADER = re.compile(r"(?:%%prodkit(?:\s|$)|#\|\s*prodkit:)")
_FUTURE = re.compile(r"from\s+__future__\s+import\s+[^(#\\]+$")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the header."""

    kind: Literal["text", "names", "flag"]
    help: str
    field: str = ""  # the name that `RunOptions` has for it, when it differs
    metavar: str = ""
    choices: tuple[str, ...] = ()


OPTIONS: dict[str, Option] = {
    "name": Option("text", "What the run is called in MLflow and on its card.", metavar="NAME"),
    "budget": Option("text", "US dollars that the cell's calls may cost, a hard limit.", metavar="USD"),
    "input": Option("names", "Dataframes to check before any money is spent; may be repeated.", "inputs", "FRAME"),
    "output": Option("names", "Dataframes that the cell leaves, to record.", "outputs", "FRAME"),
    "mode": Option("text", "What happens to rows that break their contract.", choices=("quarantine", "refuse", "warn")),
    "strict": Option("flag", "Refuse to start when the cell uses dataframes that nobody checked."),
    "user": Option("text", "On whose behalf the calls are made.", metavar="ID"),
    "source": Option(
        "text",
        "Where the content of the calls comes from.",
        choices=("user_input", "crm", "docs", "database", "files", "stream", "web", "other"),
    ),
    "session": Option("text", "The conversation or batch that the calls belong to.", metavar="ID"),
    "purpose": Option("text", "What the answers are for.", metavar="TEXT"),
}


def find_header(lines: Sequence[str]) -> int | None:
    """The index of the header line: the first line that is neither blank nor another comment, or among the comments."""
    for index, line in enumerate(lines):
        text = line.strip()
        if _HEADER.match(text):
            return index
        if text and not text.startswith("#"):
            return None
    return None


def rewrite(lines: list[str]) -> list[str]:
    """IPython's cleanup transformer: the header line becomes a call on the same line, all others stay.

    A `%%prodkit` with another cell magic right below it is left to the real cell magic.
    """
    at = find_header(lines)
    if at is None:
        return lines
    header = lines[at].strip()
    below = next((index for index, line in enumerate(lines[at + 1 :], at + 1) if _is_code(line)), None)
    if below is not None and header.startswith("%%") and lines[below].startswith("%%"):
        return lines
    call = f"get_ipython().run_line_magic({OPENER!r}, {header!r})"
    if below is not None and _FUTURE.match(lines[below].strip()):  # these must stay the first statement
        text = lines[below].rstrip("\n")
        return [*lines[:at], "\n", *lines[at + 1 : below], f"{text}; {call}\n", *lines[below + 1 :]]
    return [*lines[:at], f"{call}\n", *lines[at + 1 :]]


# a console asks whether a cell is complete after applying all transformers without side effects; a `%%` header that is
# still there makes it wait for the body
rewrite.has_side_effects = True  # type: ignore[attr-defined]


def parse(header: str) -> dict[str, Any]:
    """The options of a header line as keywords for `RunOptions`.

    Raises:
        ParameterError: `notebook.unknown-option` with the nearest name, `notebook.no-value`, `notebook.twice`,
            `notebook.bad-value`.
        ConfigError: `notebook.directive`: the line can't be split into options.
    """
    directive, _ = split_directive(header, "the cell's prodkit line")
    given: dict[str, Any] = {}
    for key, value in directive.options if directive else ():
        name = key.replace("_", "-")
        if name not in OPTIONS:
            fix = nearest(name, OPTIONS)
            raise ParameterError("notebook.unknown-option", f"There is no option `{key}`.", where=header, fix=fix)
        option = OPTIONS[name]
        field = option.field or name
        if option.kind == "names":
            given[field] = (*given.get(field, ()), *_names(value, name, header))
        elif field in given:
            raise ParameterError("notebook.twice", f"`{name}` is given twice.", where=header, fix="keep one of the two")
        else:
            given[field] = _value(option, value, name, header)
    return given


def checked(name: str, value: str, where: str) -> Any:
    """A value that came from beside the header, as `RunOptions` takes it. Raises as `parse` does."""
    return _value(OPTIONS[name], value, name, where)


def synopsis() -> str:
    """The options for `%%prodkit?`, one a line."""
    rows = [
        (f"--{name} {option.metavar or '|'.join(option.choices)}".rstrip(), option) for name, option in OPTIONS.items()
    ]
    width = min(max(len(usage) for usage, _ in rows), 30)
    return "\n".join(f"  {usage:<{width}}  {option.help}" for usage, option in rows)


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _names(value: str | bool, name: str, header: str) -> tuple[str, ...]:
    if value is True:
        raise _no_value(name, header)
    return tuple(part.strip() for part in str(value).split(",") if part.strip())


def _value(option: Option, value: str | bool, name: str, header: str) -> str | bool:
    if option.kind == "flag":
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if value is not True and str(value).lower() not in words:
            fix = f"write `--{name}`, or `{name}=true` in the comment form"
            raise ParameterError("notebook.bad-value", f"`{name}` is a switch.", where=header, fix=fix)
        return value is True or words[str(value).lower()]
    if value is True:
        raise _no_value(name, header)
    if option.choices and value not in option.choices:
        fix = nearest(str(value), option.choices)
        raise ParameterError("notebook.bad-value", f"`{value}` is not a {name}.", where=header, fix=fix)
    return value


def _no_value(name: str, header: str) -> ParameterError:
    fix = f"write `--{name} {OPTIONS[name].metavar or OPTIONS[name].choices[0]}`"
    return ParameterError("notebook.no-value", f"`{name}` has no value.", where=header, fix=fix)
