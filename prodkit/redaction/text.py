"""A text while it is searched, and what is found in it."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.+/=~$:!%@"
# A text is mapped to two kinds of bytes, those of words and others: a substring search then finds long words several
# times as fast as a pattern does.
_IN, _OUT = b"x", b" "
_KINDS = bytes(_IN[0] if code in _WORD else _OUT[0] for code in range(256))
_LONG = _IN * 15
_NUMBER = re.compile(r"[0-9][0-9 .\-/()\u00a0\u2009\u2011]{5,}+")

MARKER_STARTS = ("[redacted:", "[hashed:")
INSIDE_MARKER = re.compile(r"\[(?:redacted|hashed):[a-z_]{0,32}\Z")


class Span(NamedTuple):
    """A piece of a text that must not be written, and what it is."""

    start: int
    end: int
    kind: str


class Text:
    """A text and what several finders need to know of it: each is made once."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        lower = raw.lower()
        # a few capitals (the Turkish dotted one) become two characters; positions must stay the same
        self.lower = lower if len(lower) == len(raw) else "".join(c if len(c.lower()) > 1 else c.lower() for c in raw)

    @cached_property
    def long_words(self) -> str:
        """The different words that are long enough to be a token, one a line. Ordinary prose has none."""
        kinds = self.raw.encode("ascii", "replace").translate(_KINDS)  # one byte a character: positions stay the same
        found: dict[str, None] = {}
        at = kinds.find(_LONG)
        while at >= 0:
            end = kinds.find(_OUT, at)
            end = end if end >= 0 else len(kinds)
            found[self.raw[at:end]] = None
            at = kinds.find(_LONG, end)
        return "\n".join(found)

    @cached_property
    def numbers(self) -> list[tuple[int, int]]:
        """Regions of digits and what may stand between them, at least six characters long."""
        return [match.span() for match in _NUMBER.finditer(self.raw)]

    def positions(self, word: str) -> Iterator[int]:
        """Where a lower-case word stands."""
        at = self.lower.find(word)
        while at >= 0:
            yield at
            at = self.lower.find(word, at + len(word))


if TYPE_CHECKING:
    Finder = Callable[[Text], Iterable[Span]]


def merge(spans: Iterable[Span], secret_kinds: frozenset[str]) -> list[Span]:
    """Spans in order, without overlaps: a secret wins over personal data, of equals the longer one names the union."""
    merged: list[Span] = []
    for span in sorted(spans):
        last = merged[-1] if merged else None
        if last is None or span.start >= last.end:
            merged.append(span)
        elif (span.kind in secret_kinds) != (last.kind in secret_kinds):
            # what sticks out of the secret, such as the host behind a URL's password, isn't personal by itself
            merged[-1] = span if span.kind in secret_kinds else last
        else:
            longer = max(last, span, key=lambda one: one.end - one.start)
            merged[-1] = Span(last.start, max(last.end, span.end), longer.kind)
    return merged


def has_surrogates(text: str) -> bool:
    """True when the text can't be written as UTF-8."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def mend(text: str) -> str:
    """Join surrogate pairs and replace lone halves, so that the text can be written."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
