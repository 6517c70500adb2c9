"""`export`: a notebook becomes a job folder that its reviewers can say yes to, or is refused with what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError
from prodkit.jobs import folder
from prodkit.jobs.bundle import Bundle, make_bundle, write_index
from prodkit.jobs.edits import put_edits, split_edits
from prodkit.jobs.hashes import ask_under, hashed_part, hashes_of, others_part
from prodkit.jobs.lint import Problem, lint_notebook
from prodkit.jobs.packing.releases import holding, others_for, others_in
from prodkit.jobs.packing.wheels import wheel_of
from prodkit.jobs.reading import read_notebook
from prodkit.jobs.runbook import local_in
from prodkit.manifest import Project, find_project
from prodkit.manifest.loading import read_document
from prodkit.ownership import Violation, check, upcoming
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from prodkit.jobs.parameters import Parameter
    from prodkit.jobs.requirements import Lock

    _Settle = Callable[[Lock], tuple[Lock, str]]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did. `kept` are files with marked hand edits; `dropped` the numbers of the demo cells."""

    job: Path
    name: str
    parameters: tuple[Parameter, ...]
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: tuple[str, ...] = ()
    dropped: tuple[int, ...] = ()
    packages: int = 0
    hashed: bool = False
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()


def export(
    notebook: Path | str,
    to: Path | str,
    *,
    project: Project | None = None,
    overwrite: bool = False,
    hashes: bool | None = None,
    wheels: bool | None = None,
    today: date | None = None,
) -> ExportReport:
    """Write a notebook's job folder.

    Nothing is written unless everything can be. The same notebook, manifest and environment give the same bytes.

    Args:
        notebook: the notebook, with one cell tagged `parameters`.
        to: the job folder; its last part is the job's name.
        project: the project; by default the one around the notebook.
        overwrite: give up hand edits that aren't marked.
        hashes: ask the package registry for the lock's hashes: None where it answers, True insists, False doesn't ask.
            An earlier lock for the same versions keeps its hashes.
        wheels: bring wheels of what no registry has, prodkit itself among it: None where they can be made, True
            insists, False leaves them out.
        today: the day that ownership is checked for; today by default.

    Raises:
        ConfigError: the notebook can't become a job (`notebook.*`, `parameters.*`, `lint.*`), nobody answers for it
            (`owners.*`), or the folder holds hand edits or something else (`export.*`).
    """
    target = Path(to).absolute()
    files, report = compose(
        notebook, target, project=project, overwrite=overwrite, hashes=hashes, wheels=wheels, today=today
    )
    old = _old_index(target)
    _write(target, {name: files[name] for name in report.written}, gone=set(old.files if old else ()) - set(files))
    return report


def compose(
    notebook: Path | str,
    to: Path | str,
    *,
    project: Project | None = None,
    overwrite: bool = False,
    hashes: bool | None = None,
    wheels: bool | None = None,
    today: date | None = None,
) -> tuple[dict[str, str | bytes], ExportReport]:
    """The text of each file that `export` would leave in the folder, and its report; nothing is written.

    Arguments and errors are those of `export`.
    """
    source, target = Path(notebook), Path(to).absolute()
    _check_name(target.name)
    day = today or now().date()
    bundle, report = _prepare(source, target, project, day, _settled(target, hashes, wheels))
    old = _old_index(target)
    files, kept = _merge(bundle, target, old, overwrite=overwrite)
    index = bundle.index.model_copy(
        update={"files": {name: folder.digest(text) for name, text in bundle.files.items()}}
    )
    files[folder.INDEX] = write_index(index)
    changed = tuple(name for name, text in files.items() if _bytes_at(target / name) != _as_bytes(text))
    return files, replace(
        report,
        written=changed,
        unchanged=tuple(name for name in files if name not in changed),
        kept=kept,
        packages=len(bundle.lock.pins),
        hashed="--hash=" in str(bundle.files[folder.LOCK]),
    )


def drift(notebook: Path | str, to: Path | str, *, project: Project | None = None) -> tuple[str, ...]:
    """The files of a job folder that another export would change: its notebook, manifest or hand edits moved on.

    The lock isn't compared, nor what follows from it in other files: they go by the machine, not by the notebook.

    Raises:
        ConfigError: as `export`; `job.missing` when there is no job yet.
    """
    source, target = Path(notebook), Path(to).absolute()
    old = _old_index(target) or folder.JobFolder.load(target).index
    bundle, _ = _prepare(source, target, project, now().date(), _as_locked(target, old))
    differing = []
    for name, text in bundle.files.items():
        if name != folder.LOCK and not _is_as_written(target / name, name, text):
            differing.append(name)
    if _meaning(old) != _meaning(bundle.index) or not folder.is_sealed(_read(target / folder.INDEX) or ""):
        differing.append(folder.INDEX)
    return tuple(differing)


def _meaning(index: folder.Index) -> folder.Index:
    """An index without what follows the machine, or the other files."""
    execution = index.execution.model_copy(update={"python": "", "python_needs": "", "platform": ""})
    return index.model_copy(update={"format": folder.FORMAT, "files": {}, "prodkit": "", "execution": execution})


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "export.name",
            "The job folder's name is the job's name; it can't be one.",
            where=name,
            fix="use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        )


def _as_locked(target: Path, old: folder.Index) -> _Settle:
    """The lock as it was at export: another machine checks for drift too, with its own Python and packages."""
    text = _read(target / folder.LOCK) or ""
    (local, brought), how = local_in(text), old.execution

    def settle(lock: Lock) -> tuple[Lock, str]:
        same = replace(lock, python=how.python, python_needs=how.python_needs, platform=how.platform)
        return replace(same, local=local, brought=brought), text if "--hash=" in text else ""

    return settle


def _settled(target: Path, hashes: bool | None, wheels: bool | None) -> _Settle:
    def ask(lock: Lock) -> tuple[Lock, str]:
        if wheels is not False:
            lock = _with_wheels(lock, insist=bool(wheels))
        earlier = _read(target / folder.LOCK) or ""
        known = hashed_part(earlier, lock.pins)
        lock = _for_all_releases(lock, others_part(earlier), may_ask=hashes is not False)
        if known or hashes is False:
            return lock, known
        found = hashes_of(lock.pins)
        if not found and hashes:
            what = "No package registry gives the hashes of all locked versions."
            raise ConfigError(
                "export.hashes", what, fix="install uv, check the connection, or export without `--hashes`"
            )
        return lock, found

    return ask


def _for_all_releases(lock: Lock, earlier: str, *, may_ask: bool) -> Lock:
    """Pins for the patch releases that can't have what is pinned; those of the earlier lock, where they still fit."""
    others = others_in(earlier, lock.gaps)
    if may_ask and not all("--hash=" in "".join(other.lines) for other in others):
        others = ()
    if lock.gaps and not others and may_ask:
        others = others_for(lock.gaps, lock.pins, ask_under)
    filled = {other.name for other in others}
    return replace(lock, others=others, python_needs=holding(gap for gap in lock.gaps if gap.name not in filled))


def _with_wheels(lock: Lock, *, insist: bool) -> Lock:
    made = [wheel_of(pin.partition("==")[0]) for pin in lock.local]
    wheels = tuple(wheel for wheel in made if wheel is not None)
    lock = replace(lock, wheels=wheels, brought=tuple(wheel.pin for wheel in wheels))
    if insist and lock.absent:
        what = f"No wheel can be made of {', '.join(lock.absent)}, which came from a folder and not from a registry."
        fix = "see that `pip wheel --no-deps FOLDER` works, or export with `--no-wheels`"
        raise ConfigError("export.wheels", what, fix=fix)
    return lock


def _prepare(
    source: Path, target: Path, project: Project | None, day: date, settle: _Settle
) -> tuple[Bundle, ExportReport]:
    book = read_notebook(source)
    project = project or find_project(source.absolute().parent)
    waived = refuse_without_owner(project, day)
    parameters = book.parameters
    problems = lint_notebook(book, project)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        first = errors[0]
        others = "; ".join(f"{problem.where}: {problem.what}" for problem in errors[1:6])
        fix = first.fix + (f". Also: {others}" if others else "")
        raise ConfigError(first.code, first.what, where=first.where, fix=fix)
    place = folder.relative(target, project.root)
    bundle = make_bundle(
        book, project, name=target.name, place=target.name if place.startswith("..") else place, settle=settle
    )
    notices = [*_waivers(waived), *upcoming(project.manifest, today=day)]
    notices += [
        f"`{name}` is imported but not installed here, so the lock can't pin it." for name in bundle.lock.missing
    ]
    notices += [
        f"`{pin}` came from a folder and has no wheel here: the job folder isn't enough." for pin in bundle.lock.absent
    ]
    report = ExportReport(
        job=target,
        name=target.name,
        parameters=parameters,
        written=(),
        unchanged=(),
        dropped=tuple(cell.number for cell in book.cells if cell.is_demo),
        problems=problems,
        notices=(*notices, *bundle.notices),
    )
    return bundle, report


def refuse_without_owner(project: Project, day: date) -> tuple[Violation, ...]:
    """Refuse a project whose ownership breaks a rule that isn't waived.

    Returns:
        The violations that are waived.

    Raises:
        ConfigError: the first violation, the others in its fix.
    """
    path = project.manifest_path
    document = read_document(path.read_text(encoding="utf-8"), path.name) if path else None
    violations = check(project.manifest, today=day, document=document)
    blocking = [violation for violation in violations if violation.blocks]
    if not blocking:
        return violations
    first = blocking[0]
    fix = first.fix if path else "write a manifest with `prodkit init`, and name who answers for it"
    if len(blocking) > 1:
        others = "; ".join(f"{violation.where} {violation.what}" for violation in blocking[1:4])
        fix += f". {len(blocking) - 1} more: {others}; see `prodkit owners`"
    raise ConfigError(first.code, first.what, where=first.where if path else str(project.root), fix=fix)


def _waivers(violations: tuple[Violation, ...]) -> list[str]:
    return [
        f"Waived until {one.waiver.expires} by {one.waiver.approver}: {one.what} ({one.waiver.reason})"
        for one in violations
        if one.waiver is not None
    ]


def _old_index(target: Path) -> folder.Index | None:
    if (target / folder.INDEX).is_file():
        return folder.read_index(target / folder.INDEX)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        what = "The target is a file." if target.is_file() else "The folder holds something that isn't a job."
        raise ConfigError("export.occupied", what, where=str(target), fix="choose another `--to`, or empty it first")
    return None


def _merge(
    bundle: Bundle, target: Path, old: folder.Index | None, *, overwrite: bool
) -> tuple[dict[str, str | bytes], tuple[str, ...]]:
    """The new text of each file with the marked edits of the old one."""
    files: dict[str, str | bytes] = {}
    kept: list[str] = []
    unmarked: list[str] = []
    for name, text in bundle.files.items():
        known = old.files.get(name) if old else None
        if isinstance(text, bytes):
            there = _bytes_at(target / name)
            unmarked += [name] if there not in (None, text) and folder.digest(there or b"") != known else []
            files[name] = text
            continue
        here = _read(target / name)
        plain, edits = split_edits(name, here) if here is not None else (None, [])
        if plain is not None and plain != text and folder.digest(plain) != known:
            unmarked.append(name)
        files[name] = put_edits(name, text, edits)
        if edits:
            kept.append(name)
    if old and not folder.is_sealed(_read(target / folder.INDEX) or ""):
        unmarked.append(folder.INDEX)
    if unmarked and not overwrite:
        raise ConfigError(
            "export.hand-edited",
            f"{', '.join(unmarked)} was edited by hand since the last export.",
            where=str(target),
            fix="mark what is yours with lines `# prodkit:keep NAME` and `# prodkit:end` (a cell: tag `keep`), "
            "say it in the notebook or in prodkit.yaml, or give it up with `--overwrite`",
        )
    return files, tuple(kept)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "export.unreadable", f"A file of the folder can't be read: {type(error).__name__}.", where=str(path)
        ) from error


def _bytes_at(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            "export.unreadable", f"A file of the folder can't be read: {type(error).__name__}.", where=str(path)
        ) from error


def _as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _is_as_written(path: Path, name: str, text: str | bytes) -> bool:
    """Whether a file is what export writes, marked edits put aside."""
    if isinstance(text, bytes):
        return _bytes_at(path) == text
    here = _read(path)
    return here is not None and split_edits(name, here)[0] == text


def _write(target: Path, files: dict[str, str | bytes], gone: set[str]) -> None:
    """Write each file whole or not at all, the index last: it vouches for the others."""
    try:
        for name, text in files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(_as_bytes(text))
            part.replace(path)
        for name in gone:
            (target / name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            "export.unwritable",
            f"The job folder can't be written: {error.strerror or type(error).__name__}.",
            where=str(target),
            fix="check the disk and the permissions; nothing in the index has changed",
        ) from error
