"""Defaults of a header's options: the cell wins, then `%config`, the environment, and `[tool.prodkit]`."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError, nearest
from prodkit.notebook.header import OPTIONS, checked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULTABLE = ("budget", "mode", "strict", "user", "source", "session", "purpose")
"""Options that a default makes sense for; a run's name and its data belong to the cell."""


def defaults(configured: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Keywords for `RunOptions` from the three places, the nearest winning.

    Args:
        configured: what `%config ProdkitMagics` has set; empty values count as unset.
        root: the project's folder, whose pyproject.toml is read.

    Raises:
        ParameterError: a value is wrong; the error says in which place.
        ConfigError: `notebook.tool-table`: an unknown key below [tool.prodkit], or a file that isn't TOML.
    """
    found: dict[str, Any] = {}
    for name, value in _table(root / "pyproject.toml").items():
        found[name] = checked(name, _text(value), f"pyproject.toml ([tool.prodkit] {name})")
    for name in DEFAULTABLE:
        variable = f"PRODKIT_{name.upper()}"
        if os.environ.get(variable):
            found[name] = checked(name, os.environ[variable], f"environment variable {variable}")
        if configured.get(name) not in (None, "", False):
            found[name] = checked(name, _text(configured[name]), f"%config ProdkitMagics.{name}")
    return found


def _table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError("notebook.tool-table", f"The file can't be read: {error}.", where=str(path)) from error
    table: dict[str, Any] = document.get("tool", {}).get("prodkit", {})
    for name in table:
        if name not in DEFAULTABLE:
            known = "it belongs to the cell" if name in OPTIONS else nearest(name, DEFAULTABLE)
            what = f"`{name}` can't be set for all cells."
            raise ConfigError("notebook.tool-table", what, where=f"{path.name} ([tool.prodkit])", fix=known)
    return table


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
