"""The line that makes a cell a captured one, in its two spellings, and what its options mean.

`%%prodkit --name classify --budget 0.50` and `#| prodkit: name=classify budget=0.50` are equal, and equal to
`with prodkit.run("classify", budget="0.50"):`. The header line alone is rewritten into a call; the body stays an
ordinary cell, so that top-level `await`, `_`, line numbers and `%%time` above it work as ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prodkit.errors import ConfigError, ParameterError, nearest
from prodkit.jobs.directives import split_directive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAGIC = "prodkit"
OPENER = "prodkit_cell"  # the line magic that a header is rewritten into

_HEADER = re.compile(r"(?:%%prodkit(?:\s|$)|# ?\|\s*prodkit:)")
_AWAITS = re.compile(r"\b(await|async\s+(for|with))\b")
AXES = ("model", "prompt")
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
COMPARING: dict[str, Option] = {
    "matrix": Option(
        "text", "Run the cell once for each combination of what follows.", metavar="model=A,B prompt=v1,v2"
    ),
    "model": Option("names", "Models that take the place of the cell's own.", metavar="A,B"),
    "prompt": Option("names", "Versions (v1, NAME@2) or names of registered prompts.", metavar="v1,v2"),
    "expect": Option(
        "text", "The right answers: quality is the share of the last line's that equal them.", metavar="FRAME.COLUMN"
    ),
    "score": Option("text", "Or a function of the last line's answers that gives a number.", metavar="FUNCTION"),
    "into": Option("text", "Variable that gets the comparison.", metavar="NAME"),
}
"""What `--matrix` adds."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """What a cell is compared over, as its header says it."""

    models: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    expect: str = ""
    score: str = ""
    into: str = ""


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
    if compares(header):
        return _rewrite_matrix(lines, at, header)
    call = f"get_ipython().run_line_magic({OPENER!r}, {header!r})"
    if below is not None and _FUTURE.match(lines[below].strip()):  # these must stay the first statement
        text = lines[below].rstrip("\n")
        return [*lines[:at], "\n", *lines[at + 1 : below], f"{text}; {call}\n", *lines[below + 1 :]]
    return [*lines[:at], f"{call}\n", *lines[at + 1 :]]


def compares(header: str) -> bool:
    """Whether a header asks for a comparison."""
    try:
        directive, _ = split_directive(header, "")
    except ConfigError:  # said where it is opened
        return False
    return directive is not None and directive.compares


def _rewrite_matrix(lines: list[str], at: int, header: str) -> list[str]:
    """A comparison runs its body more than once, so it is the one header that is a cell magic by nature.

    The header comes first and every line below it keeps its number. What awaits is awaited by the cell itself.
    """
    options = header.partition(":" if header.startswith("#") else f"%%{MAGIC}")[2].strip()
    below = [*lines[:at], *lines[at + 1 :]]
    if not any(_AWAITS.search(line) for line in below):
        return [f"%%{MAGIC} {options}\n", *below]
    body = "".join(below)
    return [f"await get_ipython().run_cell_magic({MAGIC!r}, {options!r}, {body!r})\n"]


# a console asks whether a cell is complete after applying all transformers without side effects; a `%%` header that is
# still there makes it wait for the body
rewrite.has_side_effects = True  # type: ignore[attr-defined]


def parse(header: str) -> dict[str, Any]:
    """The options of a header line as keywords for `RunOptions`. Raises as `parse_all` does."""
    given, matrix = parse_all(header)
    if matrix is not None:
        fix = "write `%%prodkit --matrix ...` as the cell's first line"
        raise ParameterError("notebook.matrix", "A comparison is of one whole cell.", where=header, fix=fix)
    return given


def parse_all(header: str) -> tuple[dict[str, Any], Matrix | None]:
    """The options of a header line as keywords for `RunOptions`, and what is compared.

    Raises:
        ParameterError: `notebook.unknown-option` with the nearest name, `notebook.no-value`, `notebook.twice`,
            `notebook.bad-value`.
        ConfigError: `notebook.directive`: the line can't be split into options.
    """
    directive, _ = split_directive(header, "the cell's prodkit line")
    matrix = directive is not None and directive.compares
    known = {**OPTIONS, **COMPARING} if matrix else OPTIONS
    given: dict[str, Any] = {}
    for key, value in _pairs(directive.options if directive else ()):
        name = key.replace("_", "-")
        if name not in known:
            raise _unknown(key, known, header)
        option = known[name]
        field = option.field or name
        if option.kind == "names":
            given[field] = (*given.get(field, ()), *_names(value, name, header))
        elif field in given:
            raise ParameterError("notebook.twice", f"`{name}` is given twice.", where=header, fix="keep one of the two")
        else:
            given[field] = _value(option, value, name, header)
    if not matrix:
        return given, None
    own = {name: given.pop(name) for name in COMPARING if name in given}
    found = Matrix(
        own.get("model", ()), own.get("prompt", ()), own.get("expect", ""), own.get("score", ""), own.get("into", "")
    )
    return given, found


def _pairs(options: Iterable[tuple[str, str | bool]]) -> Iterator[tuple[str, str | bool]]:
    """`--matrix model=a,b` has its first axis for a value; alone it is a switch."""
    for key, value in options:
        if key != "matrix":
            yield key, value
        elif isinstance(value, str):
            axis, _, names = value.partition("=")
            yield axis, names or True


def _unknown(key: str, known: Mapping[str, Option], header: str) -> ParameterError:
    if key in COMPARING:
        what, fix = f"`{key}` belongs to a comparison.", f"write `--matrix {key}=...`"
    else:
        what, fix = f"There is no option `{key}`.", nearest(key, known)
    return ParameterError("notebook.unknown-option", what, where=header, fix=fix)


def checked(name: str, value: str, where: str) -> Any:
    """A value that came from beside the header, as `RunOptions` takes it. Raises as `parse` does."""
    return _value(OPTIONS[name], value, name, where)


def synopsis() -> str:
    """The options for `%%prodkit?`, one a line."""
    rows = [
        (f"--{name} {option.metavar or '|'.join(option.choices)}".rstrip(), option)
        for name, option in {**OPTIONS, **COMPARING}.items()
        if name not in AXES
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
    option = {**OPTIONS, **COMPARING}[name]
    fix = (
        f"write `{name}={option.metavar}`"
        if name in AXES
        else f"write `--{name} {option.metavar or option.choices[0]}`"
    )
    return ParameterError("notebook.no-value", f"`{name}` has no value.", where=header, fix=fix)
