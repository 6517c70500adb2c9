"""The project's own modules that a notebook imports, and what they import in turn: they come along under `modules/`."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.redaction import secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prodkit.jobs.reading import Notebook
    from prodkit.manifest import Project

_TEXTS = {".json", ".yaml", ".yml", ".toml", ".txt", ".md", ".j2", ".jinja", ".sql", ".html", ".css", ".typed", ".pyi"}
_LARGEST = 1_000_000  # bytes of one file
_COMPILED = (".so", ".pyd")
_FIX = "make it a package that can be installed"


@dataclass(frozen=True, slots=True)
class Modules:
    """What comes along.

    `files` are bytes by path below `modules/`; `code` is the syntax tree of each Python file; `left` are files of
    packages that stay behind, as they may be data; `names` are the top names that are found here.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    code: dict[str, ast.Module] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()


def gather_modules(notebook: Notebook, project: Project, trees: Iterable[ast.Module]) -> Modules:
    """The closure of the local imports of a notebook.

    A module counts as local where Python finds it in the notebook's folder, in a folder that the code or PYTHONPATH
    puts on the path, in the project, or through an editable installation.

    Args:
        notebook: the notebook.
        project: its project.
        trees: the code of its cells.

    Raises:
        ConfigError: `export.module`: one can't come along; the error names it.
    """
    trees = list(trees)
    search = _Search(notebook.path.absolute().parent, project.root, trees)
    return _Gathering(search).run(trees)


def imported_names(tree: ast.AST) -> Iterator[str]:
    """The dotted names that code imports, `import_module("x")` included; relative imports stay in their package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {
            "import_module",
            "__import__",
        }:
            yield from (arg.value for arg in node.args[:1] if _is_name(arg))  # type: ignore[attr-defined]


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.startswith(".")


class _Search:
    """Where local modules are looked for, in the order in which a kernel beside the notebook would find them."""

    def __init__(self, beside: Path, root: Path, trees: list[ast.Module]) -> None:
        added = [beside / place for tree in trees for place in _path_additions(tree)]
        given = [Path(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
        self.installed = _installed_places(given)
        self._first = [*added, *(place for place in given if place.resolve() not in self.installed), beside]
        self._last = [root, root / "src"]

    def find(self, module: str) -> tuple[Path, Path] | None:
        """The root on the path, and the file or the package's folder; None for what isn't local."""
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "prodkit":
            return None
        found = self._among(self._first, module)
        if found is None and not self._is_installed(top):
            found = self._among(self._last, module) or self._elsewhere(top)
        return found

    def _among(self, places: list[Path], module: str) -> tuple[Path, Path] | None:
        for place in places:
            found = _module_in(place, module.split("."))
            if found is not None and not self._is_below_installed(found):
                return place, found
        return None

    def _is_installed(self, top: str) -> bool:
        return any(_module_in(place, [top]) for place in self.installed)

    def _is_below_installed(self, path: Path) -> bool:
        return any(path.resolve().is_relative_to(place) for place in self.installed)

    def _elsewhere(self, top: str) -> tuple[Path, Path] | None:
        """An editable installation, or a folder that this process has on its path."""
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        if spec is None or spec.origin is None or not spec.has_location:
            return None
        path = Path(spec.origin)
        found = path.parent if path.name == "__init__.py" else path
        return None if self._is_below_installed(found) else (found.parent, found)


class _Gathering:
    def __init__(self, search: _Search) -> None:
        self._search = search
        self._files: dict[str, bytes] = {}
        self._code: dict[str, ast.Module] = {}
        self._left: list[str] = []
        self._names: set[str] = set()

    def run(self, trees: list[ast.Module]) -> Modules:
        waiting = [name for tree in trees for name in imported_names(tree)]
        seen: set[str] = set()
        while waiting:
            module = waiting.pop()
            if module in seen:
                continue
            seen.add(module)
            found = self._search.find(module)
            if found is not None:
                self._names.add(module.partition(".")[0])
                waiting += self._take(*found)
        return Modules(
            dict(sorted(self._files.items())), self._code, tuple(sorted(set(self._left))), frozenset(self._names)
        )

    def _take(self, root: Path, found: Path) -> list[str]:
        """Bring a module or a whole package; what it imports."""
        files = [found] if found.is_file() else list(_files_below(found))
        more: list[str] = []
        for parent in found.parents:  # the packages around it
            if parent != root and parent.is_relative_to(root) and (parent / "__init__.py").is_file():
                files.append(parent / "__init__.py")
        for file in files:
            name = file.relative_to(root).as_posix()
            if name not in self._files and self._bring(file, name) and file.suffix == ".py":
                more += imported_names(self._parsed(name))
        return more

    def _bring(self, file: Path, name: str) -> bool:
        if file.suffix in _COMPILED:
            raise _refused(name, "is compiled for one machine")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise _refused(name, f"can't be read ({error.strerror})") from None
        known = file.suffix == ".py" or (file.suffix in _TEXTS and len(content) <= _LARGEST)
        if not known:
            self._left.append(name)
            return False
        for line, kind in secrets_in(content.decode("utf-8", "replace")):
            fix = "read it from the environment (os.environ), and make a new one: this one is known now"
            what = f"The line looks like it holds a secret ({kind})."
            raise ConfigError("lint.secret", what, where=f"{name}:{line}", fix=fix)
        self._files[name] = content
        return True

    def _parsed(self, name: str) -> ast.Module:
        try:
            self._code[name] = ast.parse(self._files[name])
        except (SyntaxError, ValueError) as error:
            raise _refused(name, f"isn't Python ({error})") from None
        return self._code[name]


def _module_in(place: Path, parts: list[str]) -> Path | None:
    """The file of a module, or the folder of its package; in a namespace package, of its part."""
    here = place / parts[0]
    if (here / "__init__.py").is_file():
        return here
    if here.with_name(f"{parts[0]}.py").is_file():
        return here.with_name(f"{parts[0]}.py")
    compiled = [file for ending in _COMPILED for file in place.glob(f"{parts[0]}*{ending}")]
    exact = [file for file in compiled if file.name.partition(".")[0] == parts[0]]
    if exact:
        return exact[0]
    return _module_in(here, parts[1:]) if len(parts) > 1 and here.is_dir() else None


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and path.suffix not in {".pyc", ".ipynb"}:
            yield path


def _installed_places(given: list[Path]) -> list[Path]:
    """Where packages are installed: Python's own places, and those on the path that pip has written to."""
    paths = sysconfig.get_paths()
    named = {paths["purelib"], paths["platlib"], *(place for place in sys.path if place.endswith("-packages"))}
    targets = {str(place) for place in given if any(place.glob("*.dist-info"))}
    return [Path(place).resolve() for place in sorted(named | targets)]


def _path_additions(tree: ast.Module) -> Iterator[str]:
    """The folders that `sys.path.append(...)` and `.insert(0, ...)` name as text or as `Path(...)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in {"sys.path.append", "sys.path.insert"}:
            continue
        for constant in ast.walk(node.args[-1]) if node.args else ():
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                yield constant.value
                break


def _refused(name: str, why: str) -> ConfigError:
    return ConfigError("export.module", f"The notebook imports `{name}`, which {why}.", where=name, fix=_FIX)
