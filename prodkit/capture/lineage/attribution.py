"""From accesses to datasets: whose data it is, by the manifest; what nobody has declared is said to be so."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prodkit.capture.lineage import places
from prodkit.capture.lineage.sight import muted
from prodkit.records import DatasetRecord

if TYPE_CHECKING:
    from prodkit.capture.lineage.sight import Access
    from prodkit.manifest import Project
    from prodkit.manifest.model import DataSourceSpec

_FINGERPRINT_UP_TO = 64 * 1024 * 1024
_GROUP_FROM = 12  # undeclared files of one folder and kind are put together from this number on
_KINDS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"), "excel"),
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
}


class Attribution:
    """Names accesses after the data sources of one project."""

    def __init__(self, project: Project, *, fingerprint: bool) -> None:
        self._project, self._fingerprint = project, fingerprint
        self._sources = [
            (name, spec, _pattern(project, spec))
            for name, spec in project.manifest.data_sources.items()
            if spec.location
        ]
        self._digests: dict[tuple[str, float, int], str] = {}

    def describe(self, accesses: list[Access], context: str) -> tuple[DatasetRecord, ...]:
        """One record for each declared source, each other place, and each crowd of alike files."""
        groups: dict[str, list[Access]] = {}
        chosen = [access for access in accesses if access.context == context and self._counts(access)]
        crowds = _crowds([access for access in chosen if not self._source_of(access)])
        for access in chosen:
            groups.setdefault(self._source_of(access) or crowds.get(access.source, access.source), []).append(access)
        return tuple(self._record(name, group, context) for name, group in groups.items())

    def _counts(self, access: Access) -> bool:
        """Folders don't, and neither do files that were written and removed again."""
        if "://" in access.source:
            return True
        path = Path(access.source)
        return not path.is_dir() and (access.context == "input" or path.exists())

    def _source_of(self, access: Access) -> str:
        return next((name for name, _, pattern in self._sources if pattern.fullmatch(access.source)), "")

    def _record(self, name: str, group: list[Access], context: str) -> DatasetRecord:
        spec = self._project.manifest.data_sources.get(name)
        first = group[0]
        digests = sorted((one.source, self._digest(one)) for one in group)
        identity = digests[0][1] if len(group) == 1 else _together(digests)
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
        source = source.removeprefix("sqlite://")
        if source.startswith(root):
            return source.removeprefix(root)
        if "://" in source:
            parts = urlsplit(source)
            return f"{parts.netloc}{parts.path}{'#' + parts.fragment if parts.fragment else ''}".lstrip("/")[-500:]
        return "/".join(Path(source).parts[-2:])

    def _digest(self, access: Access) -> str:
        """The id of a file's bytes, or of what can be known without reading it."""
        try:
            status = None if "://" in access.source else Path(access.source).stat()
        except OSError:
            status = None
        if status is None:
            return "na1:" + hashlib.sha256(access.source.encode()).hexdigest()[:32]
        key = (access.source, status.st_mtime, status.st_size)
        if key not in self._digests:
            self._digests[key] = self._file_digest(Path(access.source), key)
        return self._digests[key]

    def _file_digest(self, path: Path, key: tuple[str, float, int]) -> str:
        from prodkit.errors import DataError
        from prodkit.fingerprints import fingerprint_file

        if self._fingerprint and key[2] <= _FINGERPRINT_UP_TO:
            try:
                with muted():
                    return fingerprint_file(path)
            except DataError:
                pass
        return "st1:" + hashlib.sha256(repr(key).encode()).hexdigest()[:32]


def _pattern(project: Project, spec: DataSourceSpec) -> re.Pattern[str]:
    """What belongs to a source: its file, its folder with all below, its glob, its URL with all below, its database."""
    location = _location(project, spec)
    if "://" in location:
        return re.compile(re.escape(location.rstrip("/")) + r"(?:[/#].*)?")
    glob = "".join(_GLOB.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", location))
    return re.compile(glob + r"(?:/.*)?")


_GLOB = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _location(project: Project, spec: DataSourceSpec) -> str:
    if "://" in spec.location:
        return places.normalise(spec.location)
    return os.path.abspath(project.path(spec.location))  # noqa: PTH100  a glob isn't resolved


def _crowds(accesses: list[Access]) -> dict[str, str]:
    """Source -> `folder/*.suffix`, for many alike files that nobody declared."""
    alike: dict[str, list[str]] = {}
    for access in accesses:
        if "://" not in access.source:
            folder, name = os.path.split(access.source)
            alike.setdefault(f"{folder}/*{os.path.splitext(name)[1]}", []).append(access.source)  # noqa: PTH122
    return {source: crowd for crowd, members in alike.items() if len(members) >= _GROUP_FROM for source in members}


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
