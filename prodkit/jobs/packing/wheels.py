"""Wheels of installed distributions that no package index has, so that a job folder brings them along.

What is installed is packed as it lies there: the same files give the same bytes, and neither a build backend nor a
network is needed. An editable installation has no files of its own: prodkit packs its own package, others are built.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import importlib.metadata as installed
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from prodkit import templates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = "wheels"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
_PURE = "Wheel-Version: 1.0\nGenerator: prodkit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_BUILD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel: its file's name, and its bytes."""

    pin: str  # name==version
    file: str
    content: bytes

    @property
    def sha256(self) -> str:
        """The hex digest of its bytes, as a lock names it."""
        return hashlib.sha256(self.content).hexdigest()


def wheel_of(name: str) -> Wheel | None:
    """The wheel of an installed distribution; None when it can't be made (an editable one that doesn't build)."""
    distribution = installed.distribution(name)
    place = _editable(distribution)
    if place is None:
        return _packed(distribution, _files_of(distribution))
    return _of_prodkit() if canonicalize_name(name) == "prodkit" else _built(distribution, place)


@lru_cache(maxsize=1)
def _of_prodkit() -> Wheel:
    """The running package, packed once a process."""
    distribution = installed.distribution("prodkit")
    package = Path(__file__).parents[2]
    files = {f"prodkit/{at}": path.read_bytes() for at, path in _below(package)}
    files |= {f"prodkit/_templates/{at}": path.read_bytes() for at, path in _below(templates.folder())}
    return _packed(distribution, files | _metadata_of(distribution))


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        at = path.relative_to(folder)
        if path.is_file() and "__pycache__" not in at.parts and path.suffix != ".pyc":
            yield at.as_posix(), path


def _files_of(distribution: installed.Distribution) -> dict[str, bytes]:
    """What the distribution installed, under the names that a wheel has for it."""
    scripts = _console_scripts(distribution)
    found: dict[str, bytes] = {}
    for file in distribution.files or ():
        path = Path(str(file.locate()))
        known = file.name in _LEFT_OUT and file.parent.name.endswith(".dist-info")
        if known or path.suffix == ".pyc" or not path.is_file():
            continue
        name = _name_in_wheel(distribution, PurePosixPath(file), scripts)
        if name:
            found[name] = path.read_bytes()
    return found


def _name_in_wheel(distribution: installed.Distribution, file: PurePosixPath, scripts: set[str]) -> str:
    """Files beside the packages (`../../../share/x`) become the wheel's data; pip makes entry points' scripts."""
    if file.parts[0] != "..":
        return str(file)
    rest = [part for part in file.parts if part != ".."]
    if rest[0] in {"bin", "Scripts"}:
        return "" if PurePosixPath(rest[-1]).stem in scripts else f"{_stem(distribution)}.data/scripts/{rest[-1]}"
    return f"{_stem(distribution)}.data/data/{'/'.join(rest)}"


def _metadata_of(distribution: installed.Distribution) -> dict[str, bytes]:
    named = {name: data for name, data in _files_of(distribution).items() if ".dist-info/" in name}
    return {name: data for name, data in named.items() if not name.endswith("/WHEEL")}


def _console_scripts(distribution: installed.Distribution) -> set[str]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(distribution.read_text("entry_points.txt") or "")
    return {name for part in ("console_scripts", "gui_scripts") if parser.has_section(part) for name in parser[part]}


def _packed(distribution: installed.Distribution, files: Mapping[str, bytes]) -> Wheel:
    """A wheel of these files: sorted, without times, so that the same files are the same bytes."""
    info = next(PurePosixPath(name).parent.name for name in sorted(files) if name.endswith(".dist-info/METADATA"))
    files = {f"{info}/WHEEL": _PURE.encode(), **files}
    record = "".join(f"{name},sha256={_hash(files[name])},{len(files[name])}\n" for name in sorted(files))
    record += f"{info}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in [*sorted(files), f"{info}/RECORD"]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, files.get(name, record.encode()))
    tag = _tag(files[f"{info}/WHEEL"].decode())
    return Wheel(_pin(distribution), f"{_stem(distribution)}-{tag}.whl", buffer.getvalue())


def _tag(text: str) -> str:
    """The tags of a WHEEL file as a file's name has them: `py2.py3-none-any`."""
    tags = [line.removeprefix("Tag:").strip().split("-") for line in text.splitlines() if line.startswith("Tag:")]
    return "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _pin(distribution: installed.Distribution) -> str:
    return f"{canonicalize_name(distribution.metadata['Name'])}=={distribution.version}"


def _stem(distribution: installed.Distribution) -> str:
    name = canonicalize_name(distribution.metadata["Name"]).replace("-", "_")
    return f"{name}-{distribution.version.replace('-', '_')}"


def _editable(distribution: installed.Distribution) -> Path | None:
    """Where the sources of an editable installation lie."""
    said = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not said.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(unquote(urlsplit(str(said.get("url", ""))).path)))


def _built(distribution: installed.Distribution, source: Path) -> Wheel | None:
    """Built by its own backend, then packed again without times."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    with tempfile.TemporaryDirectory(prefix="prodkit-") as place:
        by_uv = [uv, "build", "--wheel", "--quiet", "--out-dir", place, str(source)] if uv else []
        by_pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, str(source)]
        for command in filter(None, (by_uv, by_pip)):
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_SECONDS)
            except (OSError, subprocess.SubprocessError):
                continue
            for file in Path(place).glob("*.whl"):
                return _packed(distribution, _unpacked(file))
    return None


def _unpacked(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", ".dist-info/RECORD"))]
        return {name: archive.read(name) for name in names}
