"""Completion in cells: options and their values in a header, commands on a line, the names of sources and contracts."""

from __future__ import annotations

import re
from types import FunctionType
from typing import TYPE_CHECKING, Any

from IPython.core import completer

from prodkit.capture.prompts import names_here
from prodkit.errors import ProdkitError
from prodkit.manifest import find_project
from prodkit.notebook.commands import Commands
from prodkit.notebook.header import AXES, COMPARING, MAGIC, OPTIONS
from prodkit.notebook.panels import PANELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

_MAGIC_HEADER = re.compile(rf"%%{MAGIC}\s")
_COMMENT_HEADER = re.compile(rf"# ?\|\s*{MAGIC}:")
_LAST_OPTION = re.compile(r"(?:--)?([a-z]+)(?:=|\s+)[^\s=]*$")
_MATRIX = re.compile(r"(?:--|(?:^|\s))matrix(?:\s|$)")
_COMMAND = re.compile(rf"%{MAGIC}\s+(?=\S|$)")
_SOURCE = re.compile(r"""\bread\(\s*["']([\w.-]*)$""")
_PARAMETER = re.compile(r"""\bread\(\s*["']([\w.-]+)["']\s*,[^)]*?(\w*)$""")
_PROMPT = re.compile(r"""\bprompt\(\s*["']([\w.-]*)$""")
_CONTRACT = re.compile(r"""\b(?:validate|load)\([^)"']*["']([\w./-]*)$""")
_PLACE = re.compile(r"\{(\w+)\}")


def make_matcher(shell: InteractiveShell) -> Callable[[CompletionContext], Any] | None:
    """A matcher for `shell.Completer.custom_matchers`; None where IPython, as Colab's 7.34, can't tell it the line."""
    if not hasattr(completer, "context_matcher"):
        return None

    @completer.context_matcher()  # type: ignore[untyped-decorator,unused-ignore]
    def prodkit_matcher(context: CompletionContext) -> dict[str, Any]:
        words = [word for word in _words(_current(context), shell) if word.startswith(context.token)]
        found = [completer.SimpleCompletion(text=word, type="prodkit") for word in dict.fromkeys(words)]
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
    if match := _COMMAND.match(text):
        return _command_words(text[match.end() :], shell)
    if _SOURCE.search(text):
        return _manifest_words(lambda project: project.manifest.data_sources)
    if match := _PARAMETER.search(text):
        source = match[1]
        return _manifest_words(lambda project: _parameters(project, source))
    if _PROMPT.search(text):
        return _prompts()
    if _CONTRACT.search(text):
        return _manifest_words(
            lambda project: [spec.contract for spec in project.manifest.data_sources.values() if spec.contract]
        )
    return ()


def _command_words(text: str, shell: InteractiveShell) -> Iterable[str]:
    """What can come next on a command's line; the last word is still being typed."""
    match re.split(r"\s+", text)[:-1]:
        case []:
            return Commands.names()
        case ["panel" | "contract" as command]:
            return PANELS if command == "panel" else ["infer"]
        case ["on", *_]:
            return _header_words(text, shell, dashes=True)
        case ["panel", "contract"]:
            return [*_manifest_words(lambda project: project.manifest.data_sources), *_frames(shell)]
        case ["panel", "contract" | "export", *rest] | ["contract", "infer", _, *rest] if "--to" not in rest:
            return ["--to"]
        case ["contract", "infer"]:
            return _frames(shell)
        case ["run" | "rehearse" | "schedule"]:
            return _manifest_words(_jobs)
    return ()


def _jobs(project: Any) -> Iterable[str]:
    """Exported jobs, as paths from the project's folder."""
    return sorted(file.parent.relative_to(project.root).as_posix() for file in project.root.glob("jobs/*/job.yaml"))


def _header_words(text: str, shell: InteractiveShell, *, dashes: bool) -> Iterable[str]:
    matrix = bool(_MATRIX.search(text))
    known = {**OPTIONS, **COMPARING} if matrix else {**OPTIONS, "matrix": COMPARING["matrix"]}
    last = _LAST_OPTION.search(text)
    if last and last[1] in known and last[1] != "matrix" and known[last[1]].kind != "flag":
        return _values(last[1], shell)
    axes = [f"{axis}=" for axis in AXES if matrix and f"{axis}=" not in text]
    if last and last[1] == "matrix":
        return axes
    left = [(name, option) for name, option in known.items() if name not in AXES and not (matrix and name == "matrix")]
    if dashes:
        return [*(f"--{name}" for name, _ in left), *axes]
    return [*(name if option.kind == "flag" or name == "matrix" else f"{name}=" for name, option in left), *axes]


def _values(option: str, shell: InteractiveShell) -> Iterable[str]:
    if option == "model":
        return _manifest_words(lambda project: [spec.name for spec in project.manifest.models])
    if option == "prompt":
        return [*_versions(), *_prompts()]
    if option == "expect":
        frames = _frames(shell)
        columns = [f"{name}.{column}" for name in frames for column in getattr(shell.user_ns[name], "columns", ())]
        return [*columns, *frames]
    if option == "score":
        return [n for n, value in shell.user_ns.items() if isinstance(value, FunctionType) and not n.startswith("_")]
    known = {**OPTIONS, **COMPARING}[option]
    return known.choices or (_frames(shell) if known.kind == "names" else ())


def _prompts() -> list[str]:
    """Registered prompts, of this process and of this project, as far as they are known without asking MLflow."""
    return list(dict.fromkeys([*names_here(), *_shipped()]))


def _shipped() -> dict[str, int]:
    from prodkit.ledger.prompts import shipped_prompts

    try:
        return shipped_prompts(find_project())
    except ProdkitError:  # as in `_manifest_words`
        return {}


def _versions() -> list[str]:
    newest = max(_shipped().values(), default=0)
    return [f"v{number}" for number in range(1, newest + 1)]


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
