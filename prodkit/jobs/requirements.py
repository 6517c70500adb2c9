"""requirements.lock: the exact versions, from the running environment, of what a notebook imports."""

from __future__ import annotations

import ast
import importlib.metadata as installed
import json
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.jobs.reading import Notebook

_READERS = {"excel": ("python-calamine", "openpyxl"), "parquet": ("pyarrow",), "sql": ("sqlalchemy",)}
"""What reading a kind of data source needs beside prodkit itself, where it is installed."""

_ALWAYS = ("prodkit", "ipykernel")
_FIELD = re.compile(r"^(Version|Requires-Dist):\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lock:
    """The pins of a job.

    `pins` are `name==version` in order; `local` are distributions that were installed from a folder or a file, which no
    registry has; `missing` are imported modules that no distribution here provides.
    """

    python: str
    pins: tuple[str, ...]
    local: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def lock_of(imports: Iterable[str], kinds: Iterable[str] = ()) -> Lock:
    """The distributions behind imported modules, with everything that they need in turn.

    Args:
        imports: dotted names of imported modules.
        kinds: kinds of the data sources that the job reads.
    """
    here = _Environment()
    roots, missing = set(_ALWAYS), []
    for name in sorted({name for name in imports if _is_foreign(name)}):
        found = here.behind(name)
        roots |= found
        if not found:
            missing.append(name.partition(".")[0])
    roots |= {name for kind in kinds for name in _READERS.get(kind, ()) if here.find(name)}
    closure = here.closure(roots)
    local = tuple(name for name in sorted(closure) if here.is_local(name))
    return Lock(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        pins=tuple(f"{name}=={closure[name]}" for name in sorted(closure) if name not in local),
        local=tuple(f"{name}=={closure[name]}" for name in local),
        missing=tuple(dict.fromkeys(missing)),
    )


def imports_of(notebook: Notebook, trees: Iterable[ast.Module]) -> tuple[str, ...]:
    """The dotted names that a notebook's code imports, without modules that lie beside it."""
    names: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return tuple(sorted(name for name in names if not is_beside(notebook, name)))


def is_beside(notebook: Notebook, module: str) -> bool:
    """Whether an import means a file or folder that lies beside the notebook."""
    place = notebook.path.absolute().parent / module.partition(".")[0]
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def _is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in _ALWAYS


class _Environment:
    """What is installed, read once for one lock: a notebook's kernel may install more before the next."""

    def __init__(self) -> None:
        self._found: dict[str, installed.Distribution | None] = {}
        self._texts: dict[str, str] = {}

    def find(self, name: str) -> installed.Distribution | None:
        """The distribution of this name."""
        if name not in self._found:
            try:
                self._found[name] = installed.distribution(name)
            except installed.PackageNotFoundError:
                self._found[name] = None
        return self._found[name]

    def behind(self, module: str) -> frozenset[str]:
        """The distributions that provide a module; several share a namespace such as `google`."""
        top = module.partition(".")[0]
        alike = self.find(canonicalize_name(top))
        if alike is not None and _holds(alike, top):
            return frozenset({canonicalize_name(top)})  # most are called like their module; asking all takes 0.3 s
        names = sorted({canonicalize_name(name) for name in self._providers.get(top, [])})
        if len(names) > 1:
            path = module.replace(".", "/")
            exact = [name for name in names if (found := self.find(name)) and _holds(found, path)]
            names = exact or names
        return frozenset(names)

    def closure(self, roots: Iterable[str]) -> dict[str, str]:
        """Name -> version of the roots and all that they require here."""
        versions: dict[str, str] = {}
        waiting = [(canonicalize_name(name), frozenset[str]()) for name in sorted(roots)]
        seen: set[tuple[str, frozenset[str]]] = set()
        while waiting:
            name, extras = waiting.pop()
            if (name, extras) in seen or self.find(name) is None:
                continue
            seen.add((name, extras))
            fields = _FIELD.findall(self._metadata(name))
            versions[name] = next(value.strip() for key, value in fields if key == "Version")
            needs = _needs((value for key, value in fields if key == "Requires-Dist"), extras)
            waiting += [(canonicalize_name(need.name), frozenset(need.extras)) for need in needs]
        return versions

    def is_local(self, name: str) -> bool:
        """Whether a distribution was installed from a folder or a file of this machine."""
        found = self.find(name)
        text = found.read_text("direct_url.json") if found else None
        return text is not None and str(json.loads(text).get("url", "")).startswith("file:")

    @cached_property
    def _providers(self) -> dict[str, list[str]]:
        return {module: list(names) for module, names in installed.packages_distributions().items()}

    def _metadata(self, name: str) -> str:
        """The head of a distribution's metadata: its fields, without the description below the first empty line."""
        if name not in self._texts:
            found = self.find(name)
            text = (found.read_text("METADATA") or found.read_text("PKG-INFO") or "") if found else ""
            self._texts[name] = text.replace("\r\n", "\n").partition("\n\n")[0]
        return self._texts[name]


def _holds(distribution: installed.Distribution, path: str) -> bool:
    return any(str(file).startswith((f"{path}/", f"{path}.py")) for file in distribution.files or ())


def _needs(lines: Iterable[str], extras: frozenset[str]) -> list[Requirement]:
    needs = []
    for line in lines:
        if "extra ==" in line and " or " not in line and not extras:
            continue  # most lines of most packages; parsing them is what takes the time
        try:
            requirement = Requirement(line.strip())
        except InvalidRequirement:
            continue  # an old package's own mistake; pip ignores it too
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            needs.append(requirement)
    return needs
