"""Completion in cells: options and their values in a header, commands on a line, the names of sources and contracts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from prodkit.errors import ProdkitError
from prodkit.manifest import find_project
from prodkit.notebook.commands import Commands
from prodkit.notebook.header import MAGIC, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

_MAGIC_HEADER = re.compile(rf"%%{MAGIC}\s")
_COMMENT_HEADER = re.compile(rf"#\|\s*{MAGIC}:")
_LAST_OPTION = re.compile(r"(?:--)?([a-z]+)(?:=|\s+)[^\s=]*$")
_COMMAND = re.compile(rf"%{MAGIC}\s+(\S*)$")
_SOURCE = re.compile(r"""\bread\(\s*["']([\w.-]*)$""")
_PARAMETER = re.compile(r"""\bread\(\s*["']([\w.-]+)["']\s*,[^)]*?(\w*)$""")
_CONTRACT = re.compile(r"""\b(?:validate|load)\([^)"']*["']([\w./-]*)$""")
_PLACE = re.compile(r"\{(\w+)\}")


def make_matcher(shell: InteractiveShell) -> Callable[[CompletionContext], Any]:
    """A matcher for `shell.Completer.custom_matchers`."""

    @context_matcher()  # type: ignore[untyped-decorator,unused-ignore]
    def prodkit_matcher(context: CompletionContext) -> dict[str, Any]:
        words = [word for word in _words(_current(context), shell) if word.startswith(context.token)]
        found = [SimpleCompletion(text=word, type="prodkit") for word in dict.fromkeys(words)]
        return {"completions": found, "suppress": bool(found)}

    return prodkit_matcher


def _current(context: CompletionContext) -> str:
    """The cursor's line up to the cursor."""
    lines = context.full_text.splitlines()
    line = lines[context.cursor_line] if context.cursor_line < len(lines) else ""
    return line[: context.cursor_position]


def _words(line: str, shell: InteractiveShell) -> Iterable[str]:
    text = line.lstrip()
    if match := _MAGIC_HEADER.match(text) or _COMMENT_HEADER.match(text):
        return _header_words(text[match.end() :], shell, dashes=text.startswith("%"))
    if _COMMAND.match(text):
        return Commands.names()
    if _SOURCE.search(text):
        return _manifest_words(lambda project: project.manifest.data_sources)
    if match := _PARAMETER.search(text):
        source = match[1]
        return _manifest_words(lambda project: _parameters(project, source))
    if _CONTRACT.search(text):
        return _manifest_words(
            lambda project: [spec.contract for spec in project.manifest.data_sources.values() if spec.contract]
        )
    return ()


def _header_words(text: str, shell: InteractiveShell, *, dashes: bool) -> Iterable[str]:
    last = _LAST_OPTION.search(text)
    if last and last[1] in OPTIONS and OPTIONS[last[1]].kind != "flag":
        option = OPTIONS[last[1]]
        return option.choices or (_frames(shell) if option.kind == "names" else ())
    if dashes:
        return [f"--{name}" for name in OPTIONS]
    return [name if option.kind == "flag" else f"{name}=" for name, option in OPTIONS.items()]


def _frames(shell: InteractiveShell) -> list[str]:
    kinds = ("DataFrame", "LazyFrame", "Table")
    return [n for n, value in shell.user_ns.items() if type(value).__name__ in kinds and not n.startswith("_")]


def _manifest_words(words: Callable[[Any], Iterable[str]]) -> list[str]:
    try:
        return list(words(find_project()))
    except ProdkitError:  # a wrong manifest is said where it is used, not while typing
        return []


def _parameters(project: Any, source: str) -> list[str]:
    spec = project.manifest.data_sources.get(source)
    return [f"{name}=" for name in _PLACE.findall(spec.location)] if spec else []
