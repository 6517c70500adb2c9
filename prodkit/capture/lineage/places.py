"""Paths and URLs: one spelling for each, without credentials, and which of them are nobody's data."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/share/", "/usr/lib/", "/run/", "/var/lib/", "/lib/")
_NO_DATA = (
    *(".py", ".pyc", ".pyi", ".pyx", ".so", ".dylib", ".dll", ".pyd", ".pth", ".egg-link", ".ipynb"),
    *(".ttf", ".otf", ".afm", ".woff", ".woff2", ".mplstyle", "matplotlibrc", ".mo"),
    *("-journal", "-wal", "-shm", ".lock", ".pid", ".sock", ".pem", ".crt", "prodkit.yaml"),
    *(".odcs.yaml", ".toml", ".ini", ".cfg", ".env", ".netrc", "_netrc", ".pgpass", ".gitconfig"),
)
_STATE = (
    f"{os.sep}.prodkit{os.sep}",
    f"{os.sep}mlruns{os.sep}",
    f"{os.sep}.git{os.sep}",
    f"{os.sep}__pycache__{os.sep}",
)
_HOME = (".cache", ".config", ".ipython", ".jupyter", ".local/share/jupyter", ".local/lib", ".matplotlib", ".conda")
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")
_WEB = ("http", "https")


@cache
def _prefixes() -> tuple[str, ...]:
    """Folders of the interpreter, its libraries and caches."""
    libraries = {
        *sysconfig.get_paths().values(),
        *site.getsitepackages(),
        site.getusersitepackages(),
        sys.base_prefix + "/lib",
    }
    package = Path(__file__).resolve().parents[2]
    templates = package.parent / "templates"
    home = [str(Path.home() / name) for name in _HOME]
    caches = [
        os.environ.get(name, "")
        for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR", "HF_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR")
    ]
    folders = {*libraries, *home, *caches, str(package), str(templates)} - {"", sys.prefix, sys.base_prefix}
    return (*_SYSTEM, *(folder.rstrip(os.sep) + os.sep for folder in sorted(folders) if folder != "/"))


def is_internal_file(path: str) -> bool:
    """Whether a path belongs to the interpreter, a library, a cache, the system, or prodkit itself."""
    if path.startswith(_prefixes()) or path.endswith(_NO_DATA):
        return True
    return any(part in path for part in _STATE) or "/ipykernel_" in path


def is_internal(source: str) -> bool:
    """The same for a normalised source, which may be a URL."""
    return "://" not in source and is_internal_file(source)


def normalise(place: Any) -> str:
    """An absolute path or a URL without user, password, query and fragment; empty for what is neither."""
    if isinstance(place, os.PathLike):
        place = os.fspath(place)
    if isinstance(place, bytes) and len(place) < 4096:  # noqa: PLR2004  longer than any path: it is content
        place = os.fsdecode(place)
    if not isinstance(place, str):
        name = getattr(place, "name", None)
        return normalise(name) if isinstance(name, str) and hasattr(place, "read") else ""
    if not place or len(place) > 4096 or "\n" in place or place[0] in "{[<":  # noqa: PLR2004
        return ""
    if "://" in place:
        return _plain_url(place)
    return os.path.abspath(os.path.expanduser(place))  # noqa: PTH100, PTH111  a glob is a place too


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in {"file", "local"}:
        return os.path.abspath(parts.path)  # noqa: PTH100
    scheme = parts.scheme.lower()
    user, _, host = parts.netloc.rpartition("@")
    if scheme in _CONTAINERS and user and ":" not in user:
        host = f"{user}@{host}"  # Azure's containers stand where others have a user
    return f"{scheme}://{host.lower() if scheme in _WEB else host}{parts.path}"
