"""From accesses to datasets: whose data it is, by the manifest; what nobody has declared is said to be so."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prodkit.capture.lineage import databases, digests, places
from prodkit.records import DatasetRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.capture.lineage.digests import FileState
    from prodkit.capture.lineage.sight import Access
    from prodkit.manifest import Project
    from prodkit.manifest.model import DataSourceSpec

_AT_ONCE = 256 * 1024  # bytes of files that are read while a run ends: less than a millisecond
_GROUP_FROM = 12  # undeclared files of one folder and kind are put together from this number on
_KINDS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"), "excel"),
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
}


class Sighting:
    """What was seen of one kind of access, with the state that each file was in when it was looked at."""

    def __init__(self, make: Callable[[Callable[[Access], str]], tuple[DatasetRecord, ...]], fingerprint: bool) -> None:
        self._make, self._fingerprint = make, fingerprint
        self._states: dict[str, FileState | None] = {}
        self.provisional = make(self._known)

    @property
    def settled(self) -> bool:
        """Whether all ids can be told without reading more than a few kilobytes."""
        if not self._fingerprint:
            return True
        unknown = [state for state in self._states.values() if state is not None and digests.known(state) is None]
        return sum(state.size for state in unknown) <= _AT_ONCE

    def records(self) -> tuple[DatasetRecord, ...]:
        """The datasets with their ids; reads the files that it must."""
        return self._make(self._read)

    def _known(self, access: Access) -> str:
        state = self._state(access)
        if state is None:
            return _nameless(access)
        return (digests.known(state) if self._fingerprint else None) or state.stand_in

    def _read(self, access: Access) -> str:
        state = self._state(access)
        if state is None:
            return _nameless(access)
        return digests.read(state) if self._fingerprint else state.stand_in

    def _state(self, access: Access) -> FileState | None:
        if access.source not in self._states:
            self._states[access.source] = None if "://" in access.source else digests.look(access.source)
        return self._states[access.source]


class Attribution:
    """Names accesses after the data sources of one project."""

    def __init__(self, project: Project, *, fingerprint: bool) -> None:
        self._project, self._fingerprint = project, fingerprint
        self._sources = [
            (name, spec, _pattern(project, spec))
            for name, spec in project.manifest.data_sources.items()
            if spec.location
        ]

    def look(self, accesses: list[Access], context: str) -> Sighting:
        """One record for each declared source, each other place, and each crowd of alike files."""
        groups: dict[str, list[Access]] = {}
        chosen = [access for access in accesses if access.context == context and self._counts(access)]
        named = {access.source: self._source_of(access) for access in chosen}
        crowds = _crowds([access for access in chosen if not named[access.source]])
        for access in chosen:
            groups.setdefault(named[access.source] or crowds.get(access.source, access.source), []).append(access)
        return Sighting(
            lambda digest: tuple(self._record(name, group, context, digest) for name, group in groups.items()),
            self._fingerprint,
        )

    def _counts(self, access: Access) -> bool:
        """Folders don't, and neither do files that were written and removed again."""
        if "://" in access.source:
            return True
        path = Path(access.source)
        return not path.is_dir() and (access.context == "input" or path.exists())

    def _source_of(self, access: Access) -> str:
        return next((name for name, _, pattern in self._sources if pattern.fullmatch(access.source)), "")

    def _record(self, name: str, group: list[Access], context: str, digest: Callable[[Access], str]) -> DatasetRecord:
        spec = self._project.manifest.data_sources.get(name)
        first = group[0]
        each = sorted((one.source, digest(one)) for one in group)
        identity = each[0][1] if len(group) == 1 else _together(each)
        rows = [one.rows for one in group]
        attributes = {"attributed": "yes" if spec else "no"} | ({"files": str(len(group))} if len(group) > 1 else {})
        return DatasetRecord(
            name=name if spec else self._short_name(name),
            source=_location(self._project, spec) if spec else name,
            digest=f"{identity[:36]}",
            fingerprint=identity if identity.startswith("pf1:") else "",
            context=context,
            kind=spec.kind if spec else _kind(first),
            rows=sum(row for row in rows if row is not None) if None not in rows else None,
            columns=first.columns,
            contract=spec.contract if spec else "",
            attributes=attributes | (_declared(spec) if spec else {"seen_by": first.kind}),
        )

    def _short_name(self, source: str) -> str:
        """The path below the project, else the last parts of path or URL."""
        root = str(self._project.root) + os.sep
        source = source.removeprefix("sqlite://").removeprefix("duckdb://")
        if source.startswith(root):
            return source.removeprefix(root)
        if "://" in source:
            parts = urlsplit(source)
            return f"{parts.netloc}{parts.path}{'#' + parts.fragment if parts.fragment else ''}".lstrip("/")[-500:]
        return "/".join(Path(source).parts[-2:])


def _pattern(project: Project, spec: DataSourceSpec) -> re.Pattern[str]:
    """What belongs to a source: its file, its folder with all below, its glob, its URL with all below, its database."""
    location = _location(project, spec)
    if "://" in location:
        return re.compile(re.escape(location.rstrip("/")) + r"(?:[/#].*)?")
    location = re.sub(r"\{\w*\}", "*", location)  # a parameter of `prodkit.read`
    glob = "".join(_GLOB.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", location))
    return re.compile(glob + r"(?:/.*)?")


_GLOB = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _location(project: Project, spec: DataSourceSpec) -> str:
    return location(project, spec.location, spec.kind)


def location(project: Project, said: str, kind: str = "") -> str:
    """Where a data source of the manifest lies, absolute, as accesses are called and without credentials."""
    if "://" not in said:
        return os.path.abspath(project.path(said))  # noqa: PTH100  a glob isn't resolved
    if kind != "sql":
        return places.normalise(said)
    address, _, table = said.partition("#")
    scheme, _, path = address.partition(":///")
    if scheme in {"sqlite", "duckdb"} and path:
        base = f"{scheme}://{_database_file(project, path)}"
    else:
        base = databases.base_of_url(address) or places.normalise(address)
    return f"{base}#{table}" if table else base


def _database_file(project: Project, path: str) -> str:
    """A path as SQLAlchemy means it: relative with three slashes, absolute with four; people write three for both."""
    here, there = project.path(path), Path("/", path)
    return os.path.abspath(there if not here.parent.exists() and there.parent.exists() else here)  # noqa: PTH100


def _crowds(accesses: list[Access]) -> dict[str, str]:
    """Source -> `folder/*.suffix`, for many alike files that nobody declared."""
    alike: dict[str, list[str]] = {}
    for access in accesses:
        if "://" not in access.source:
            folder, name = os.path.split(access.source)
            alike.setdefault(f"{folder}/*{os.path.splitext(name)[1]}", []).append(access.source)  # noqa: PTH122
    return {source: crowd for crowd, members in alike.items() if len(members) >= _GROUP_FROM for source in members}


def _nameless(access: Access) -> str:
    return "na1:" + hashlib.sha256(access.source.encode()).hexdigest()[:32]


def _together(digests: list[tuple[str, str]]) -> str:
    return "pm1:" + hashlib.sha256(repr(digests).encode()).hexdigest()[:32]


def _kind(access: Access) -> str:
    if access.source.startswith(("http://", "https://")):
        return "http"
    if "://" in access.source:
        return "sql" if "#" in access.source else "file"
    return _KINDS.get(Path(access.source).suffix.lower(), "file")


def _declared(spec: DataSourceSpec) -> dict[str, str]:
    """What the manifest says of a source, as far as it says it."""
    said = {
        "owner": spec.owner,
        "region": spec.region,
        "classification": spec.classification,
        "pii": "yes" if spec.pii else "no",
        "retention_days": str(spec.retention_days or ""),
        "ip_owner": spec.ip_owner,
        "data_source": str(spec.data_source),
    }
    return {name: value for name, value in said.items() if value}
