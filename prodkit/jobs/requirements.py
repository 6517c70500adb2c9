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
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from prodkit.jobs.packing.machine import this_platform, this_python
from prodkit.jobs.packing.releases import PATCHES, Gap, Other, holding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.jobs.packing.wheels import Wheel

SHARED_STATE = "state on a server"
_READERS = {"excel": ("python-calamine", "openpyxl"), "parquet": ("pyarrow",), "sql": ("sqlalchemy",)}
_READERS |= {SHARED_STATE: ("psycopg", "psycopg-binary")}
"""What reading a kind of data source, or a state on a server, needs beside prodkit itself, where it is installed."""

_ALWAYS = ("prodkit", "ipykernel")
_FIELD = re.compile(r"^(Version|Requires-Dist|Requires-Python):\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lock:
    """The pins of a job.

    `pins` are `name==version` in order; `local` are distributions that were installed from a folder, a file or an
    address, which no registry has, and `wheels` those of them that come along; `missing` are imported modules that no
    distribution here provides. `gaps` are what some patch releases of `python` can't have, `others` the pins for them.
    """

    python: str
    pins: tuple[str, ...]
    local: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    platform: str = ""
    python_needs: str = ""  # the patch releases that it holds for, e.g. `>=3.11.5`; empty: all
    gaps: tuple[Gap, ...] = ()
    others: tuple[Other, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    brought: tuple[str, ...] = ()  # the pins of the wheels, also where their bytes aren't at hand

    @property
    def absent(self) -> tuple[str, ...]:
        """What neither a registry nor the folder has."""
        return tuple(pin for pin in self.local if pin not in self.brought)


def lock_of(imports: Iterable[str], kinds: Iterable[str] = ()) -> Lock:
    """The distributions behind imported modules, with everything that they need in turn.

    Args:
        imports: dotted names of imported modules.
        kinds: kinds of the data sources that the job reads, and `SHARED_STATE` where a server holds its state.
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
        python=this_python(),
        pins=tuple(f"{name}=={closure[name]}" for name in sorted(closure) if name not in local),
        local=tuple(f"{name}=={closure[name]}" for name in local),
        missing=tuple(dict.fromkeys(missing)),
        platform=this_platform(),
        python_needs=holding(here.gaps(closure)),
        gaps=here.gaps(closure),
    )


def imports_of(trees: Iterable[ast.Module], local: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The dotted names that code imports; those in `local` are the project's own modules."""
    names: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return tuple(sorted(name for name in names if name.partition(".")[0] not in local))


def _is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in _ALWAYS


class _Environment:
    """What is installed, read once for one lock: a notebook's kernel may install more before the next."""

    def __init__(self) -> None:
        self._found: dict[str, installed.Distribution | None] = {}
        self._texts: dict[str, str] = {}
        self._unfit: dict[str, set[int]] = {}  # patch releases of this Python that can't have a distribution
        self._wanted: dict[str, set[str]] = {}

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
            refusing = _refusing(value for key, value in fields if key == "Requires-Python")
            self._unfit.setdefault(name, set()).update(refusing)
            needs = self._needs((value for key, value in fields if key == "Requires-Dist"), extras)
            waiting += [(canonicalize_name(need.name), frozenset(need.extras)) for need in needs]
        return versions

    def is_local(self, name: str) -> bool:
        """Whether a distribution was installed from a folder, a file or an address, and not by its name."""
        found = self.find(name)
        text = found.read_text("direct_url.json") if found else None
        return text is not None and bool(json.loads(text).get("url"))

    def _needs(self, lines: Iterable[str], extras: frozenset[str]) -> list[Requirement]:
        """What is required here, or by another patch release of this Python."""
        needs = []
        for line in lines:
            if "extra ==" in line and " or " not in line and not extras:
                continue  # most lines of most packages; parsing them is what takes the time
            try:
                requirement = Requirement(line.strip())
            except InvalidRequirement:
                continue  # an old package's own mistake; pip ignores it too
            if _is_meant(requirement, extras) or self._is_meant_elsewhere(requirement, extras):
                needs.append(requirement)
                self._wanted.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
        return needs

    def gaps(self, closure: dict[str, str]) -> tuple[Gap, ...]:
        """What some patch releases of this Python can't have of the closure, or need beside it."""
        return tuple(
            Gap(
                name,
                ",".join(sorted(filter(None, self._wanted.get(name, ())))),
                frozenset(unfit),
                f"{name}=={closure[name]}" if name in closure else "",
            )
            for name, unfit in sorted(self._unfit.items())
            if unfit
        )

    def _is_meant_elsewhere(self, requirement: Requirement, extras: frozenset[str]) -> bool:
        """Whether another patch release needs it; where it isn't installed here, the lock doesn't hold for that one."""
        if "python_full_version" not in str(requirement.marker):
            return False
        meant = {patch for patch in PATCHES if _is_meant(requirement, extras, f"{this_python()}.{patch}")}
        name = canonicalize_name(requirement.name)
        if meant and self.find(name) is None:
            self._unfit.setdefault(name, set()).update(meant)
            self._wanted.setdefault(name, set()).add(str(requirement.specifier))
            return False
        return bool(meant)

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


def _is_meant(requirement: Requirement, extras: frozenset[str], python: str = "") -> bool:
    """Whether a requirement's marker holds, under another full version of Python when one is given."""
    marker, other = requirement.marker, {"python_full_version": python} if python else {}
    return marker is None or any(marker.evaluate({"extra": extra, **other}) for extra in ("", *extras))


def _refusing(texts: Iterable[str]) -> set[int]:
    """The patch releases of this Python that a `Requires-Python` leaves out."""
    found: set[int] = set()
    for text in texts:
        if f"{this_python()}." not in text:
            continue  # it speaks of minor versions, or of others
        try:
            allowed = SpecifierSet(text.strip())
        except InvalidSpecifier:
            continue
        found |= {patch for patch in PATCHES if not allowed.contains(f"{this_python()}.{patch}")}
    return found
