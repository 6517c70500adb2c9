"""What `prodkit doctor` looks at. Each check is a function that yields findings; a new one is one more in CHECKS."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING, Literal

from prodkit.errors import ProdkitError, requirements_of
from prodkit.manifest import Project, find_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from packaging.requirements import Requirement

Level = Literal["ok", "note", "warning", "error"]
MARKS: dict[Level, str] = {
    "ok": "[green]ok[/]", "note": "[cyan]note[/]", "warning": "[yellow]warning[/]", "error": "[bold red]error[/]",
}  # fmt: skip
OLDEST_PYTHON = (3, 11)
FREE_BYTES = 500_000_000
DAYS_LEFT = 30.0
_ALL = "everything that prodkit writes"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    topic: str
    what: str
    fix: str = ""
    figures: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For `--json`; figures only where there are some."""
        return {key: value for key, value in asdict(self).items() if key != "figures" or value}


def examine() -> list[Finding]:
    """Run all checks on the project around the current directory. A check that fails is a finding, not a crash."""
    try:
        project = find_project()
    except ProdkitError as error:
        return [*_python(), *_packages(), _failed("manifest", error)]
    findings = [*_python(), *_packages(), *_extras()]
    for check in CHECKS:
        try:
            findings += check(project)
        except ProdkitError as error:
            findings.append(_failed(check.__name__.strip("_"), error))
    return findings


def show(findings: Iterable[Finding]) -> None:
    """Print the findings as a table."""
    from rich.table import Table

    from prodkit.cli import screen

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for finding in findings:
        fix = f"\n[dim]fix:[/] {_plain(finding.fix)}" if finding.fix else ""
        table.add_row(MARKS[finding.level], finding.topic, _plain(finding.what) + fix)
    screen.console().print(table)


def _python() -> Iterator[Finding]:
    now = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding("error", "python", now, "install Python 3.11 or later")
    else:
        yield Finding("ok", "python", now)


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wrong = 0
    for line in requires("prodkit") or ():
        requirement = Requirement(line)
        if requirement.marker and "extra" in str(requirement.marker):
            continue
        problem = _version_problem(requirement)
        if problem:
            wrong += 1
            yield Finding("error", "packages", problem, f"pip install '{requirement.name}{requirement.specifier}'")
    if not wrong:
        told = ", ".join(f"{name} {version(name)}" for name in ("mlflow", "papermill", "pandera", "pandas"))
        yield Finding("ok", "packages", f"prodkit {version('prodkit')}, {told}")


def _extras() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    for extra in metadata("prodkit").get_all("Provides-Extra") or ():
        missing = [line for line in requirements_of(extra) if _version_problem(Requirement(line))]
        if missing:
            what = f"the optional extra `{extra}` isn't installed"
            yield Finding("note", "extras", what, "pip install " + " ".join(f"'{line}'" for line in missing))


def _manifest(project: Project) -> Iterator[Finding]:
    if project.manifest_path is None:
        yield Finding("warning", "manifest", f"there is none in {project.root}", "write one with `prodkit init`")
        return
    service = project.manifest.service
    yield Finding("ok", "manifest", f"{project.manifest_path} ({service.name}, {service.lifecycle})")
    for name, source in project.manifest.data_sources.items():
        if source.contract and not project.path(source.contract).is_file():
            fix = f"write it with `prodkit contract infer`, or take `contract:` out of data_sources.{name}"
            yield Finding("error", "manifest", f"the contract of `{name}` isn't there: {source.contract}", fix)


def _owners(project: Project) -> Iterator[Finding]:
    from prodkit.ownership import check
    from prodkit.records import now

    violations = check(project.manifest, today=now().date())
    for violation in violations:
        yield Finding("warning", "owners", violation.what, violation.fix)
    if not violations:
        yield Finding(
            "ok", "owners", f"{len(project.manifest.owners.raci)} activities, each with one accountable person"
        )


def _writing(project: Project) -> Iterator[Finding]:
    import shutil

    try:
        project.state.mkdir(parents=True, exist_ok=True)
        writable = os.access(project.state, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        yield Finding("error", "files", f"{project.state} can't be written", f"chmod u+w {project.root}")
        return
    free = shutil.disk_usage(project.state).free
    what = "what this machine keeps for itself (journal, notebooks, kept outputs)" if _is_shared(project) else _ALL
    yield Finding("ok", "files", f"{what} lies under {project.state}")
    if free < FREE_BYTES:
        yield Finding("warning", "files", f"only {free // 1_000_000} MB are free there", "make room on this disk")


def _is_shared(project: Project) -> bool:
    from prodkit.stores.address import state_url

    try:
        return bool(state_url(project))
    except ProdkitError:  # an address that is wrong is a finding of its own
        return True


def _state(project: Project) -> Iterator[Finding]:
    """The server that several machines share, where the project names one."""
    from prodkit.stores.opening import look_at_shared

    shared = look_at_shared(project)
    if shared is None:
        return
    where = f"{shared.where} answers, schema {shared.namespace}"
    if shared.present:
        yield Finding("ok", "state", f"budgets, locks, keys and the history of runs: {where}")
    elif shared.may_make:
        yield Finding("ok", "state", f"{where}, which isn't there yet and is made at the first use")
    else:
        fix = f'CREATE SCHEMA "{shared.namespace}" AUTHORIZATION the user, or GRANT CREATE ON the database to the user'
        yield Finding("error", "state", f"{where}, which isn't there, and this user may not make it", fix)


def _size(project: Project) -> Iterator[Finding]:
    """How large the state folder is by part, what a day adds, when the disk is full, and what retention would free."""
    from prodkit.jobs.retention import would_free
    from prodkit.ledger.growth import WINDOWS, keep_sample, measure

    if not project.state.is_dir() or not os.access(project.state, os.W_OK):
        return
    keep_sample(project.state)
    growth, frees = measure(project.state), would_free(project)
    about = {window: "about " if window in growth.estimated else "" for window in WINDOWS}
    for name, size in sorted(growth.parts.items(), key=lambda part: -part[1]):
        rates = [f"{about[w]}{_mb(growth.a_day[w].get(name, 0.0))} a day over {w} days" for w in growth.a_day]
        yield Finding("ok", "size", ", ".join([f"{name}: {_mb(size)}", *rates]))
    figures = {**growth.as_dict(), "retention_frees": frees}
    left = growth.days_left
    unknown = "how fast it grows isn't known before its second day"
    still = "it doesn't grow" if growth.a_day else unknown
    when = still if left is None else f"the disk is full in {left:,.0f} days at this rate"
    whole = f"{_mb(growth.total)} in all, {_mb(growth.free)} free: {when}; retention would free {_mb(frees)} now"
    if left is not None and left < DAYS_LEFT:
        fix = "shorten compliance.retention_days, run `prodkit runs --clean`, or make room on this disk"
        yield Finding("warning", "size", whole, fix, figures)
    else:
        yield Finding("ok", "size", whole, figures=figures)


def _mb(size: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if abs(size) >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e3:,.0f} kB"


def _mlflow(project: Project) -> Iterator[Finding]:
    from prodkit.ledger.reach import find_obstacle, public_uri

    where = public_uri(project.tracking_uri)
    failure = find_obstacle(project.tracking_uri)
    if failure is not None:
        error = failure.as_error(where)
        yield Finding("error", "mlflow", f"{error.what} {where}; records wait in the journal", error.fix)
    else:
        yield Finding("ok", "mlflow", f"{where}, experiment `{project.experiment}`")


def _keys(project: Project) -> Iterator[Finding]:  # noqa: ARG001
    present = [name for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY") if os.environ.get(name)]
    if present:
        yield Finding("ok", "provider", f"{' and '.join(present)} set: calls are real and cost money")
    else:
        yield Finding(
            "note",
            "provider",
            "no API key: example notebooks talk to the simulated provider on this machine, and exported jobs refuse to",
        )


def _secrets(project: Project) -> Iterator[Finding]:
    from prodkit.jobs.lint_files import secrets_beside

    for problem in secrets_beside(project):
        yield Finding("error", "secrets", f"{problem.where}: {problem.what}", problem.fix)


CHECKS: tuple[Callable[[Project], Iterator[Finding]], ...] = (
    _manifest,
    _owners,
    _secrets,
    _writing,
    _state,
    _size,
    _mlflow,
    _keys,
)


def _version_problem(requirement: Requirement) -> str:
    if requirement.marker and "extra" not in str(requirement.marker) and not requirement.marker.evaluate():
        return ""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} isn't installed"
    if installed not in requirement.specifier:
        return f"{requirement.name} is {installed}, tested with {requirement.specifier}"
    return ""


def _failed(topic: str, error: ProdkitError) -> Finding:
    what = error.what if not error.where else f"{error.what} ({error.where})"
    return Finding("error", topic, what, error.fix)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
