"""All files of a job folder, made in memory: the same inputs give the same bytes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from prodkit.errors import ConfigError
from prodkit.jobs import folder
from prodkit.jobs.edits import dump_notebook
from prodkit.jobs.packing.modules import gather_modules
from prodkit.jobs.packing.reads import gather_reads
from prodkit.jobs.parameters import to_schema
from prodkit.jobs.requirements import SHARED_STATE, Lock, imports_of, lock_of
from prodkit.jobs.runbook import (
    render_checks,
    render_image,
    render_image_leaves_out,
    render_lock,
    render_ownership,
    render_runbook,
)
from prodkit.jobs.schedules.cron import Cron
from prodkit.jobs.schedules.needs import Needs, needs_of
from prodkit.jobs.schedules.plan import Plan, below_repository
from prodkit.jobs.schedules.targets import TARGETS, render_target
from prodkit.jobs.script import tree_of, write_script
from prodkit.manifest.project import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.jobs.reading import Cell, Notebook
    from prodkit.manifest import Project

_EXTENSION = "%load_ext prodkit"
_TAKEN = (*folder.REQUIRED, folder.LOCK, folder.RUNBOOK, folder.IMAGE, folder.IMAGE_LEAVES_OUT)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The text of each file by its path in the folder, and what was found out on the way."""

    index: folder.Index
    files: dict[str, str | bytes]
    lock: Lock
    notices: tuple[str, ...] = ()


def make_bundle(
    notebook: Notebook,
    project: Project,
    *,
    name: str,
    place: str,
    settle: Callable[[Lock], tuple[Lock, str]] = lambda lock: (lock, ""),
) -> Bundle:
    """Make the files of a job folder, without `job.yaml`, which is `write_index` of the index.

    Args:
        notebook: the source.
        project: its project; the manifest must have a file.
        name: the job's name.
        place: where the folder lies, as the runbook says it (relative to the project's root).
        settle: gives the lock that is meant for the one that is found here, and its pins with hashes, or "".

    Raises:
        ConfigError: the parameters can't be read, a contract is missing, or the code isn't Python.
    """
    sources = used_sources(notebook, project)
    kinds: set[str] = {project.manifest.data_sources[source].kind for source in sources}
    if project.manifest.state not in {"", "local"}:
        kinds.add(SHARED_STATE)
    trees = {cell.number: tree_of(cell) for cell in notebook.code}
    modules = gather_modules(notebook, project, trees.values())
    lock, hashed = settle(lock_of(imports_of([*trees.values(), *modules.code.values()], modules.names), kinds))
    index = _index(notebook, project, name=name, inputs=sources, lock=lock)
    schema = to_schema(notebook.parameters, title=name, description=project.manifest.service.purpose)
    contracts, manifest = _contracts(project)
    settled = notebook.parameters_cell
    code = [(f"cell {number}", tree) for number, tree in trees.items() if settled is None or number != settled.number]
    reads = gather_reads(notebook, project, [*code, *modules.code.items()], sources, _TAKEN)
    index = index.model_copy(update={"needs": reads.needs, "texts": tuple(reads.texts)})
    around = needs_of(project.manifest, [*trees.values(), *modules.code.values()], reads.needs)
    schedules, notices = _schedules(notebook, around, index, place, project.root)
    brought: dict[str, str | bytes] = {
        **{f"{folder.WHEELS}/{wheel.file}": wheel.content for wheel in lock.wheels},
        **{f"{folder.MODULES}/{path}": content for path, content in modules.files.items()},
        **reads.texts,
    }
    beside = index.execution.working_directory
    if reads.from_notebook and beside != "." and not beside.startswith(".."):
        brought[f"{beside}/.keep"] = "The notebook's relative paths begin in this folder.\n"
    files: dict[str, str | bytes] = {
        folder.NOTEBOOK: write_notebook(notebook, name=name),
        folder.SCRIPT: write_script(notebook, name=name),
        folder.SCHEMA: json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        MANIFEST: manifest,
        folder.OWNERSHIP: render_ownership(project.manifest, name=name),
        folder.LOCK: render_lock(lock, name=name, hashed=hashed),
        folder.RUNBOOK: render_runbook(
            notebook,
            project,
            index=index,
            place=place,
            lock=lock,
            hashed=bool(hashed),
            secrets=around.secrets,
            schedules=tuple(schedules),
        ),
        folder.IMAGE: render_image(notebook, lock, name=name, hashed=bool(hashed), needs=reads.needs),
        folder.CHECKS: render_checks(name),
        **contracts,
        **schedules,
        **brought,
    }
    wheels = [f"{folder.WHEELS}/*.whl"] if lock.brought else []
    named = [path for path in files if not path.startswith(f"{folder.WHEELS}/")]
    files[folder.IMAGE_LEAVES_OUT] = render_image_leaves_out([*named, folder.INDEX, *wheels])
    left = [f"`{name}` lies in a package that comes along, and stays behind: it may be data." for name in modules.left]
    needed = [f"`{need.path}` isn't in the job folder; {need.who} expects it there." for need in reads.needs]
    return Bundle(index, files, lock, (*notices, *left, *needed))


def write_index(index: folder.Index) -> str:
    """The text of `job.yaml`."""
    head = (
        "# The index of this job, written by `prodkit export`. Change prodkit.yaml or the notebook and export again.\n"
    )
    body = yaml.safe_dump(index.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    return folder.seal(head + body)


def write_notebook(notebook: Notebook, *, name: str) -> str:
    """The text of `job.ipynb`: cells of the source that aren't `demo`, no outputs, the prodkit lines as they are."""
    cells = [_cell_json(cell) for cell in notebook.production if cell.source.strip()]
    if _needs_extension(notebook):
        cells.insert(0, _code_json("prodkit-setup", _EXTENSION, {"tags": ["prodkit"]}))
    metadata = {
        "kernelspec": {"display_name": notebook.display_name, "language": "python", "name": notebook.kernel},
        "language_info": {"name": "python"},
        "prodkit": {"format": folder.FORMAT, "job": name, "source_digest": notebook.digest},
    }
    return dump_notebook({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def used_sources(notebook: Notebook, project: Project) -> tuple[str, ...]:
    """The names of the manifest's data sources that the code reads by name or takes as an input."""
    text = "\n".join(cell.source for cell in notebook.code)
    named = {value for cell in notebook.code if cell.directive for value in cell.directive.values("input")}
    return tuple(
        name
        for name in project.manifest.data_sources
        if name in named or f'read("{name}"' in text or f"read('{name}'" in text
    )


def _needs_extension(notebook: Notebook) -> bool:
    for cell in notebook.code:
        if cell.directive is not None:
            return True
        if _EXTENSION in cell.source:
            return False
    return False


def _cell_json(cell: Cell) -> dict[str, Any]:
    metadata: dict[str, Any] = {"prodkit": {"cell": cell.number}}
    if cell.tags:
        metadata["tags"] = sorted(cell.tags)
    if cell.directive is not None and cell.directive.name:
        metadata["prodkit"]["name"] = cell.directive.name
    if cell.kind == "code":
        return _code_json(cell.id, cell.source, metadata)
    text = cell.source.splitlines(keepends=True)
    pictures = {"attachments": cell.attachments} if cell.attachments and cell.kind == "markdown" else {}
    return {"cell_type": cell.kind, "id": cell.id, "metadata": metadata, "source": text, **pictures}


def _code_json(cell_id: str, source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell_id,
        "metadata": metadata,
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def _index(notebook: Notebook, project: Project, *, name: str, inputs: tuple[str, ...], lock: Lock) -> folder.Index:
    job = project.manifest.job
    return folder.Index(
        format=folder.FORMAT,
        name=name,
        service=project.manifest.service.name,
        prodkit=version("prodkit"),
        source=folder.Source(notebook=folder.relative(notebook.path.absolute(), project.root), digest=notebook.digest),
        execution=folder.Execution(
            kernel=notebook.kernel,
            python=lock.python,
            python_needs=lock.python_needs,
            platform=lock.platform,
            working_directory=folder.relative(notebook.path.absolute().parent, project.root),
            timeout=job.timeout,
            cell_timeout=job.cell_timeout,
            retries=job.retries,
            retry_wait=job.retry_wait,
            schedule=job.schedule,
            timezone=job.timezone,
            image=job.image,
            pool=job.pool,
            priority=job.priority,
        ),
        inputs=inputs,
    )


def _contracts(project: Project) -> tuple[dict[str, str], str]:
    """The contract files under `contracts/`, and the manifest's text, pointing at them."""
    file = project.manifest_path
    manifest = file.read_text(encoding="utf-8") if file is not None else ""
    files: dict[str, str] = {}
    for name, source in project.manifest.data_sources.items():
        if not source.contract:
            continue
        try:
            text = project.path(source.contract).read_text(encoding="utf-8")
        except OSError:
            raise ConfigError(
                "export.contract",
                f"The contract of the data source `{name}` can't be read.",
                where=source.contract,
                fix=f"write it (`prodkit.infer(df).to_yaml()`), or take `contract:` out of data_sources.{name}",
            ) from None
        target = f"{folder.CONTRACTS}/{Path(source.contract).name}"
        if files.get(target, text) != text:
            what = f"Two contracts are called `{Path(source.contract).name}`."
            raise ConfigError("export.contract", what, where=source.contract, fix="rename one of the files")
        files[target] = text
        if source.contract != target:
            manifest = _point(manifest, source.contract, target)
    return dict(sorted(files.items())), manifest


def _schedules(
    notebook: Notebook, needs: Needs, index: folder.Index, place: str, root: Path
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The schedule as files that hold on any machine, and what can't be said in them."""
    how = index.execution
    if not how.schedule:
        return {}, ()
    below = below_repository(root)
    plan = Plan(index.name, how, Cron(how.schedule, how.timezone), place, image=how.image, needs=needs, below=below)
    files: dict[str, str] = {}
    notices = [
        f"The job is scheduled and `{parameter.name}` has no default: its scheduled runs would be refused."
        for parameter in notebook.parameters
        if parameter.required
    ]
    for target in TARGETS:
        if target == "kubernetes" and not how.image:
            continue  # an image is something that one has or hasn't; nothing is wrong with the schedule
        try:
            written = render_target(target, plan)
        except ConfigError as error:
            notices.append(f"No schedule file for {target}: {error.what}")
            continue
        files |= {f"{folder.SCHEDULE}/{name}": text for name, text in written.items()}
    return files, tuple(notices)


def _point(manifest: str, contract: str, target: str) -> str:
    """The manifest's text with another path behind `contract:`; the author's other text and comments stay."""
    path = rf"""(\bcontract["']?:\s*)(["']?){re.escape(contract)}\2(?=[\s,}}]|$)"""
    return re.sub(path, rf"\g<1>\g<2>{target}\g<2>", manifest)
