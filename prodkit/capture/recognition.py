"""The constant part of many prompts: the template that nobody wrote down."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]", re.UNICODE)
_HOLE = "\0"  # stands for a part that differs; never part of a prompt that JSON can carry to a model
_SAMPLES = 12
_TOKENS = 1_500
_SHORTEST = 12  # letters of constant text, below which nothing is known
_EDGES = (2, 4, 6)  # so many first or last words tell prompts of one kind from others
_WORDS = 3
_DEPTH = 5  # halvings: up to 31 constant parts between the first and the last

Tokens = list[str]


def common_template(texts: Sequence[str], *, whole_if_alone: bool) -> str:
    """The template that most of the texts were made with, as `str.format` takes it; empty when there is none.

    Args:
        texts: in any order; equal ones say nothing more than one of them.
        whole_if_alone: take a text that is always the same for a template, even if it was seen once.
    """
    different = list(dict.fromkeys(texts))
    if len(different) == 1:
        constant = whole_if_alone or len(texts) > 1
        return _escape(different[0]) if constant and len(different[0].strip()) >= _SHORTEST else ""
    tokens = [_TOKEN.findall(text) for text in different]
    best, most = "", 0
    for group in _kinds(tokens):
        found = _constants(_spread(group))
        weight = _weight(found)
        if weight >= _SHORTEST and weight * len(group) > most:
            best, most = _render(found), weight * len(group)
    return best


def _kinds(texts: list[Tokens]) -> Iterator[list[Tokens]]:
    """Groups of texts that may be of one template: all of them, and those that begin or end alike."""
    yield texts
    for size in _EDGES:
        for backwards in (False, True):
            alike: dict[tuple[str, ...], list[Tokens]] = defaultdict(list)
            for text in texts:
                words = [token for token in text if not token.isspace()]
                alike[tuple(words[-size:] if backwards else words[:size])].append(text)
            group = max(alike.values(), key=len)
            if 1 < len(group) < len(texts) <= 2 * len(group):  # fewer than half are no kind: people close letters alike
                yield group


def _spread(texts: list[Tokens]) -> list[Tokens]:
    """Some of the texts, from their beginning to their end."""
    if len(texts) <= _SAMPLES:
        return texts
    step = (len(texts) - 1) / (_SAMPLES - 1)
    return [texts[round(index * step)] for index in range(_SAMPLES)]


def _constants(texts: list[Tokens]) -> Tokens:
    """What all texts have in the same order, with holes where they differ."""
    head = _shared_start(texts)
    rest = [text[head:] for text in texts]
    tail = _shared_start([text[::-1] for text in rest])
    middle = [_limited(text[: len(text) - tail]) for text in rest]
    end = rest[0][len(rest[0]) - tail :]
    return [*texts[0][:head], *_between(middle), *end]


def _limited(part: Tokens) -> Tokens:
    """A part that can be searched in reasonable time: without the middle of what is very long."""
    return part if len(part) <= _TOKENS else [*part[: _TOKENS // 2], _HOLE, *part[-_TOKENS // 2 :]]


def _between(parts: list[Tokens], depth: int = _DEPTH) -> Tokens:
    """The constants inside of parts that begin and end differently."""
    if not any(parts):
        return []
    shared = _longest_shared(parts) if depth else ()
    if not shared:
        return [_HOLE]
    places = [_find(part, shared) for part in parts]
    left = [part[:at] for part, at in zip(parts, places, strict=True)]
    right = [part[at + len(shared) :] for part, at in zip(parts, places, strict=True)]
    return [*_between(left, depth - 1), *shared, *_between(right, depth - 1)]


def _shared_start(texts: list[Tokens]) -> int:
    """How many first tokens all texts share."""
    count = 0
    for column in zip(*texts, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count


def _longest_shared(parts: list[Tokens]) -> tuple[str, ...]:
    """The longest run of tokens that is in all parts and looks like somebody's words; empty when there is none."""
    found: tuple[str, ...] = ()
    low, high = 1, min(map(len, parts))
    while low <= high:
        size = (low + high) // 2
        runs = _shared_runs(parts, size)
        if runs:
            low = size + 1
        else:
            high = size - 1
    for size in range(high, 0, -1):
        said = [run for run in _shared_runs(parts, size) if _is_said("".join(run))]
        if said:
            found = max(said, key=_weight)
            break
    return found


def _shared_runs(parts: list[Tokens], size: int) -> set[tuple[str, ...]]:
    runs: set[tuple[str, ...]] | None = None
    for part in parts:
        here = {tuple(part[at : at + size]) for at in range(len(part) - size + 1)}
        runs = here if runs is None else runs & here
        if not runs:
            return set()
    return runs or set()


def _find(part: Tokens, run: tuple[str, ...]) -> int:
    return next(at for at in range(len(part)) if tuple(part[at : at + len(run)]) == run)


def _is_said(text: str) -> bool:
    """Whether a part between two differing ones looks like a label, a line or a phrase, and not like chance."""
    words = re.findall(r"\w+", text)
    return bool(words) and ("\n" in text or ":" in text or len(words) >= _WORDS)


def _weight(tokens: Sequence[str]) -> int:
    """Letters of constant text."""
    return sum(len(token) for token in tokens if token != _HOLE and not token.isspace())


def _render(tokens: Tokens) -> str:
    rendered, holes = [], 0
    for token in tokens:
        if token == _HOLE:
            holes += 1
            rendered.append("{value}" if holes == 1 else f"{{value_{holes}}}")
        else:
            rendered.append(_escape(token))
    return "".join(rendered)


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
