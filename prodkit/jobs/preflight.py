"""The job's data is read and checked against its contracts before a kernel starts, so that bad data costs nothing.

What the notebook will read is taken from its code: `prodkit.read("tickets", batch=batch)` with the parameters of the
run, and the mode of the captured cell that takes the data as an input. What only the running notebook can know is
checked there, as it is in a notebook without a job; so is what isn't read from files, as reading it twice may cost.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.errors import DataError
from prodkit.jobs.reading import read_notebook
from prodkit.jobs.script import tree_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prodkit.jobs.folder import JobFolder
    from prodkit.jobs.reading import Cell
    from prodkit.manifest import Project

_FROM_FILES = frozenset({"excel", "csv", "parquet"})
_READ, _RUN = frozenset({"prodkit.read", "read"}), frozenset({"prodkit.run", "run"})
_USUAL_MODE = "quarantine"  # of a captured cell that says none
_UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class Reading:
    """One source as the notebook reads it. `params` is None when only the running notebook knows them."""

    source: str
    variable: str
    params: Mapping[str, Any] | None
    mode: str  # "refuse" when no captured cell takes it as an input: nobody would set bad rows aside


def check_data(
    folder: JobFolder, project: Project, values: Mapping[str, Any], on_checked: Callable[[str, str], None]
) -> tuple[str, ...]:
    """Check what the job will read, all sources before anything is said.

    Args:
        folder: the job.
        project: where its data lies.
        values: the run's checked parameters.
        on_checked: gets the name of each source and the report of its check as HTML.

    Returns:
        What the owner should know, one sentence each.

    Raises:
        DataError: a contract is broken in a way that the job doesn't allow for, or the data can't be read.
        ConfigError: a contract or a source is set up wrongly.
    """
    notices: list[str] = []
    refused: list[DataError] = []
    for reading in find_readings(folder, project, values):
        try:
            notices += _check(reading, project, on_checked)
        except DataError as error:
            what = f"`{reading.source}`: {error.what}"
            refused.append(DataError(error.code, what, where=error.where, fix=_fix(reading, error)))
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise DataError(
            refused[0].code,
            " ".join(error.what for error in refused),
            where="; ".join(error.where for error in refused if error.where),
            fix="; ".join(dict.fromkeys(error.fix for error in refused if error.fix)),
        )
    return tuple(notices)


def find_readings(folder: JobFolder, project: Project, values: Mapping[str, Any]) -> tuple[Reading, ...]:
    """The sources with a contract that the job's code reads, each with its parameters and mode."""
    mapped = {name for name, spec in project.manifest.data_sources.items() if spec.contract}
    if not mapped:
        return ()
    try:
        cells = [(cell, tree_of(cell)) for cell in read_notebook(folder.notebook).code]
    except (SyntaxError, ValueError):
        return ()  # somebody wrote into the job's notebook: the kernel will say where
    found: dict[tuple[str, str], Reading] = {}
    modes = _modes(cells)
    for _, tree in cells:
        for variable, call in _calls(tree):
            source = _text(call.args[0]) if call.args and ast.unparse(call.func) in _READ else ""
            if source not in mapped:
                continue
            mode = modes.get(variable) or modes.get(source) or "refuse"
            found[source, ast.unparse(call)] = Reading(source, variable, _params(call, values), mode)
    return tuple(found.values())


def _check(reading: Reading, project: Project, on_checked: Callable[[str, str], None]) -> Iterator[str]:
    from prodkit.contracts import Contract, examine
    from prodkit.sources import read
    from prodkit.sources.reading import unannounced

    spec = project.manifest.data_sources[reading.source]
    if spec.kind not in _FROM_FILES or reading.params is None:
        yield f"`{reading.source}` isn't checked before the start: only the running notebook knows what it reads."
        return
    with unannounced():  # the kernel reads it again, and tells
        frame = read(reading.source, project=project, **reading.params)
    validation = examine(frame, Contract.load(project.path(spec.contract)), mode=reading.mode)  # type: ignore[arg-type]
    on_checked(reading.source, validation.to_html())
    try:
        left = len(validation.valid)
    except DataError as error:
        raise DataError(
            error.code, f"`{reading.source}`: {error.what}", where=error.where, fix=_fix(reading, error)
        ) from None
    if validation.checked and not left:
        raise DataError(
            "jobs.no-data",
            f"All {validation.checked} rows break the contract `{validation.contract}`.",
            where=spec.contract,
            fix="correct the data or the contract",
        )
    if validation.failed:
        what = "are set aside" if reading.mode == "quarantine" else "are used all the same"
        yield f"{validation.failed} of {validation.checked} rows of `{reading.source}` break its contract and {what}."


def _fix(reading: Reading, error: DataError) -> str:
    """A cell that doesn't say what becomes of bad rows can be made to."""
    name = reading.variable or reading.source
    return error.fix.replace("with mode `quarantine`", f"with `--input {name}` and mode `quarantine`")


def _modes(cells: list[tuple[Cell, ast.Module]]) -> dict[str, str]:
    """Input of a captured cell -> its mode; the strictest where several take it."""
    found: dict[str, str] = {}
    for cell, tree in cells:
        taken = list(_runs(tree))
        if cell.directive is not None:
            given = cell.directive.values("mode")
            taken.append((cell.directive.values("input"), given[-1] if given else _USUAL_MODE))
        for names, mode in taken:
            for name in names:
                found[name] = "refuse" if "refuse" in {mode, found.get(name)} else mode
    return found


def _runs(tree: ast.Module) -> Iterator[tuple[tuple[str, ...], str]]:
    """The inputs and the mode of each `prodkit.run(...)` in the code."""
    for _, call in _calls(tree):
        if ast.unparse(call.func) not in _RUN:
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        inputs = given.get("inputs")
        if isinstance(inputs, ast.List | ast.Tuple):
            names = tuple(filter(None, map(_text, inputs.elts)))
        elif isinstance(inputs, ast.Dict):
            names = tuple(node.id for node in inputs.values if isinstance(node, ast.Name))
        else:
            continue
        yield names, _text(given["mode"]) if "mode" in given else _USUAL_MODE


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Each call, and the variable that it is assigned to, if it is."""
    assigned = {
        node.value: target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield assigned.get(node, ""), node


def _params(call: ast.Call, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The keywords of a `prodkit.read` call: constants, and parameters of the job."""
    found: dict[str, Any] = {}
    for keyword in call.keywords:
        value = _value(keyword.value, values)
        if keyword.arg is None or value is _UNKNOWN or len(call.args) > 1:
            return None
        found[keyword.arg] = value
    return found


def _value(node: ast.expr, values: Mapping[str, Any]) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in values:
        return values[node.id]
    return _UNKNOWN


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
