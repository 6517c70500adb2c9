"""Rules that nearly all values keep: drafted as warnings, because data to learn from is rarely clean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prodkit.contracts.checks import unique
from prodkit.contracts.formats import FORMATS

if TYPE_CHECKING:
    from prodkit.contracts.draft import Draft

_FROM = 300  # filled rows
_FEW = 0.03  # the share of rows that may break a rule and still be the exception
_VALUES = 15  # values in a list of categories at most
_OFTEN = 0.02  # the share of rows that each of them has at least
_FORMATS = ("email", "uuid", "date-time", "date", "ipv4", "uri")
_POSITIVE = re.compile(
    r"(^|_)(amount|price|cost|total|fee|qty|quantity|count|age|weight|length|size)($|_)", re.IGNORECASE
)


def suspect_text(draft: Draft, texts: Any, counts: Any) -> None:
    """A format, a list of categories or a shape that all but a few values have."""
    if draft.filled < _FROM:
        return
    if not (_format(draft, texts, counts) or _values(draft, texts, counts)):
        _shape(draft, texts, counts)


def suspect_repeats(draft: Draft, array: Any) -> None:
    """A column that is named like a key and repeats a few."""
    if draft.filled < _FROM or draft.filled < draft.rows:
        return
    fails = unique(array)
    repeated = 0 if fails is None else int(np.count_nonzero(fails))
    if 0 < repeated <= _FEW * draft.filled:
        draft.suspect("unique", {"type": "library", "metric": "duplicateValues", "mustBe": 0}, repeated)


def suspect_signs(draft: Draft, array: Any) -> None:
    """An amount of which a few are negative."""
    if draft.filled < _FROM or not _POSITIVE.search(draft.name):
        return
    negative = pc.sum(pc.cast(pc.less(array, pa.scalar(0, array.type)), pa.int64())).as_py() or 0
    if 0 < negative <= _FEW * draft.filled:
        implementation = {"check": "greater_than_or_equal_to", "min_value": 0}
        draft.suspect(
            "not_negative", {"type": "custom", "engine": "pandera", "implementation": implementation}, negative
        )


def _breaking(texts: Any, counts: Any, expression: str) -> int:
    """How many rows have a value that the expression doesn't match."""
    wrong = pc.invert(pc.match_substring_regex(texts, expression))
    return int(pc.sum(pc.if_else(wrong, counts, 0)).as_py() or 0)


def _pattern(draft: Draft, kind: str, expression: str, breaking: int) -> None:
    rule = {"type": "library", "metric": "invalidValues", "arguments": {"pattern": expression}, "mustBe": 0}
    draft.suspect(kind, rule, breaking)


def _format(draft: Draft, texts: Any, counts: Any) -> bool:
    for name in _FORMATS:
        breaking = _breaking(texts, counts, FORMATS[name])
        if breaking <= _FEW * draft.filled:
            _pattern(draft, name, FORMATS[name], breaking)
            draft.personal |= name == "email"
            return True
    return False


def _values(draft: Draft, texts: Any, counts: Any) -> bool:
    often = pc.greater_equal(counts, _OFTEN * draft.filled)
    usual = sorted(texts.filter(often).to_pylist())
    breaking = draft.filled - int(pc.sum(counts.filter(often)).as_py() or 0)
    if draft.personal or not 2 <= len(usual) <= _VALUES or not 0 < breaking <= _FEW * draft.filled:  # noqa: PLR2004
        return False
    rule = {"type": "library", "metric": "invalidValues", "arguments": {"validValues": usual}, "mustBe": 0}
    draft.suspect("enum", rule, breaking)
    return True


def _shape(draft: Draft, texts: Any, counts: Any) -> None:
    """The shape of the most frequent kind of text, when it is an id's and not prose."""
    sample = texts.slice(0, 2000).to_pylist()
    stems = [re.match(r"^([A-Za-z]{1,6}[-_/#]?)?([0-9]{2,})$", text) for text in sample]
    heads = [(stem.group(1) or "", len(stem.group(2))) for stem in stems if stem]
    if not heads:
        return
    head = max({head for head, _ in heads}, key=lambda one: sum(other == one for other, _ in heads))
    lengths = [length for other, length in heads if other == head]
    low, high = int(np.quantile(lengths, 0.01)), int(np.quantile(lengths, 0.99)) + 2
    expression = f"^{head.replace('/', '[/]')}[0-9]{{{low},{high}}}$"
    breaking = _breaking(texts, counts, expression)
    if 0 < breaking <= _FEW * draft.filled:
        _pattern(draft, "pattern", expression, breaking)
