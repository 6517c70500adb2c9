"""A notebook as export sees it: cells with tags and prodkit lines, without outputs. Nothing is executed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.jobs.directives import Directive, split_directive
from prodkit.jobs.parameters import Parameter, read_enums, read_parameters
from prodkit.jobs.shell import parse

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERS = "parameters"
DEMO = "demo"
_NBFORMAT = 4
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Cell:
    """One cell. `number` counts all cells from 1; `body` is the source without its prodkit line."""

    number: int
    id: str
    kind: str  # "code", "markdown" or "raw"
    source: str
    body: str
    tags: frozenset[str] = frozenset()
    directive: Directive | None = None
    execution_count: int | None = None
    has_outputs: bool = False
    attachments: dict[str, Any] = field(default_factory=dict)  # pictures of a markdown cell

    @property
    def is_code(self) -> bool:
        """A code cell that says something."""
        return self.kind == "code" and bool(self.source.strip())

    @property
    def is_demo(self) -> bool:
        """Dropped on export: tagged so, or a comparison of variants, which is no production work."""
        return DEMO in self.tags or (self.directive is not None and self.directive.compares)


@dataclass(frozen=True)
class Notebook:
    """A notebook that was read."""

    path: Path
    cells: tuple[Cell, ...]
    kernel: str
    display_name: str

    @cached_property
    def production(self) -> tuple[Cell, ...]:
        """The cells that go into the job."""
        return tuple(cell for cell in self.cells if not cell.is_demo)

    @cached_property
    def code(self) -> tuple[Cell, ...]:
        """The code cells that go into the job."""
        return tuple(cell for cell in self.production if cell.is_code)

    @cached_property
    def digest(self) -> str:
        """`sha256:` of what the cells say and how they are tagged. Outputs, counts and layout don't matter."""
        said = [(cell.kind, cell.source, sorted(cell.tags)) for cell in self.cells if cell.source.strip()]
        text = json.dumps([self.kernel, said], ensure_ascii=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def where(self, cell: Cell, line: int = 0) -> str:
        """`triage.ipynb, cell 7, line 3`."""
        return f"{self.path.name}, cell {cell.number}" + (f", line {line}" if line else "")

    @cached_property
    def parameters_cell(self) -> Cell:
        """The one cell tagged `parameters`.

        Raises:
            ConfigError: `notebook.parameters`: there is none, or more than one; the fix names a likely cell.
        """
        tagged = [cell for cell in self.cells if PARAMETERS in cell.tags and cell.kind == "code"]
        if len(tagged) == 1 and not tagged[0].is_demo:
            return tagged[0]
        if tagged:
            numbers = " and ".join(str(cell.number) for cell in tagged)
            what = (
                f"Cells {numbers} are tagged `parameters`; one is." if len(tagged) > 1 else "It is tagged `demo` too."
            )
            raise ConfigError("notebook.parameters", what, where=self.path.name, fix="keep the tag on one cell only")
        raise ConfigError(
            "notebook.parameters",
            "No cell is tagged `parameters`, so the job has no interface.",
            where=self.path.name,
            fix=self._likely_cell() + "; in JupyterLab: select the cell, Property Inspector (gear), Cell Tags, Add Tag",
        )

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The job's parameters, as the tagged cell declares them."""
        cell = self.parameters_cell
        enums: dict[str, tuple[str, ...]] = {}
        for earlier in self.code:
            if earlier.number < cell.number and (tree := parse(earlier.body)):
                enums |= read_enums(tree)
        return read_parameters(cell.source, where=self.where(cell), enums=enums)

    def _likely_cell(self) -> str:
        for cell in self.code:
            try:
                found = read_parameters(cell.source)
            except ConfigError:
                continue
            if found:
                return f"tag cell {cell.number} (it sets {', '.join(p.name for p in found[:3])}) with `parameters`"
        return 'add a cell such as `batch: str = "2026-11"  # month` and tag it `parameters`'


def read_notebook(path: Path) -> Notebook:
    """Read a notebook in format 4 whose language is Python.

    Raises:
        ConfigError: `notebook.missing`, `notebook.unreadable`, `notebook.format`, `notebook.language`,
            `notebook.directive`.
    """
    data = _load(path)
    metadata = data.get("metadata") or {}
    kernelspec = metadata.get("kernelspec") or {}
    language = str(kernelspec.get("language") or (metadata.get("language_info") or {}).get("name") or "python")
    if language.lower() not in {"python", "ipython", "python3"}:
        raise ConfigError(
            "notebook.language",
            f"The notebook's language is {language}; a job is Python.",
            where=path.name,
            fix="choose a Python kernel, or keep this part as a service of its own that the job calls",
        )
    cells = tuple(_with_own_ids([_cell(raw, number, path.name) for number, raw in enumerate(data["cells"], start=1)]))
    name = str(kernelspec.get("name") or "python3")
    return Notebook(path, cells, name, str(kernelspec.get("display_name") or "Python 3"))


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            "notebook.missing", "There is no such notebook.", where=str(path), fix="check the path"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = "it is a folder" if path.is_dir() else type(error).__name__
        raise ConfigError("notebook.unreadable", f"The notebook can't be read: {why}.", where=str(path)) from None
    try:
        data = json.loads(text)
    except ValueError as error:
        conflict = "<<<<<<< " in text
        raise ConfigError(
            "notebook.unreadable",
            "The notebook holds an unresolved merge conflict." if conflict else "The file isn't a notebook (no JSON).",
            where=f"{path.name}:{getattr(error, 'lineno', 1)}",
            fix="resolve the conflict, e.g. with nbdime" if conflict else "save it from Jupyter again",
        ) from None
    if not isinstance(data, dict) or data.get("nbformat") != _NBFORMAT or not isinstance(data.get("cells"), list):
        version = data.get("nbformat") if isinstance(data, dict) else None
        raise ConfigError(
            "notebook.format",
            f"The notebook has format {version}; prodkit reads format 4." if version else "The file isn't a notebook.",
            where=path.name,
            fix=f"jupyter nbconvert --to notebook --nbformat 4 --inplace {path.name}" if version else "",
        )
    return data


def _cell(raw: Any, number: int, name: str) -> Cell:
    if not isinstance(raw, dict) or raw.get("cell_type") not in {"code", "markdown", "raw"}:
        raise ConfigError(
            "notebook.format", f"Cell {number} isn't a cell.", where=name, fix="save it from Jupyter again"
        )
    source = raw.get("source") or ""
    text = source if isinstance(source, str) else "".join(source)
    metadata = raw.get("metadata") or {}
    kind = raw["cell_type"]
    directive, body = split_directive(text, f"{name}, cell {number}") if kind == "code" else (None, text)
    return Cell(
        number=number,
        id=str(raw.get("id") or ""),
        kind=kind,
        source=text,
        body=body,
        tags=frozenset(map(str, metadata.get("tags") or ())),
        directive=directive,
        execution_count=raw.get("execution_count"),
        has_outputs=bool(raw.get("outputs")),
        attachments=raw.get("attachments") or {},
    )


def _with_own_ids(cells: list[Cell]) -> list[Cell]:
    """Each cell with an id that format 4.5 takes; older notebooks have none, merged ones some twice."""
    seen: set[str] = set()
    found = []
    for cell in cells:
        right = _ID.fullmatch(cell.id) and cell.id not in seen
        own = cell.id if right else hashlib.sha256(f"{cell.number}:{cell.source}".encode()).hexdigest()[:8]
        seen.add(own)
        found.append(replace(cell, id=own))
    return found
