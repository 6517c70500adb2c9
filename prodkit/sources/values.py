"""Localised dates and numbers, understood a column at a time.

`03/11/2026` and `1.234` can be read two ways. What another value of the same column decides is taken; what nothing
decides is left missing and reported. Nothing is guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from prodkit.sources.grids import is_blank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar jän jänner", "feb february februar", "mar march mär märz mrz", "apr april",
            "may mai", "jun june juni", "jul july juli", "aug august", "sep sept september",
            "oct october okt oktober", "nov november", "dec december dez dezember",
        ), 1
    )
    for name in names.split()
}  # fmt: skip
_TIME = r"(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?)?"
_YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})" + _TIME)
_DOTTED = re.compile(r"(\d{1,2})\. ?(\d{1,2})\. ?(\d{4}|\d{2})" + _TIME)
_SLASHED = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2})" + _TIME)
_DAY_NAMED = re.compile(r"(\d{1,2})\.? ([^\W\d]{3,9})\.?,? (\d{4})" + _TIME)
_NAMED_DAY = re.compile(r"([^\W\d]{3,9})\.? (\d{1,2}),? (\d{4})" + _TIME)
_SERIALS = (36526, 73050)  # Excel's numbers of the days from 2000 to 2099
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  what a spreadsheet says has no zone
_NUMBER = re.compile(r"[+-]?(\d+(?:[.,'’ \u00a0\u202f]\d+)*)")  # noqa: RUF001  the Swiss group digits with it
_SPACES = re.compile(r"['’\s\u00a0\u202f]")  # noqa: RUF001
_NOT_A_DATE = "isn't a date"
_UNDECIDED_DATE = "could be day/month or month/day, and nothing in the file decides it"
_OFFSET = "has a UTC offset, and the source has no zone"
_NOT_A_NUMBER = "isn't a number"
_UNDECIDED_NUMBER = "could have a decimal or a grouping separator, and nothing in the file decides it"
FIXES = {
    _UNDECIDED_DATE: "write the dates as 2026-11-03, or as dates of the spreadsheet",
    _OFFSET: "set options.timezone",
    _UNDECIDED_NUMBER: "write two decimals, or numbers of the spreadsheet",
}


@dataclass(frozen=True, slots=True)
class Column:
    """Understood values (None: missing), the reason for each position that could not be, and notes on decisions."""

    values: list[Any]
    failed: dict[int, str]
    notes: tuple[str, ...] = ()


class _Misread(Exception):  # noqa: N818  a verdict on one cell, never seen outside of this file
    """Why a cell could not be understood."""


def parse_column(cells: Sequence[Any], kind: str, *, units: Sequence[str] = (), timezone: str | None = None) -> Column:
    """Understand a column's cells as `text`, `number` (float) or `datetime`.

    A time stays as it is written, or becomes UTC when `timezone` says where it was written.
    """
    if kind == "text":
        return Column([None if is_blank(cell) else as_text(cell) for cell in cells], {})
    if kind == "number":
        texts = [_without_units(cell, units) for cell in cells]
        decimal, notes = _decimal_mark(texts)
        return _each(texts, lambda cell: _number(cell, decimal), notes)
    day_first, notes = _day_first(cells)
    zone = ZoneInfo(timezone) if timezone else None
    return _each(cells, lambda cell: _moment(cell, day_first=day_first, zone=zone), notes)


def as_text(cell: Any) -> str:
    """A cell as a person reads it: 12345.0 is `12345`."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == datetime.min.time() else cell.isoformat(" ")
    return str(cell).strip()


def _each(cells: Sequence[Any], understand: Callable[[Any], Any], notes: tuple[str, ...]) -> Column:
    values: list[Any] = []
    failed: dict[int, str] = {}
    for position, cell in enumerate(cells):
        try:
            values.append(None if is_blank(cell) else understand(cell))
        except _Misread as verdict:
            values.append(None)
            failed[position] = str(verdict)
    return Column(values, failed, notes)


def _moment(cell: Any, *, day_first: bool | None, zone: ZoneInfo | None) -> datetime:
    found = _unzoned(cell, day_first=day_first)
    if found.tzinfo is not None:
        if zone is None:
            raise _Misread(_OFFSET)
        return found.astimezone(UTC)
    return found.replace(tzinfo=zone).astimezone(UTC) if zone else found


def _unzoned(cell: Any, *, day_first: bool | None) -> datetime:
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001  as above
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        if not _SERIALS[0] <= cell < _SERIALS[1]:
            raise _Misread(_NOT_A_DATE)
        return _EPOCH + timedelta(seconds=round(float(cell) * 86400))  # a fraction of a day, never exact
    if isinstance(cell, str):
        return _written(cell.strip(), day_first=day_first)
    raise _Misread(_NOT_A_DATE)


def _written(text: str, *, day_first: bool | None) -> datetime:
    if match := _YEAR_FIRST.fullmatch(text):
        year, month, day, *time = match.groups()
    elif match := _DOTTED.fullmatch(text):
        day, month, year, *time = match.groups()
    elif match := _SLASHED.fullmatch(text):
        first, second, year, *time = match.groups()
        day, month = _day_and_month(int(first), int(second), day_first=day_first)
    elif match := _DAY_NAMED.fullmatch(text):
        day, month, year, *time = match.groups()
    elif match := _NAMED_DAY.fullmatch(text):
        month, day, year, *time = match.groups()
    else:
        raise _Misread(_NOT_A_DATE)
    return _built(year, month, day, time)


def _built(year: str, month: str, day: str, time: list[str | None]) -> datetime:
    number = _MONTHS.get(month.casefold()) if not month.isdigit() else int(month)
    hour, minute, second, offset = time
    try:
        moment = datetime(  # noqa: DTZ001  as above
            int(year) + (2000 if len(year) == 2 else 0),  # noqa: PLR2004  two digits
            number or 0, int(day), int(hour or 0), int(minute or 0), int(second or 0),
        )  # fmt: skip
        return datetime.fromisoformat(moment.isoformat() + offset.replace("UTC", "Z")) if offset else moment
    except ValueError:
        raise _Misread(_NOT_A_DATE) from None


def _day_and_month(first: int, second: int, *, day_first: bool | None) -> tuple[str, str]:
    if first > 12 or second > 12:  # noqa: PLR2004  months
        day, month = (first, second) if first > 12 else (second, first)  # noqa: PLR2004
    elif first == second:
        day, month = first, second
    elif day_first is None:
        raise _Misread(_UNDECIDED_DATE)
    else:
        day, month = (first, second) if day_first else (second, first)
    return str(day), str(month)


def _day_first(cells: Sequence[Any]) -> tuple[bool | None, tuple[str, ...]]:
    """What the column says about 03/11/2026: True, False, or None when nothing or both."""
    pairs = [_SLASHED.fullmatch(cell.strip()) for cell in cells if isinstance(cell, str)]
    numbers = [(int(match[1]), int(match[2])) for match in pairs if match]
    day_first = sum(first > 12 >= second for first, second in numbers)  # noqa: PLR2004  months
    month_first = sum(second > 12 >= first for first, second in numbers)  # noqa: PLR2004
    if bool(day_first) == bool(month_first):
        return None, ()
    order, count = ("day/month", day_first) if day_first else ("month/day", month_first)
    return bool(day_first), (f"dates with slashes are {order}: {count} of {len(numbers)} can't be read otherwise",)


def _without_units(cell: Any, units: Sequence[str]) -> Any:
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    for unit in units:
        if text.casefold().startswith(unit.casefold()):
            text = text[len(unit) :].strip()
        if text.casefold().endswith(unit.casefold()):
            text = text[: -len(unit)].strip()
    return text


def _number(cell: Any, decimal: str | None) -> float:
    if isinstance(cell, bool):
        raise _Misread(_NOT_A_NUMBER)
    if isinstance(cell, int | float):
        if not math.isfinite(cell):
            raise _Misread(_NOT_A_NUMBER)
        return float(cell)
    if not isinstance(cell, str) or not _NUMBER.fullmatch(cell):
        raise _Misread(_NOT_A_NUMBER)
    text = _SPACES.sub("", cell)
    mark = _says(text) or decimal
    if mark is None and ("." in text or "," in text):
        raise _Misread(_UNDECIDED_NUMBER)
    return _assembled(text, mark or ".")


def _assembled(text: str, mark: str) -> float:
    whole, marked, fraction = text.partition(mark)
    head, *groups = whole.lstrip("+-").split("," if mark == "." else ".")
    grouped = not groups or (len(head) <= 3 and all(len(group) == 3 for group in groups))  # noqa: PLR2004  thousands
    if not grouped or (marked and not fraction.isdigit()):
        raise _Misread(_NOT_A_NUMBER)
    return float(f"{'-' if text.startswith('-') else ''}{head}{''.join(groups)}.{fraction or 0}")


def _says(text: str) -> str | None:
    """The decimal mark that this number alone proves: None when it could be either, or has none."""
    dots, commas = text.count("."), text.count(",")
    if dots and commas:
        return "." if text.rindex(".") > text.rindex(",") else ","
    if not dots and not commas:
        return None
    mark, other = (".", ",") if dots else (",", ".")
    if dots + commas > 1:
        return other
    whole, _, fraction = text.lstrip("+-").partition(mark)
    return mark if len(fraction) != 3 or len(whole) > 3 or whole == "0" else None  # noqa: PLR2004


def _decimal_mark(cells: Sequence[Any]) -> tuple[str | None, tuple[str, ...]]:
    numbers = [cell for cell in cells if isinstance(cell, str) and _NUMBER.fullmatch(cell)]
    said = [_says(_SPACES.sub("", text)) for text in numbers]
    dots, commas = said.count("."), said.count(",")
    if bool(dots) == bool(commas):
        return None, ()
    name, count = ("point", dots) if dots else ("comma", commas)
    return "." if dots else ",", (f"the decimal mark is a {name}: {count} of {len(numbers)} can't be read otherwise",)
