"""What IPython adds to Python (`%magic`, `!command`, `name?`), found line by line and said in plain Python.

A line is only IPython's where a statement can begin: not in a string, in brackets or after a backslash.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from typing import Literal

_LINE = re.compile(
    r"(?P<indent>\s*)(?:(?P<target>[A-Za-z_][\w.,\s\[\]'\"]*?)\s*=\s*)?(?P<sign>%%|%|!!|!)(?P<rest>\s*[\w/.~$({\"'].*)"
)
_HELP = re.compile(r"(?P<indent>\s*)(\?{1,2}\s*[\w.*]+|[\w.*%]+\s*\?{1,2})\s*")
_PIP = re.compile(
    r"\s*(?:(?:sudo\s+)?(?:python3?\s+-m\s+)?(?:pip3?|conda|mamba|uv|apt(?:-get)?)\s+(?:pip\s+)?(?:install|add)\b)"
)

Meaning = Literal["drop", "drop-cell", "keep", "env", "shell", "refuse", "install", "measure", "prodkit"]

_MEANINGS: dict[str, Meaning] = {
    # set-up and looks of a notebook: nothing is lost without them
    **dict.fromkeys(
        ("matplotlib", "config", "autoreload", "load_ext", "reload_ext", "unload_ext", "precision"), "drop"
    ),
    **dict.fromkeys(
        ("who", "whos", "who_ls", "history", "hist", "lsmagic", "magic", "pinfo", "pinfo2", "psource"), "drop"
    ),
    **dict.fromkeys(("pdb", "xmode", "colors", "automagic", "autocall", "notebook", "logstart", "pwd", "ls"), "drop"),
    **dict.fromkeys(("html", "HTML", "javascript", "js", "svg", "SVG", "latex", "markdown"), "drop-cell"),
    **dict.fromkeys(("time", "capture", "prun", "memit", "mprun", "lprun"), "keep"),  # the statement behind it counts
    **dict.fromkeys(("timeit", "debug", "tb"), "measure"),
    **dict.fromkeys(("pip", "conda", "mamba", "uv", "micromamba"), "install"),
    "env": "env",
    "set_env": "env",
    "prodkit": "prodkit",
    "sx": "shell",
    "system": "shell",
}


@dataclass(frozen=True, slots=True)
class ShellLine:
    """One line of IPython's. `name` is the magic's, empty for `!`; `meaning` is what it becomes in a script."""

    line: int  # from 1
    name: str
    text: str  # what follows the name, or the command
    meaning: Meaning
    cell_wide: bool = False
    target: str = ""
    indent: str = ""


def read_shell_lines(source: str) -> tuple[ShellLine, ...]:
    """The lines of a cell that are IPython's, not Python's."""
    if "%" not in source and "!" not in source and "?" not in source:
        return ()
    found: list[ShellLine] = []
    seen: list[str] = []
    for number, line in enumerate(source.split("\n"), start=1):
        shell = _read(line, number, first=not any(text.strip() for text in seen))
        if shell is not None and _begins_statement(seen):
            found.append(shell)
            seen.append(f"{shell.indent}pass")
            if shell.cell_wide and shell.meaning not in {"keep", "drop"}:
                break  # the body below isn't Python
        else:
            seen.append(line)
    return tuple(found)


def to_python(source: str) -> str:
    """A cell as plain Python with the same lines: what has no meaning in a script becomes `pass` and a comment.

    The body of a cell in another language (`%%html`) becomes comments.
    """
    lines = source.split("\n")
    for shell in read_shell_lines(source):
        if shell.cell_wide and shell.meaning not in {"keep", "drop"}:
            return "\n".join(f"# {line}".rstrip() for line in lines)
        lines[shell.line - 1] = _python(shell, lines[shell.line - 1])
    return "\n".join(lines)


def parse(source: str) -> ast.Module | None:
    """The syntax tree of a cell, IPython's lines put aside; None when it isn't Python."""
    try:
        return ast.parse(to_python(source))
    except (SyntaxError, ValueError):
        return None


def indent(source: str, spaces: int = 4) -> str:
    """Python text moved to the right, except inside strings of several lines, which would change."""
    inside = _rows_in_strings(source)
    pad = " " * spaces
    return "\n".join(
        pad + line if line.strip() and number not in inside else line
        for number, line in enumerate(source.split("\n"), start=1)
    )


def _rows_in_strings(source: str) -> set[int]:
    rows: set[int] = set()
    open_strings: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            rows.update(range(token.start[0] + 1, token.end[0] + 1))
        elif kind in {"FSTRING_START", "TSTRING_START"}:  # Python 3.12 on splits them
            open_strings.append(token.start[0])
        elif kind in {"FSTRING_END", "TSTRING_END"}:
            rows.update(range(open_strings.pop() + 1, token.end[0] + 1))
    return rows


def _read(line: str, number: int, *, first: bool) -> ShellLine | None:
    match = _LINE.fullmatch(line)
    if match is None:
        help_line = _HELP.fullmatch(line)
        return ShellLine(number, "pinfo", "", "drop", indent=help_line["indent"]) if help_line else None
    sign, rest = match["sign"], match["rest"]
    target, space = (match["target"] or "").strip(), match["indent"]
    if sign == "%%" and not first:
        return None
    if sign.startswith("!"):
        meaning: Meaning = "install" if _PIP.match(rest) else "shell"
        return ShellLine(number, "", rest.strip(), meaning, target=target, indent=space)
    name, _, text = rest.strip().partition(" ")
    meaning = _MEANINGS.get(name, "refuse")
    return ShellLine(number, name, text.strip(), meaning, cell_wide=sign == "%%", target=target, indent=space)


def _begins_statement(lines: list[str]) -> bool:
    if not lines:
        return True
    if lines[-1].rstrip().endswith("\\"):
        return False
    try:
        list(tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline))
    except tokenize.TokenError as error:
        return "EOF in multi-line" not in str(error) and "unterminated" not in str(error)
    except (IndentationError, SyntaxError):
        return True
    return True


def _python(shell: ShellLine, original: str) -> str:
    if shell.meaning == "keep" and not shell.cell_wide and shell.text:
        return shell.indent + (f"{shell.target} = " if shell.target else "") + shell.text
    if shell.meaning == "env" and (pair := re.fullmatch(r"(\w+)(?:=|\s+)(.*)", shell.text)):
        return f'{shell.indent}__import__("os").environ[{pair[1]!r}] = {pair[2].strip()!r}'
    if shell.meaning == "shell":
        return shell.indent + _command(shell)
    return f"{shell.indent}pass  # {original.strip()}"


def _command(shell: ShellLine) -> str:
    run = '__import__("subprocess").run'
    if shell.target:
        return f"{shell.target} = {run}({shell.text!r}, shell=True, capture_output=True, text=True).stdout.splitlines()"
    return f"{run}({shell.text!r}, shell=True)"
