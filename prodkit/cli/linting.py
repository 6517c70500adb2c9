"""Settings by which ruff, black and nbqa understand cells with a prodkit line, put into a pyproject.toml.

What is there stays as it is, to the letter: lines are only added, and the result is read back before it is written.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of one table, and why it is needed."""

    table: str
    key: str
    value: tuple[str, ...]
    why: str

    @property
    def line(self) -> str:
        """As TOML."""
        key = self.key if re.fullmatch(r"[A-Za-z0-9_-]+", self.key) else json.dumps(self.key)
        return f"{key} = [{', '.join(json.dumps(one) for one in self.value)}]"

    @property
    def path(self) -> tuple[str, ...]:
        """The names from the document's root to the key."""
        return (*self.table.split("."), self.key)


SETTINGS = (
    Setting(
        "tool.ruff.lint.extend-per-file-ignores",
        "*.ipynb",
        ("F401", "F821"),
        "ruff doesn't look into %%prodkit cells: what they use looks unused, what they set looks undefined",
    ),
    Setting("tool.black", "python-cell-magics", ("prodkit",), "black formats the code below %%prodkit"),
    Setting("tool.nbqa.process_cells", "black", ("prodkit",), "nbqa hands the code below %%prodkit on"),
    Setting("tool.nbqa.process_cells", "ruff", ("prodkit",), "as above"),
    Setting("tool.nbqa.process_cells", "flake8", ("prodkit",), "as above"),
)


@dataclass(frozen=True, slots=True)
class Merge:
    """The new text of the file, and one sentence for each setting that was added or left to its owner."""

    text: str
    added: tuple[str, ...]
    left: tuple[str, ...]


def write_settings(folder: Path) -> Merge:
    """Add the settings to a folder's pyproject.toml, or make one. What somebody has set is never changed.

    Raises:
        ConfigError: `init.pyproject`: the file isn't TOML, or can't be read or written; it is left as it is.
    """
    path = folder / FILE
    try:
        before = path.read_bytes().decode("utf-8") if path.exists() else ""
        merge = merged(before)
        own = next((folder / name for name in (".ruff.toml", "ruff.toml") if (folder / name).exists()), None)
        if merge.text != before:
            path.write_bytes(merge.text.encode("utf-8"))
    except (OSError, ValueError) as error:
        fix = "mend it, then `prodkit init --linters` again"
        raise ConfigError("init.pyproject", f"The file can't be used: {error}.", where=str(path), fix=fix) from None
    if own is not None:
        setting = SETTINGS[0]
        hint = f"ruff reads {own.name} and not {FILE}: add `{setting.line}` to its [lint.extend-per-file-ignores]"
        merge = Merge(merge.text, merge.added, (*merge.left, hint))
    return merge


def merged(text: str) -> Merge:
    """A pyproject.toml with the settings in it. Merging twice adds nothing.

    Raises:
        ValueError: the text isn't TOML.
    """
    added, left = [], []
    for setting in SETTINGS:
        document = tomllib.loads(text)
        given = _at(document, setting.path)
        if given is None:
            new = _added(text, setting)
            if new is None or not _only_adds(document, new, setting):
                left.append(f"[{setting.table}] is written in another form: add `{setting.line}` to it yourself")
            else:
                text = new
                added.append(f"[{setting.table}] {setting.line}")
        elif not (isinstance(given, list) and set(setting.value) <= set(map(str, given))):
            left.append(f"[{setting.table}] {setting.key} is yours and stays; {setting.why}: `{setting.line}`")
    return Merge(text, tuple(added), tuple(left))


def _added(text: str, setting: Setting) -> str | None:
    """The text with the setting; None where its table is there, but not under a header of its own."""
    end = "\r\n" if "\r\n" in text else "\n"
    names = r"\s*\.\s*".join(
        rf"(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')" for name in setting.table.split(".")
    )
    header = re.search(rf"^[ \t]*\[[ \t]*{names}[ \t]*\][^\r\n]*(\r?\n|$)", text, re.MULTILINE)
    if header:
        begin = text[: header.end()]
        return begin + ("" if begin.endswith("\n") else end) + setting.line + end + text[header.end() :]
    if _at(tomllib.loads(text), tuple(setting.table.split("."))) not in (None, {}):
        return None
    gap = "" if not text else end if text.endswith("\n") else end * 2
    return f"{text}{gap}[{setting.table}]{end}{setting.line}{end}"


def _only_adds(before: dict[str, Any], text: str, setting: Setting) -> bool:
    """Whether the new text is TOML that says what it said, and the setting."""
    try:
        after = tomllib.loads(text)
    except ValueError:
        return False
    place: dict[str, Any] = after
    for name in setting.path[:-1]:
        place = place[name]
    return place.pop(setting.key, None) == list(setting.value) and _pruned(after) == _pruned(before)


def _pruned(value: Any) -> Any:
    """Without empty tables, which a new table's parents are."""
    if not isinstance(value, dict):
        return value
    kept = {key: _pruned(one) for key, one in value.items()}
    return {key: one for key, one in kept.items() if one != {}}


def _at(document: dict[str, Any], path: tuple[str, ...]) -> Any:
    place: Any = document
    for name in path:
        if not isinstance(place, dict) or name not in place:
            return None
        place = place[name]
    return place
