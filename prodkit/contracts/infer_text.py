"""What text columns promise: a format, a shape, a list of values, a length."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from prodkit.contracts.formats import FORMATS
from prodkit.contracts.infer_suspects import suspect_text

if TYPE_CHECKING:
    from prodkit.contracts.draft import Draft

_FEWEST = 20
_MOST_VALUES = 50
_LEAST_OFTEN = 5  # a list of values is proposed only if each was met so often
_TRIMMED_FROM = 1000
_TRIMMED = r"^\S([\s\S]*\S)?$"
_SAMPLE = 20_000
_PERSONAL = re.compile(
    r"(^|_)(e?mail|phone|mobile|tel|fax|iban|ssn|passport|birth|dob|address|street|zip|postcode|ip|surname|"
    r"(first|last|full|user|customer|given|family)_?name|body|message|comment|text|subject)($|_)",
    re.IGNORECASE,
)
_ID = re.compile(r"(^|_)(id|key|uuid|guid|code|number|no|nr|ref|sku)($|_)|[a-z](Id|Key|Nr|No)$", re.IGNORECASE)
_ORDER = ("uuid", "email", "date-time", "date", "ipv4", "e164", "uri", "iso-4217", "iso-3166-alpha-2", "money")
_NAMED = {
    "iso-4217": ("curr", "ccy", "iso"),
    "iso-3166-alpha-2": ("countr", "nation", "land", "iso"),
    "money": ("amount", "price", "cost", "total", "fee", "sum", "eur", "usd", "money"),
}
_RUN = re.compile(r"[0-9]+|[A-Z]+|[a-z]+|.", re.DOTALL)
_MOST_RUNS = 12
_MOST_SHAPES = 3


def looks_personal(name: str) -> bool:
    """Whether a column's name says that it holds personal data."""
    return bool(_PERSONAL.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)))


def looks_like_id(name: str) -> bool:
    """Whether a column's name says that it identifies something."""
    return bool(_ID.search(name))


def draft_text(draft: Draft, array: Any) -> None:
    """Propose rules for a text column: the tightest kind that its values support."""
    values = array.drop_null()
    if draft.filled < _FEWEST:
        return
    distinct = pc.value_counts(values)
    if _format(draft, distinct.field("values")):
        return
    if len(distinct) <= _MOST_VALUES and _values(
        draft, *(distinct.field(part).to_pylist() for part in ("values", "counts"))
    ):
        return
    if _shape(draft, distinct.field("values")):
        return
    _length(draft, values)
    suspect_text(draft, distinct.field("values"), distinct.field("counts"))


def _format(draft: Draft, texts: Any) -> bool:
    for name in _ORDER:
        hint = _NAMED.get(name)
        if hint and not any(part in draft.name.lower() for part in hint):
            continue
        if _all_match(texts, FORMATS[name]):
            draft.option("format", name, f"all {draft.filled} values have it")
            draft.personal |= name in ("email", "e164", "ipv4")
            return True
    return False


def _all_match(texts: Any, expression: str) -> bool:
    """Asked of the first values first, which mostly settles it."""
    return all(
        bool(pc.all(pc.match_substring_regex(part, expression)).as_py()) for part in (texts.slice(0, 100), texts)
    )


def _values(draft: Draft, texts: list[str], counts: list[int]) -> bool:
    """A list of values, when there are few and none is rare: one that was met once has unseen siblings."""
    if draft.personal or not 2 <= len(texts) <= _MOST_VALUES or min(counts) < _LEAST_OFTEN:  # noqa: PLR2004
        return False
    if max(len(text) for text in texts) > 60:  # noqa: PLR2004
        return False
    draft.values(sorted(texts), f"{len(texts)} different values in {draft.filled}, the rarest {min(counts)} times")
    return True


def _shape(draft: Draft, distinct: Any) -> bool:
    """A pattern, when all values are built alike and aren't prose: `T-10023` is `T-` and digits."""
    shapes: dict[tuple[str, ...], list[list[str]]] = {}
    texts = distinct.take(np.linspace(0, len(distinct) - 1, min(len(distinct), _SAMPLE)).astype(int)).to_pylist()
    for text in texts:
        runs = _RUN.findall(text)
        if len(runs) > _MOST_RUNS or not any(run[0].isdigit() for run in runs) or any(run.isspace() for run in runs):
            return False
        shapes.setdefault(tuple(_class_of(run) for run in runs), []).append(runs)
        if len(shapes) > _MOST_SHAPES:
            return False
    fewest = max(_LEAST_OFTEN, len(texts) // 30)
    if not shapes or any(len(members) < fewest for members in shapes.values()):
        return False
    pattern = "|".join(_expression(shape, members) for shape, members in sorted(shapes.items()))
    pattern = f"^({pattern})$" if len(shapes) > 1 else f"^{pattern}$"
    if not _all_match(distinct, pattern):
        return False
    draft.option("pattern", pattern, f"all {len(distinct)} different values are built like this")
    return True


def _class_of(run: str) -> str:
    first = run[0]
    return (
        "0"
        if first.isdigit() and first.isascii()
        else "A"
        if "A" <= first <= "Z"
        else "a"
        if "a" <= first <= "z"
        else run
    )


def _expression(shape: tuple[str, ...], members: list[list[str]]) -> str:
    parts = []
    for place, kind in enumerate(shape):
        runs = {runs[place] for runs in members}
        if kind not in ("0", "A", "a"):
            parts.append(_literal(kind))
        elif len(runs) == 1 and kind != "0":
            parts.append(next(iter(runs)))
        else:
            parts.append({"0": "[0-9]", "A": "[A-Z]", "a": "[a-z]"}[kind] + _repeats(runs, digits=kind == "0"))
    return "".join(parts)


def _literal(sign: str) -> str:
    """A sign as a pattern of any dialect; `re.escape` also escapes what ECMA wants bare."""
    return re.sub(r"([.^$*+?()\[\]{}|\\/])", r"\\\1", sign)


def _repeats(runs: set[str], *, digits: bool) -> str:
    """How long a run may be: digits without leading zeros count something, so they may grow by two."""
    lengths = {len(run) for run in runs}
    low, high = min(lengths), max(lengths)
    if digits and not any(run[0] == "0" and len(run) > 1 for run in runs):
        high += 2
    return f"{{{low}}}" if low == high else f"{{{low},{high}}}"


def _length(draft: Draft, values: Any) -> None:
    lengths = pc.min_max(pc.utf8_length(values))
    shortest, longest = lengths["min"].as_py(), lengths["max"].as_py()
    seen = f"{shortest} to {longest} characters in {draft.filled} values"
    draft.option("maxLength", _round_up(max(longest * 4, 50)), f"{seen}; four times the longest")
    if shortest == 0:
        return
    draft.option("minLength", 1, f"{seen}; none is empty")
    if draft.filled >= _TRIMMED_FROM and _all_match(values, _TRIMMED):
        draft.option("pattern", _TRIMMED, f"none of {draft.filled} values begins or ends with a space")
    elif _all_match(values, r"\S"):
        draft.option("pattern", r"\S", f"none of {draft.filled} values is blank")


def _round_up(value: int) -> int:
    step = 10 ** max(len(str(value)) - 2, 0)
    return -(-value // step) * step
