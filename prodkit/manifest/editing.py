"""Changing a YAML file that a person writes: every line that isn't meant stays as it was, byte for byte.

ruamel.yaml keeps comments and the order of keys, but lays a file out anew; so only the lines that a change touches are
taken from it, and all others from the file.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import tempfile
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from prodkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ITEM = re.compile(r"^( *)- ", re.MULTILINE)
_KEY = re.compile(r"^( *)[^\s#-][^#\n]*:[ \t]*(?:#.*)?$", re.MULTILINE)
_SPACED = re.compile(r"^( *(?:- )?[^\s:]+:)( +)(?=\S)")
_RESOLVER: Any = yaml.SafeLoader("")
_TEXT = "tag:yaml.org,2002:str"
_WIDE = 4096  # ruamel mustn't wrap a line that its author has not


def edit_yaml(text: str, change: Callable[[Any], None]) -> str:
    """The text after `change` has worked on its mapping, which keeps comments and order.

    Args:
        text: YAML whose top is a mapping, or nothing at all.
        change: alters the mapping in place; it is ruamel's `CommentedMap`, used like a dict.

    Raises:
        ConfigError: `manifest.yaml`: the text isn't YAML, or its top isn't a mapping.
    """
    if "\r\n" in text:
        return edit_yaml(text.replace("\r\n", "\n"), change).replace("\n", "\r\n")
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import MarkedYAMLError

    rules = YAML()  # the round-trip loader, which makes plain containers only
    rules.preserve_quotes = True
    rules.width = _WIDE
    rules.indent(mapping=2, sequence=2 + (offset := _offset(text)), offset=offset)
    try:
        data = rules.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            "manifest.yaml",
            f"The file isn't valid YAML: {error.problem}.",
            where=f"line {line}",
            fix="correct it first",
        ) from error
    if data is None:  # nothing but comments
        change(data := CommentedMap())
        _quote(data)
        return f"{text.rstrip()}\n{_dump(rules, data)}".lstrip("\n") if data else text
    if not isinstance(data, dict):
        raise ConfigError("manifest.yaml", "The file isn't a mapping of sections.", where="line 1")
    _keep_plain(data)
    plain = _dump(rules, data)
    change(data)
    _quote(data)
    wanted = _dump(rules, data)
    merged = "".join(_merge(*(part.splitlines(keepends=True) for part in (text, plain, wanted))))
    return merged if _same(merged, wanted) else wanted


def _keep_plain(data: Any) -> None:
    """Mark what stands in the file without quotes and isn't text to PyYAML, so that it stays as it is."""
    from ruamel.yaml.scalarstring import PlainScalarString

    _replace_ambiguous(data, PlainScalarString)


def _quote(data: Any) -> None:
    """Put quotes around new text that PyYAML, by YAML 1.1, would read as something else: `no`, `10:20`.

    ruamel writes by YAML 1.2, to which they are text anyway. Its own mode for 1.1 takes a column `y` for a truth value.
    """
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    _replace_ambiguous(data, SingleQuotedScalarString)


def _replace_ambiguous(data: Any, kind: type[str]) -> None:
    parts, seen = [data], {id(data)}
    while parts:
        part = parts.pop()
        merged = list(getattr(part, "merge", ()))  # what `<<` brings in stays where it stands
        for key, value in list(part.items() if isinstance(part, dict) else enumerate(part)):
            if any(other.get(key) == value for other in merged):
                continue
            if type(value) is str and _RESOLVER.resolve(yaml.ScalarNode, value, (True, False)) != _TEXT:
                part[key] = kind(value)
            elif isinstance(value, dict | list) and id(value) not in seen:
                seen.add(id(value))
                parts.append(value)


def read_text(path: Path) -> str | None:
    """The file's text as it is, line ends too; None when there is no file.

    Raises:
        ConfigError: `manifest.unreadable`.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        what = f"The file can't be read: {type(error).__name__}."
        raise ConfigError("manifest.unreadable", what, where=str(path), fix="save it as UTF-8 text") from error


def write_text(path: Path, text: str, *, before: str | None) -> None:
    """Put a new text in the place of the one that was read, whole or not at all.

    Args:
        path: the file.
        text: what it is to hold.
        before: what `read_text` gave when the change was begun.

    Raises:
        ConfigError: `manifest.changed`: somebody else has written it meanwhile, and nothing is written now;
            `manifest.unwritable`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            if read_text(path) != before:
                raise ConfigError(
                    "manifest.changed",
                    "The file was changed by somebody else since it was opened here; nothing was written.",
                    where=str(path),
                    fix="load it again; what you typed is still shown, so that you can carry it over",
                )
            _replace(path.resolve(), text)
    except OSError as error:
        what = f"The file can't be written: {error.strerror or type(error).__name__}."
        raise ConfigError(
            "manifest.unwritable", what, where=str(path), fix="check the permissions and the disk"
        ) from error


def _replace(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        part.chmod(mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _locked:  # noqa: N801  reads as a verb where it is used
    """Two editors on one machine take turns; the folder itself is what they lock, so that no file is left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._handle = os.open(self._folder, os.O_RDONLY)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def _offset(text: str) -> int:
    """By how much the file's lists stand to the right of their key."""
    for match in _ITEM.finditer(text):
        above = list(_KEY.finditer(text, 0, match.start()))
        if above:
            return min(8, max(0, len(match[1]) - len(above[-1][1])))
    return 2


def _dump(rules: Any, data: Any) -> str:
    out = StringIO()
    rules.dump(data, out)
    return out.getvalue()


def _merge(file: list[str], plain: list[str], wanted: list[str]) -> Iterator[str]:
    """The lines of `wanted`; those that `plain` (the file as ruamel writes it, unchanged) has too come from `file`."""
    origin = _origins(file, plain)
    for kind, start, end, first, last in difflib.SequenceMatcher(None, plain, wanted, autojunk=False).get_opcodes():
        if kind == "equal":
            for place in range(start, end):
                yield from origin[place]
        else:
            before = [line for place in range(start, end) for line in origin[place]]
            yield from (_aligned(line, before) for line in wanted[first:last])


def _aligned(line: str, before: list[str]) -> str:
    """A changed line with the space behind its key that its author has put there."""
    match = _SPACED.match(line)
    old = next((found for one in before if match and (found := _SPACED.match(one)) and found[1] == match[1]), None)
    return f"{old[1]}{old[2]}{line[match.end() :]}" if match and old else line


def _origins(file: list[str], plain: list[str]) -> list[list[str]]:
    """For each line of `plain` the lines of the file that it stands for."""
    origin: list[list[str]] = [[] for _ in plain]
    for kind, start, end, first, last in difflib.SequenceMatcher(None, plain, file, autojunk=False).get_opcodes():
        if kind == "insert":  # blank lines that ruamel drops
            origin[max(start - 1, 0)] += file[first:last]
        elif end - start == last - first:
            for place in range(start, end):
                origin[place].append(file[first + place - start])
        else:
            origin[start] += file[first:last]
    return origin


def _same(left: str, right: str) -> bool:
    try:
        return bool(yaml.safe_load(left) == yaml.safe_load(right))
    except yaml.YAMLError:
        return False
