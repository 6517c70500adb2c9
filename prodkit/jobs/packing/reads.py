"""The files that code reads by a path that it spells out: small texts come along, data is listed."""

from __future__ import annotations

import ast
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.jobs.folder import Need, relative
from prodkit.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from prodkit.jobs.reading import Notebook
    from prodkit.manifest import Project

_READER = re.compile(
    r"(read_\w+|scan_\w+|open|load|loads?_\w+|loadtxt|genfromtxt|imread|FileSystemLoader|iglob|glob|listdir|scandir)"
)
_OF_PATH = {"read_text", "read_bytes", "open", "glob", "rglob", "iterdir"}
_WRITER = re.compile(
    r"(to_\w+|write\w*|save\w*|dump\w*|mkdir|makedirs|touch|unlink|exists|is_file|is_dir|isfile|isdir)"
)
_FOREIGN = re.compile(r"(/|~|[A-Za-z]:[\\/]|\\\\|[a-z][a-z0-9+]*:)")
_TEXTS = {
    ".txt",
    ".md",
    ".j2",
    ".jinja",
    ".jinja2",
    ".tmpl",
    ".prompt",
    ".sql",
    ".html",
    ".json",
    ".yaml",
    ".yml",
    ".toml",
}
_LARGEST = 256_000  # bytes of one text
_MOST = 100  # texts of one folder


@dataclass(frozen=True, slots=True)
class Reads:
    """What the code reads: `texts` come along (path from the project's root -> bytes), `needs` don't."""

    texts: dict[str, bytes]
    needs: tuple[Need, ...]
    from_notebook: bool = False  # whether one is spelled from the notebook's folder


def gather_reads(
    notebook: Notebook,
    project: Project,
    code: Iterable[tuple[str, ast.Module]],
    inputs: Iterable[str],
    taken: Iterable[str],
) -> Reads:
    """What code reads from the project.

    Args:
        notebook: the notebook; relative paths are meant from its folder.
        project: its project.
        code: who it is (`cell 4`, `helpers.py`) and its syntax tree.
        inputs: names of the data sources that are read.
        taken: paths in the job folder that a text can't have.

    Raises:
        ConfigError: `export.file-name`: a text would take the place of a file of the job's own.
    """
    needs = {path: who for name in inputs for path, who in _of_source(name, project)}
    beside = relative(notebook.path.absolute().parent, project.root)
    texts: dict[str, bytes] = {}
    found = _spelled(code)
    for spelled, who in found.items():
        path = posixpath.normpath(posixpath.join(beside, spelled))
        brought = {} if _is_mapped(path, project) else _texts_at(path, project)
        texts |= brought
        if not brought and not _is_mapped(path, project):
            needs.setdefault(path, who)
    clash = sorted(path for path in texts if path in set(taken) or path.partition("/")[0] in _OURS)
    if clash:
        what = f"The notebook reads `{clash[0]}`, which in the job folder is a file of the job's own."
        raise ConfigError("export.file-name", what, where=clash[0], fix="give the file another name or folder")
    listed = tuple(Need(path=path, who=who) for path, who in sorted(needs.items()))
    return Reads(dict(sorted(texts.items())), listed, bool(found))


_OURS = {"tests", "schedule", "wheels", "modules"}


def _of_source(name: str, project: Project) -> Iterator[tuple[str, str]]:
    """The file, or the folder before the first placeholder, of a data source that lies in files."""
    spec = project.manifest.data_sources[name]
    if not spec.location or ":" in spec.location or "$" in spec.location or spec.kind in {"sql", "http", "frame"}:
        return
    yield _fixed_part(spec.location), f"data source {name}"


def _fixed_part(location: str) -> str:
    parts: list[str] = []
    for part in location.split("/"):
        if any(sign in part for sign in "*?[{"):
            break
        parts.append(part)
    return posixpath.normpath("/".join(parts) or ("/" if location.startswith("/") else "."))


def _is_mapped(path: str, project: Project) -> bool:
    places = (source.location for source in project.manifest.data_sources.values())
    fixed = [_fixed_part(place) for place in places if place and ":" not in place]
    return any(path == place or path.startswith(f"{place}/") for place in fixed if place != ".")


def _texts_at(path: str, project: Project) -> dict[str, bytes]:
    """The text, or the texts of a folder, at a path of the project; nothing where it isn't text alone."""
    place = project.root / path
    if path.startswith("..") or not place.exists():
        return {}
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(project.root).parts)]
    read = {relative(file, project.root): _text(file) for file in files[: _MOST + 1]}
    if len(read) > _MOST or any(content is None for content in read.values()):
        return {}
    return {name: content for name, content in read.items() if content is not None}


def _text(file: Path) -> bytes | None:
    """The bytes of a small text that holds neither secrets nor personal data."""
    if file.suffix.lower() not in _TEXTS or file.stat().st_size > _LARGEST:
        return None
    try:
        content = file.read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return content if redact(text) == text else None


def _spelled(code: Iterable[tuple[str, ast.Module]]) -> dict[str, str]:
    """Relative paths that are read -> who reads them; not those that the code also writes or looks for."""
    code = list(code)
    names = _constants([tree for _, tree in code])
    read: dict[str, str] = {}
    made: set[str] = set()
    for who, tree in code:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for path, written in _paths_of(node, names):
                    if written:
                        made.add(path)
                    else:
                        read.setdefault(path, who)
    return {path: who for path, who in read.items() if path and path not in made and not _FOREIGN.match(path)}


def _paths_of(node: ast.Call, names: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """The path that a call reads, or writes or looks for (True)."""
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    owner = _path(node.func.value, names) if isinstance(node.func, ast.Attribute) else ""
    first = _path(node.args[0], names) if node.args else ""
    writes = function == "open" and bool(set(_mode(node, of_path=bool(owner))) & set("wax"))
    for path in filter(None, (owner, first)):
        if writes or _WRITER.fullmatch(function):
            yield path, True
    if writes or not function:
        return
    if owner and function in _OF_PATH:
        yield owner, False
    elif first and not owner and _READER.fullmatch(function) and _looks_like_path(first, function):
        yield first.partition("*")[0].rpartition("/")[0] if "*" in first else first, False


def _looks_like_path(text: str, function: str) -> bool:
    """`json.loads("...")` takes text, and `load_dataset("squad")` a name; a path has an ending or a folder."""
    plain = "\n" not in text and len(text) < 200 and not text.startswith(("{", "[", "<")) and ":memory:" not in text  # noqa: PLR2004
    return plain and (bool(posixpath.splitext(text)[1]) or "/" in text or function == "FileSystemLoader")


def _mode(node: ast.Call, *, of_path: bool) -> str:
    place = node.args[:1] if of_path else node.args[1:2]
    given = [*place, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "r"


def _path(node: ast.expr, names: Mapping[str, str]) -> str:
    """The path that an expression spells: text, `Path("a") / "b"`, and names that stand for one."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"Path", "PurePath"}:
        parts = [_path(argument, names) for argument in node.args]
        return posixpath.join(*parts) if parts and all(parts) else ""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.path.join", "path.join", "join"}:
        parts = [_path(argument, names) for argument in node.args]
        return posixpath.join(*parts) if parts and all(parts) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left, right = _path(node.left, names), _path(node.right, names)
        return posixpath.join(left, right) if left and right else ""
    return ""


def _constants(trees: list[ast.Module]) -> dict[str, str]:
    """Names that are set once, to a path that is spelled out. Parameters are set anew, and aren't among them."""
    count: dict[str, int] = {}
    values: dict[str, ast.expr] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                count[node.id] = count.get(node.id, 0) + 1
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                values[node.targets[0].id] = node.value
    found: dict[str, str] = {}
    for name, value in values.items():
        if count.get(name) == 1 and (path := _path(value, found)):
            found[name] = path
    return found
