"""The constant part of many prompts: the template that nobody wrote down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]", re.UNICODE)
_HOLE = "\0"  # stands for a part that differs; never part of a prompt that JSON can carry to a model
_SAMPLES = 24
_TOKENS = 4_000
_SHORTEST = 12  # letters of constant text, below which nothing is known
_KEPT = 0.6  # a text of the same template leaves at least so much of its constant part


@dataclass
class _Group:
    """Texts that seem to be made with one template."""

    tokens: list[str]
    members: int = 1

    def fold(self, tokens: list[str]) -> list[str] | None:
        """The constant part that is left with one more text; None when it seems to be of another template."""
        merged = _merge(self.tokens, tokens)
        left, before = _weight(merged), _weight(self.tokens)
        if left < _SHORTEST:
            return None
        if self.members > 1:
            return merged if left >= _KEPT * before else None
        # two whole texts: what they share must be more than the words that any two texts share
        ends = _edge(merged) + _edge(merged[::-1])
        return merged if ends >= _SHORTEST or left >= _KEPT * min(before, _weight(tokens)) else None


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
    groups: list[_Group] = []
    for text in _spread(different, _SAMPLES):
        _place(groups, _TOKEN.findall(text)[:_TOKENS])
    largest = max(groups, key=lambda group: group.members, default=None)
    if largest is None or largest.members < 2:  # noqa: PLR2004  one text alone has no constant part
        return ""
    return _render(_without_chance(largest.tokens))


def _place(groups: list[_Group], tokens: list[str]) -> None:
    for group in groups:
        merged = group.fold(tokens)
        if merged is not None:
            group.tokens, group.members = merged, group.members + 1
            return
    groups.append(_Group(tokens))


def _spread(texts: list[str], limit: int) -> list[str]:
    """So many of the texts, from their beginning to their end."""
    if len(texts) <= limit:
        return texts
    step = (len(texts) - 1) / (limit - 1)
    return [texts[round(index * step)] for index in range(limit)]


def _merge(left: list[str], right: list[str]) -> list[str]:
    """The tokens that both have in the same order, with a hole wherever either has something between them."""
    merged: list[str] = []
    at_left = at_right = 0
    for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        if (block.a > at_left or block.b > at_right) and merged[-1:] != [_HOLE]:
            merged.append(_HOLE)
        for token in left[block.a : block.a + block.size]:
            if token != _HOLE or merged[-1:] != [_HOLE]:
                merged.append(token)
        at_left, at_right = block.a + block.size, block.b + block.size
    return merged


def _weight(tokens: Sequence[str]) -> int:
    """Letters of constant text."""
    return sum(len(token) for token in tokens if token != _HOLE and not token.isspace())


def _edge(tokens: Sequence[str]) -> int:
    """Letters of constant text before the first hole."""
    return _weight(tokens[: tokens.index(_HOLE)] if _HOLE in tokens else tokens)


def _without_chance(tokens: list[str]) -> list[str]:
    """Drop short constant parts between two holes: single words that the texts happen to share."""
    kept: list[str] = []
    for index, part in enumerate(parts := _parts(tokens)):
        inside = 0 < index < len(parts) - 1
        said = "".join(part)
        if part != [_HOLE] and inside and not _is_said(said):
            continue
        if part != [_HOLE] or kept[-1:] != [_HOLE]:
            kept.extend(part)
    return kept


def _is_said(text: str) -> bool:
    """Whether a constant part looks like somebody's words: a line, a label, or a few words."""
    return "\n" in text or text.rstrip().endswith(":") or len(text.split()) >= 3  # noqa: PLR2004


def _parts(tokens: list[str]) -> list[list[str]]:
    parts: list[list[str]] = []
    for token in tokens:
        if token == _HOLE or not parts or parts[-1] == [_HOLE]:
            parts.append([token])
        else:
            parts[-1].append(token)
    return parts


def _render(tokens: list[str]) -> str:
    if _weight(tokens) < _SHORTEST:
        return ""
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
