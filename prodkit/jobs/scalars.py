"""The plain types that a parameter can have: how each is read from text, taken from Python, and written back.

Reading is strict, because a scheduler's `-p` line is text: `false` is no true string, `01234` is no number, and what
isn't sure is refused rather than guessed. No message holds the value.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One plain type.

    `parse` takes text and `accept` a Python value; both raise ValueError. `dump` gives what JSON holds, `code` the
    Python expression of a value.
    """

    says: str  # "a whole number, e.g. 200"
    schema: dict[str, Any]
    parse: Callable[[str], Any]
    accept: Callable[[Any], Any]
    dump: Callable[[Any], Any] = lambda value: value
    code: Callable[[Any], str] = repr


def unwrap(value: Any) -> Any:
    """A numpy or pandas scalar as the plain Python value that it stands for; anything else as it is."""
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 0):
        return value.item()
    return value


def _take(*kinds: type, refuse: tuple[type, ...] = ()) -> Callable[[Any], Any]:
    def accept(value: Any) -> Any:
        if isinstance(value, refuse) or not isinstance(value, kinds):
            raise ValueError("wrong type")  # noqa: TRY004  one exception for everything that isn't accepted
        return value

    return accept


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _float(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return _finite(float(text))


def _bool(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("neither true nor false")
    return _BOOLEANS[text.lower()]


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("not an exact number")  # noqa: TRY004  as above
    try:
        # a float's shortest repr is what its author wrote
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ValueError("not a number") from None
    if not number.is_finite() or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        raise ValueError("not a number")
    return number


def _day(value: Any) -> date:
    if isinstance(value, str):
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise ValueError("not a day")
        return date.fromisoformat(value)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError("not a day")  # noqa: TRY004  as above
    return value


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError("not a moment")  # noqa: TRY004  as above
    return value


def _path(value: Any) -> Path:
    if not isinstance(value, str | PurePath) or str(value) == "" or "\0" in str(value):
        raise ValueError("not a path")
    return Path(value)


def _module(name: str, text: str) -> str:
    # an injected line needs no import of its own, and can't collide with the notebook's names
    return f'__import__("{name}").{text}'


SCALARS: dict[str, Scalar] = {
    "str": Scalar("text", {"type": "string"}, lambda text: text, _take(str)),
    "int": Scalar("a whole number, e.g. 200", {"type": "integer"}, _integer, _take(int, refuse=(bool,))),
    "float": Scalar("a number, e.g. 0.5", {"type": "number"}, _float, _finite),
    "bool": Scalar("`true` or `false`", {"type": "boolean"}, _bool, _take(bool)),
    "date": Scalar(
        "a day, e.g. 2026-11-01",
        {"type": "string", "format": "date"},
        _day,
        _day,
        date.isoformat,
        lambda value: _module("datetime", f"date({value.year}, {value.month}, {value.day})"),
    ),
    "datetime": Scalar(
        "a moment, e.g. 2026-11-01T06:00:00+00:00",
        {"type": "string", "format": "date-time"},
        _moment,
        _moment,
        datetime.isoformat,
        lambda value: _module("datetime", f'datetime.fromisoformat("{value.isoformat()}")'),
    ),
    "Path": Scalar(
        "a path",
        {"type": "string", "format": "path", "minLength": 1},
        _path,
        _path,
        lambda value: value.as_posix(),
        lambda value: _module("pathlib", f"Path({value.as_posix()!r})"),
    ),
    "Decimal": Scalar(
        "an exact number, e.g. 0.50",
        {"type": "string", "format": "decimal", "pattern": "^[+-]?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?$"},
        _decimal,
        _decimal,
        str,
        lambda value: _module("decimal", f'Decimal("{value}")'),
    ),
}
"""Name of the type -> what is known about it."""
