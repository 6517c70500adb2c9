"""`read(source)`: the one way in. The manifest says what a source is; here it becomes a frame with a report."""

from __future__ import annotations

import contextlib
import logging
import re
import string
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from prodkit.errors import ConfigError, DataError, ParameterError, nearest
from prodkit.manifest import Project, find_project
from prodkit.sources.columnar import gather_frames
from prodkit.sources.delimited import open_delimited
from prodkit.sources.excel import open_workbook
from prodkit.sources.options import TableOptions, parse_options
from prodkit.sources.report import ATTRIBUTE, ReadReport, listeners
from prodkit.sources.tables import Harvest, frame, gather, without_copies

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from prodkit.manifest.model import DataSourceSpec

_logger = logging.getLogger("prodkit.sources")
_unannounced: ContextVar[bool] = ContextVar("unannounced", default=False)
_SAFE = re.compile(r"[\w.-]{1,100}")
_FILES = {"excel": (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"), "csv": (), "parquet": ()}


def read(source: str, *, strict: bool = False, project: Project | None = None, **params: object) -> pd.DataFrame:
    """Read a source that the manifest maps.

    Args:
        source: a key of `data_sources` in prodkit.yaml, of the kind excel, csv or parquet.
        strict: raise when a file can't be opened, a value can't be understood or a mapped column is missing. Otherwise
            these are reported: in `df.attrs["prodkit"]` (a `ReadReport`), in the notebook, else in the log.
        project: whose manifest; default: the project around the current directory.
        params: what the placeholders of the source's location stand for, e.g. `batch="2026-11"` for
            `data/*{batch}*.xlsx`. A placeholder that isn't given matches anything.

    Returns:
        A frame with the manifest's column names and a column `_origin` (`file#Sheet!row`) for each row. Rows are in the
        order of the files' names and of the sheets. Times are as written, or UTC when the options name a zone.

    Raises:
        ConfigError: unknown source, no location, wrong options, or a kind that isn't read from files.
        ParameterError: a parameter that the location doesn't have, or a value that is no plain word.
        DataError: no file matches, none could be read, or `strict` and anything was wrong.
    """
    project = project or find_project()
    spec = _specification(source, project)
    options = parse_options(source, spec.options)
    location = _filled(source, spec.location, params)
    paths = _matching(source, spec, project, location)
    result, report = _collect(source, spec, options, paths, params)
    if not report.sheets:
        raise _nothing(report)
    if strict and not report.ok:
        raise _not_clean(report)
    result.attrs[ATTRIBUTE] = report
    _announce(report)
    return result


def _specification(source: str, project: Project) -> DataSourceSpec:
    sources = project.manifest.data_sources
    if source not in sources:
        fix = nearest(source, sources) or "add it to data_sources in prodkit.yaml"
        raise ConfigError(
            "sources.unknown", f"The manifest has no data source `{source}`.", where=_where(source), fix=fix
        )
    spec = sources[source]
    if spec.kind not in _FILES:
        fix = f"kinds that are: {', '.join(_FILES)}"
        raise ConfigError("sources.kind", f"A source of kind `{spec.kind}` isn't read.", where=_where(source), fix=fix)
    if not spec.location:
        raise ConfigError(
            "sources.location", "The source has no location.", where=_where(source), fix="add `location:`"
        )
    return spec


def _filled(source: str, location: str, params: dict[str, object]) -> str:
    """The location with the parameters in their places."""
    places = [name for _, name, _, _ in string.Formatter().parse(location) if name]
    for name, value in params.items():
        if name not in places:
            fix = nearest(name, places) or "the source's location has no placeholder"
            raise ParameterError("sources.parameter", f"The source has no parameter `{name}`.", where=source, fix=fix)
        if not _SAFE.fullmatch(str(value)):
            fix = "use letters, digits, '.', '_' and '-', as in 2026-11"
            raise ParameterError("sources.value", f"The value of `{name}` is no plain word.", where=source, fix=fix)
    return location.format_map({name: str(params.get(name, "*")) for name in places})


def _matching(source: str, spec: DataSourceSpec, project: Project, location: str) -> dict[str, Path]:
    """How reports call a file -> the file, in the order of the names."""
    path = project.path(re.sub(r"\*{2,}(?!/)", "*", location))
    base = Path(*_until_wildcard(path.parts))
    if base.is_file():
        return {base.name: base}
    pattern = str(path.relative_to(base)) if path != base else "*"
    found = sorted(base.glob(pattern)) if base.is_dir() else []
    kept = {str(file.relative_to(base)): file for file in found if _is_table(file, spec.kind)}
    if not kept:
        others = sum(file.is_file() for file in base.iterdir()) if base.is_dir() else 0
        fix = f"the folder holds {others} other files; look at the parameters" if others else "look at the location"
        where = f"{source}: {location}"
        raise DataError("sources.no-files", "No file matches the source's location.", where=where, fix=fix)
    return kept


def _is_table(file: Path, kind: str) -> bool:
    """Lock files of spreadsheets (`~$...`), hidden files and, for workbooks, other endings are none."""
    endings = _FILES[kind]
    fits = not endings or file.suffix.lower() in endings
    return fits and file.is_file() and not file.name.startswith(("~$", "."))


def _until_wildcard(parts: tuple[str, ...]) -> list[str]:
    plain_parts: list[str] = []
    for part in parts:
        if any(sign in part for sign in "*?["):
            break
        plain_parts.append(part)
    return plain_parts


def _collect(
    source: str, spec: DataSourceSpec, options: TableOptions, paths: dict[str, Path], params: dict[str, object]
) -> tuple[pd.DataFrame, ReadReport]:
    found, harvest = gather_frames(paths, options) if spec.kind == "parquet" else _typed(paths, spec.kind, options)
    result, copies = without_copies(found) if options.drop_copies else (found, 0)
    report = ReadReport(
        source, spec.kind, spec.location, tuple((name, str(value)) for name, value in params.items()),
        tuple(harvest.sheets), tuple(harvest.skipped), tuple(harvest.misread), len(result), copies,
    )  # fmt: skip
    return result, report


def _typed(paths: dict[str, Path], kind: str, options: TableOptions) -> tuple[pd.DataFrame, Harvest]:
    harvest = Harvest()
    for label, path in paths.items():
        opened = open_workbook(path, label) if kind == "excel" else open_delimited(path, label, options.separator)
        grids, skipped = opened
        harvest.skipped += skipped
        gather(grids, options, harvest)
    return frame(harvest, options), harvest


@contextlib.contextmanager
def unannounced() -> Iterator[None]:
    """What is read inside isn't told: it is read once more by somebody who tells it, as a job's kernel does."""
    before = _unannounced.set(True)
    try:
        yield
    finally:
        _unannounced.reset(before)


def _announce(report: ReadReport) -> None:
    if _unannounced.get():
        return
    for listener in listeners:
        listener(report)
    if not listeners and not report.ok:
        _logger.warning("%s", report)


def _nothing(report: ReadReport) -> DataError:
    reasons = "; ".join(f"{s.file}: {s.reason}" for s in report.skipped[:5])
    return DataError(
        "sources.unreadable", "None of the source's files could be read.", where=report.source, fix=reasons
    )


def _not_clean(report: ReadReport) -> DataError:
    problems = report.problems()
    more = f" (and {len(problems) - 10} more)" if len(problems) > 10 else ""  # noqa: PLR2004  a message has an end
    return DataError(
        "sources.not-clean",
        f"The source could not be read without loss: {len(problems)} problems.",
        where=report.source,
        fix="; ".join(problems[:10]) + more,
    )


def _where(source: str) -> str:
    return f"prodkit.yaml (data_sources.{source})"
