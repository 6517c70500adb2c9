"""requirements.lock: the exact versions, from the running environment, of what a notebook imports."""

from __future__ import annotations

import ast
import importlib.metadata as installed
import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.jobs.reading import Notebook

_READERS = {"excel": ("python-calamine", "openpyxl"), "parquet": ("pyarrow",), "sql": ("sqlalchemy",)}
"""What reading a kind of data source needs beside prodkit itself, where it is installed."""


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
    roots, missing = {"prodkit", "ipykernel"}, []
    for name in sorted({name for name in imports if name.partition(".")[0] not in roots}):
        found = _distributions_of(name)
        roots |= found
        if not found and name.partition(".")[0] not in sys.stdlib_module_names:
            missing.append(name.partition(".")[0])
    roots |= {name for kind in kinds for name in _READERS.get(kind, ()) if _find(name)}
    closure = _closure(roots)
    local = tuple(sorted(name for name in closure if _is_local(name)))
    pins = tuple(f"{name}=={closure[name]}" for name in sorted(closure) if name not in local)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Lock(version, pins, tuple(f"{name}=={closure[name]}" for name in local), tuple(dict.fromkeys(missing)))


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


@cache
def _find(name: str) -> installed.Distribution | None:
    try:
        return installed.distribution(name)
    except installed.PackageNotFoundError:
        return None


@cache
def _providers() -> dict[str, list[str]]:
    return {module: list(names) for module, names in installed.packages_distributions().items()}


@cache
def _distributions_of(module: str) -> frozenset[str]:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return frozenset()
    names = [canonicalize_name(name) for name in dict.fromkeys(_providers().get(top, []))]
    if len(names) > 1:  # a namespace such as `google`: the one that holds the file
        path = module.replace(".", "/")
        exact = [name for name in names if (found := _find(name)) and _holds(found, path)]
        names = exact or names
    return frozenset(names)


def _holds(distribution: installed.Distribution, path: str) -> bool:
    return any(str(file).startswith((f"{path}/", f"{path}.py")) for file in distribution.files or ())


def _closure(roots: Iterable[str]) -> dict[str, str]:
    """Name -> version of the roots and all that they require here."""
    versions: dict[str, str] = {}
    waiting = [(canonicalize_name(name), frozenset[str]()) for name in sorted(roots)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen or (found := _find(name)) is None:
            continue
        seen.add((name, extras))
        versions[name] = found.version
        waiting += [(canonicalize_name(need.name), frozenset(need.extras)) for need in _needs(found, extras)]
    return versions


def _needs(distribution: installed.Distribution, extras: frozenset[str]) -> list[Requirement]:
    needs = []
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue  # an old package's own mistake; pip ignores it too
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            needs.append(requirement)
    return needs


def _is_local(name: str) -> bool:
    found = _find(name)
    text = found.read_text("direct_url.json") if found else None
    return text is not None and bool(re.match(r"file:", str(json.loads(text).get("url", ""))))
