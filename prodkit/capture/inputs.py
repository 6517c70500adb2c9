"""A run's dataframes: found, checked against their contracts before any money is spent, fingerprinted, described."""

from __future__ import annotations

import contextlib
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.capture import validations
from prodkit.capture.lineage.databases import base_of_url
from prodkit.capture.lineage.places import normalise
from prodkit.contracts import Contract, examine
from prodkit.errors import DataError, ParameterError, nearest
from prodkit.fingerprints import fingerprint, short
from prodkit.records import DatasetRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prodkit.capture.options import RunOptions
    from prodkit.capture.runs import OpenRun
    from prodkit.contracts import Validation
    from prodkit.manifest import Project
    from prodkit.manifest.model import DataSourceSpec

_FRAMES = ("pandas.", "polars.", "pyarrow.")
_KINDS = ("DataFrame", "LazyFrame", "Table", "RecordBatch")
_checked: dict[str, weakref.ref[Any] | None] = {}  # content id of each frame that passed a check in this process


@dataclass(frozen=True, slots=True)
class CheckedInput:
    """One input of a run after its check."""

    name: str
    frame: Any  # the rows that may be used
    record: DatasetRecord
    validation: Validation | None  # None when no contract is mapped to it
    quarantine: Path | None = None
    contract: Contract | None = None


def is_frame(value: Any) -> bool:
    """Whether this is a pandas, polars or pyarrow table."""
    kind = type(value)
    return kind.__name__ in _KINDS and (kind.__module__ + ".").startswith(_FRAMES)


def find(options: RunOptions) -> dict[str, Any]:
    """The frames of the options, by name.

    Raises:
        ParameterError: `capture.unknown-input`.
        DataError: `capture.not-a-frame`.
    """
    if not isinstance(options.inputs, tuple):
        frames = dict(options.inputs)
    else:
        namespace = options.namespace or {}
        frames = {name: _look_up(name, namespace) for name in options.inputs}
    for name, frame in frames.items():
        if not is_frame(frame):
            raise DataError(
                "capture.not-a-frame",
                f"The input `{name}` is a {type(frame).__name__}, not a dataframe.",
                where=f"--input {name}",
                fix="pass a pandas or polars DataFrame, or a pyarrow Table",
            )
    return frames


def _look_up(name: str, namespace: Mapping[str, Any]) -> Any:
    if name not in namespace:
        frames = [known for known, value in namespace.items() if not known.startswith("_") and is_frame(value)]
        raise ParameterError(
            "capture.unknown-input",
            f"There is no variable `{name}` to check.",
            where=f"--input {name}",
            fix=nearest(name, frames) or "read the data in an earlier cell",
        )
    return namespace[name]


def check(name: str, frame: Any, run: OpenRun) -> CheckedInput:
    """Check one frame of a run by the contract of its data source, record what was found, and describe the frame.

    Raises:
        DataError: the mode is `refuse` and the contract is broken, or no row could be saved by setting others aside.
    """
    project, mode = run.project, run.options.mode
    source, spec = source_of(name, frame, project)
    if spec is None or not spec.contract:
        return CheckedInput(name, frame, describe(name, frame, source, spec), None)
    contract = Contract.load(project.path(spec.contract))
    validation = examine(frame, contract, mode=mode)
    try:
        valid = validation.valid
    except DataError:
        validations.record(run, name, validation)
        raise
    place = None
    if mode == "quarantine" and validation.failed:
        place = validation.save_quarantined(project.state / "quarantine" / run.key / name)
    record = describe(name, valid, source, spec, validation)
    remember(valid, record.fingerprint)
    validations.record(run, name, validation, fingerprint=record.fingerprint)
    return CheckedInput(name, valid, record, validation, place, contract)


def source_of(name: str, frame: Any, project: Project) -> tuple[str, DataSourceSpec | None]:
    """The data source that a frame comes from: as `prodkit.read` marked it, else the one that is called like it."""
    report = getattr(frame, "attrs", {}).get("prodkit") if hasattr(frame, "attrs") else None
    marked = str(getattr(report, "source", "") or "")
    source = marked if marked in project.manifest.data_sources else name
    return source, project.manifest.data_sources.get(source)


def describe(
    name: str,
    frame: Any,
    source: str,
    spec: DataSourceSpec | None,
    validation: Validation | None = None,
    context: str = "input",
) -> DatasetRecord:
    """The dataset's record: what it is, whose it is, and what its check found."""
    content = fingerprint(frame)
    attributes: dict[str, str] = {}
    if spec is not None:
        known = {
            "owner": spec.owner,
            "region": spec.region,
            "classification": spec.classification,
            "ip_owner": spec.ip_owner,
            "data_source": spec.data_source.value,
            "pii": str(spec.pii).lower(),
            "retention_days": str(spec.retention_days or ""),
            "data_source_name": source,
        }
        attributes = {key: value for key, value in known.items() if value}
    if validation is not None:
        attributes["contract_version"] = validation.version
        attributes["rows_checked"] = str(validation.checked)
    return DatasetRecord(
        name=name,
        source=_place(spec) or f"memory:{name}",
        digest=short(content),
        fingerprint=content,
        context=context,
        kind=spec.kind if spec is not None else "frame",
        rows=_rows(frame),
        columns=_columns(frame),
        contract=validation.contract if validation is not None else "",
        rows_failed=validation.failed if validation is not None else None,
        attributes=attributes,
    )


def _place(spec: DataSourceSpec | None) -> str:
    """The location as the manifest has it, but for a URL's user, password, query and fragment."""
    if spec is None or not spec.location:
        return ""
    address, mark, table = spec.location.partition("#")
    if "://" not in address:
        return spec.location
    base = base_of_url(address) if spec.kind == "sql" else ""
    return (base or normalise(address)) + mark * bool(table) + table


def remember(frame: Any, content: str) -> None:
    """This content has passed a check."""
    _checked[content] = None
    with contextlib.suppress(TypeError):  # not every table can be referred to weakly
        _checked[content] = weakref.ref(frame)


def unchecked(names: list[str], namespace: Mapping[str, Any]) -> list[str]:
    """Those of the names that are dataframes whose present content hasn't passed a check."""
    return [name for name in names if name in namespace and is_frame(namespace[name]) and not _passed(namespace[name])]


def _passed(frame: Any) -> bool:
    return fingerprint(frame) in _checked


def refuse_unchecked(names: list[str]) -> DataError:
    """The refusal of a strict run."""
    listed = ", ".join(f"`{name}`" for name in names)
    return DataError(
        "capture.unchecked-data",
        f"The run is strict and uses dataframes that weren't checked: {listed}.",
        where="--strict",
        fix=f"check them first: --input {' --input '.join(names)}",
    )


def _rows(frame: Any) -> int | None:
    if hasattr(frame, "num_rows"):
        return int(frame.num_rows)
    try:
        return len(frame)
    except TypeError:  # a LazyFrame
        return None


def _columns(frame: Any) -> tuple[tuple[str, str], ...]:
    lazy = hasattr(frame, "collect_schema")  # asked first: a LazyFrame's `schema` warns
    if lazy or hasattr(frame, "schema"):
        schema = frame.collect_schema() if lazy else frame.schema
        names = schema.names() if callable(getattr(schema, "names", None)) else schema.names
        types = schema.dtypes() if hasattr(schema, "dtypes") else schema.types
        return tuple((str(name), str(kind)) for name, kind in zip(names, types, strict=True))
    return tuple((str(name), str(kind)) for name, kind in frame.dtypes.items())
