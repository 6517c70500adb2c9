"""The job folder: what `export` writes, what the runner reads, and what a platform engineer finds in it.

```
jobs/triage/
  job.yaml            format version, source and digests, how it runs (this file is the index of the folder)
  job.ipynb           the notebook without demo cells and outputs; one cell tagged `parameters`
  job.py              its script twin
  params.schema.json  the typed interface
  contracts/          the data contracts that the manifest names
  ownership.yaml      who answers for it, resolved to addresses
  prodkit.yaml        the project's manifest as it was at export
  requirements.lock   exact versions
  wheels/             what no package index has: prodkit itself, and other packages that came from a folder
  modules/            the project's own modules that the notebook imports, and what they import in turn
  README.md           the runbook
  Dockerfile, tests/  an image (with .dockerignore), and checks that run with plain Python
  schedule/           when the manifest says when it runs: files for systemd, cron, GitHub, Airflow and Kubernetes
```
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prodkit.errors import ConfigError
from prodkit.jobs.edits import split_edits
from prodkit.manifest.project import MANIFEST, ROOT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 2  # 1, which 0.1.0 wrote, brought nothing along and named no platform; it is read too
INDEX = "job.yaml"
NOTEBOOK = "job.ipynb"
SCRIPT = "job.py"
SCHEMA = "params.schema.json"
LOCK = "requirements.lock"
OWNERSHIP = "ownership.yaml"
RUNBOOK = "README.md"
IMAGE = "Dockerfile"
IMAGE_LEAVES_OUT = ".dockerignore"
CHECKS = "tests/test_job.py"
CONTRACTS = "contracts"
SCHEDULE = "schedule"
WHEELS = "wheels"
MODULES = "modules"
REQUIRED = (INDEX, NOTEBOOK, SCRIPT, SCHEMA, OWNERSHIP, MANIFEST)

_SEAL = "# sealed "
_FIX = "export it again with `prodkit export NOTEBOOK --to FOLDER`"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """The notebook that the job was made from."""

    notebook: str = Field(description="Path relative to the project's root, with forward slashes.")
    digest: str = Field(description="`sha256:` of the notebook's cells (sources and tags, no outputs).")


class Execution(_Strict):
    """How the job runs. Durations are seconds."""

    kernel: str = "python3"
    python: str = Field(description="The Python version that the lock belongs to, e.g. 3.11.")
    python_needs: str = Field(default="", description="Its patch releases that the lock holds for; empty: all.")
    platform: str = Field(default="", description="System and processor of the lock, e.g. linux-x86_64; empty: any.")
    working_directory: str = Field(default=".", description="Relative to the project's root; where the notebook lay.")
    timeout: float = Field(default=3600.0, gt=0)
    cell_timeout: float | None = Field(default=None, gt=0)
    retries: int = Field(default=2, ge=0, le=10)
    retry_wait: float = Field(default=5.0, gt=0)
    schedule: str = ""
    timezone: str = "UTC"
    image: str = Field(default="", description="The image that runs it, for Kubernetes.")
    pool: str = Field(default="default", description="The queue of the local scheduler that it waits in.")
    priority: int = Field(default=0, description="In its queue; higher numbers start first.")


class Need(_Strict):
    """Data that the job reads and that doesn't lie in its folder."""

    path: str = Field(description="From the project's root, or from the job folder where it is its own project.")
    who: str = Field(description="What reads it: `data source tickets`, or `cell 4`.")


class Index(_Strict):
    """`job.yaml`."""

    format: int
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Also a folder's name, and part of others."
    )
    service: str
    prodkit: str = Field(description="The version of prodkit that wrote the folder.")
    source: Source
    execution: Execution
    inputs: tuple[str, ...] = Field(default=(), description="Names of the manifest's data sources that it reads.")
    needs: tuple[Need, ...] = Field(default=(), description="What it reads that doesn't come along.")
    texts: tuple[str, ...] = Field(default=(), description="Files that the code reads and that came along.")
    files: dict[str, str] = Field(default_factory=dict, description="File -> digest of the text that export wrote.")


@dataclass(frozen=True, slots=True)
class JobFolder:
    """A job folder that was read and checked.

    `schema` is the JSON Schema of `params.schema.json`; give it to `check_parameters`.
    """

    path: Path
    index: Index
    schema: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> JobFolder:
        """Read a job folder.

        Raises:
            ConfigError: `job.missing` (no such folder, or no job in it), `job.incomplete` (a file is missing),
                `job.format` (written by a newer prodkit), `job.invalid` (a file in it can't be read).
        """
        folder = Path(path).resolve()
        if not folder.is_dir() or not (folder / INDEX).is_file():
            what = "There is no job in this folder." if folder.is_dir() else "There is no such job folder."
            raise ConfigError("job.missing", what, where=str(path), fix=_FIX)
        index = read_index(folder / INDEX)
        missing = [name for name in REQUIRED if not (folder / name).is_file()]
        if missing:
            raise ConfigError(
                "job.incomplete", f"The job folder lacks {', '.join(missing)}.", where=str(path), fix=_FIX
            )
        return cls(folder, index, _read_schema(folder / SCHEMA))

    @property
    def name(self) -> str:
        """The job's name, e.g. `triage`."""
        return self.index.name

    @property
    def notebook(self) -> Path:
        """`job.ipynb`."""
        return self.path / NOTEBOOK

    @property
    def script(self) -> Path:
        """`job.py`."""
        return self.path / SCRIPT

    @property
    def lock(self) -> Path:
        """`requirements.lock`."""
        return self.path / LOCK

    @property
    def ownership(self) -> Path:
        """`ownership.yaml`."""
        return self.path / OWNERSHIP

    @property
    def manifest(self) -> Path:
        """The job's own copy of `prodkit.yaml`."""
        return self.path / MANIFEST

    @property
    def modules(self) -> Path:
        """The folder of the project's own modules; not there when the notebook imports none."""
        return self.path / MODULES

    @property
    def contracts(self) -> tuple[Path, ...]:
        """The contract files, sorted."""
        return tuple(sorted(p for p in (self.path / CONTRACTS).glob("*.yaml")))

    @property
    def digest(self) -> str:
        """`sha256:` over the files that decide what the job does; the runbook and its tests don't count.

        An approval is of this digest: a change of notebook, parameters, contracts, owners or versions needs a new one.
        """
        names = (NOTEBOOK, SCRIPT, SCHEMA, MANIFEST, OWNERSHIP, LOCK)
        files = [*(self.path / name for name in names), *self.contracts]
        told = [f"{file.name} {digest(file.read_bytes())}" for file in files if file.is_file()]
        told += [f"{name} {digest((self.path / name).read_bytes())}" for name in self.brought if self._has(name)]
        return digest("\n".join(told))

    @property
    def brought(self) -> tuple[str, ...]:
        """The files that came along from the project: wheels, modules, and the texts that the code reads."""
        ours = (f"{WHEELS}/", f"{MODULES}/")
        return tuple(name for name in sorted(self.index.files) if name.startswith(ours) or name in self.index.texts)

    def _has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def project_root(self, environ: Mapping[str, str] = os.environ) -> Path:
        """Where the job writes and looks for data.

        `PRODKIT_PROJECT` if it is set; else the project around the folder, when that holds the source notebook's
        manifest; else (the folder was moved or shipped) the job folder itself, which holds its own manifest.
        """
        if environ.get(ROOT_VARIABLE):
            return Path(environ[ROOT_VARIABLE]).absolute()
        around = (parent for parent in self.path.parents if (parent / MANIFEST).is_file())
        return next((root for root in around if (root / self.index.source.notebook).is_file()), self.path)

    def working_directory(self, root: Path) -> Path:
        """The folder that the notebook's relative paths are meant from: its own, or the job's where that is gone."""
        folder = root / self.index.execution.working_directory
        return folder if folder.is_dir() else self.path

    def changed(self) -> tuple[str, ...]:
        """The files that aren't what export wrote, marked edits put aside, and those that are gone.

        Raises:
            ConfigError: `export.open-block`.
        """
        names = [name for name, known in sorted(self.index.files.items()) if self._digest(name) != known]
        return (*names, *(() if is_sealed((self.path / INDEX).read_text(encoding="utf-8")) else (INDEX,)))

    def _digest(self, name: str) -> str:
        try:
            content = (self.path / name).read_bytes()
            return digest(content if name in self.brought else split_edits(name, content.decode("utf-8"))[0])
        except (OSError, UnicodeDecodeError):
            return ""


def digest(content: bytes | str) -> str:
    """`sha256:` and the hex digest of bytes, or of text as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    return "sha256:" + hashlib.sha256(data).hexdigest()


def seal(text: str) -> str:
    """A text with its own digest in a last comment line, so that a hand edit in it shows."""
    return f"{text}{_SEAL}{digest(text)}\n"


def is_sealed(text: str) -> bool:
    """Whether a text that was sealed is unchanged."""
    body, mark, known = text.rpartition(_SEAL)
    return bool(mark) and digest(body) == known.strip()


def relative(path: Path, root: Path) -> str:
    """`path` from `root` with forward slashes; with `..` where it lies outside."""
    return str(PurePosixPath(Path(os.path.relpath(path, root))))


def read_index(path: Path) -> Index:
    """Read `job.yaml`.

    Raises:
        ConfigError: `job.format` or `job.invalid`.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("job.invalid", f"{INDEX} isn't valid YAML.", where=str(path), fix=_FIX) from error
    version = data.get("format") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise ConfigError(
            "job.format",
            f"The folder has format {version}; this prodkit reads up to {FORMAT}.",
            where=str(path),
            fix="install the prodkit that wrote it (see `prodkit:` in job.yaml), or export again",
        )
    try:
        return Index.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or INDEX
        raise ConfigError("job.invalid", f"`{key}`: {first['msg']}.", where=str(path), fix=_FIX) from error


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError("job.invalid", f"{SCHEMA} isn't valid JSON.", where=str(path), fix=_FIX) from error
    if not isinstance(schema, dict) or not isinstance(schema.get("properties", {}), dict):
        raise ConfigError("job.invalid", f"{SCHEMA} isn't a schema of an object.", where=str(path), fix=_FIX)
    return schema
