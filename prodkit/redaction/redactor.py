"""Cleaning a value of any shape by a policy."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from prodkit.redaction import personal, secrets
from prodkit.redaction.classes import SECRETS, check_policy
from prodkit.redaction.text import Span, Text, has_surrogates, mend, merge
from prodkit.redaction.values import Counts, Walker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.records import JSON
    from prodkit.redaction.classes import Action
    from prodkit.redaction.text import Finder

_FINDERS: tuple[Callable[[Text], Any], ...] = (*secrets.FINDERS, *personal.FINDERS)
_MEDIA = re.compile(r"data:(?:image|audio|video)/[\w.+\-]{1,64};base64,([A-Za-z0-9+/=]{64,}+)")
_SHORT, _REMEMBERED = 80, 4096  # characters, texts
_LETTERS = str.maketrans("0123456789", "ghijklmnop")  # a hash without digits is never taken for a number


class Cleaned(NamedTuple):
    """A value that may be written, and how many findings of each class were taken out of it."""

    value: JSON
    counts: dict[str, int]


class Redactor:
    """Takes secrets and personal data out of values.

    Args:
        policy: class of finding -> `redact` (a marker), `hash` (a marker with a keyed hash, so that equal values stay
            equal) or `keep`. `secrets` and `personal` stand for all of their classes. The default is `redact`.
        key: the project's key for hashes.
        finders: further finders, e.g. `prodkit.redaction.names.finder()`.

    Raises:
        ConfigError: the policy is wrong, see `check_policy`.
    """

    def __init__(self, policy: Mapping[str, str], key: bytes | None, *, finders: Sequence[Finder] = ()) -> None:
        self._actions: dict[str, Action] = check_policy(policy, key)
        self._key = key or b""
        self._finders = (*_FINDERS, *finders)
        self._seen: dict[str, str] | None = None
        self._harmless: dict[str, None] = {}  # most strings of a call are its protocol's: roles, names, models

    def once(self) -> Redactor:
        """This rule for one record whose texts stand in it several times: it cleans, and counts, each of them once."""
        rule = Redactor.__new__(type(self))
        rule.__dict__.update(self.__dict__)
        rule._seen = {}  # noqa: SLF001  our own copy
        return rule

    def clean(self, value: object) -> Cleaned:
        """A JSON-able copy of `value` without what the policy doesn't let through.

        Takes strings, bytes, numbers, dates, mappings (their keys are cleaned too), sequences, dataclasses, pydantic
        models and exceptions, nested. Never raises: what can't be cleaned becomes `[redacted:uncleanable]`.
        """
        counts: Counts = defaultdict(int)
        if type(value) is str:
            return Cleaned(self._clean_text(value, counts), dict(counts))
        walker = Walker(lambda text: self._clean_text(text, counts), self._replace, counts, self._harmless)
        return Cleaned(walker.clean(value), dict(counts))

    def _clean_text(self, text: str, counts: Counts) -> str:
        """One text; anything that goes wrong makes it a marker."""
        if text in self._harmless:  # found clean before, as it stands
            return text
        if self._seen is None:
            return self._clean_new(text, counts)
        cleaned = self._seen.get(text)
        if cleaned is None:
            cleaned = self._seen[text] = self._clean_new(text, counts)
        return cleaned

    def _clean_new(self, text: str, counts: Counts) -> str:
        try:
            if has_surrogates(text):
                text = mend(text)
            if ";base64," in text:
                return self._clean_around_media(text, counts)
            return self._clean_plain(text, counts)
        except Exception:
            counts["uncleanable"] += 1
            return "[redacted:uncleanable]"

    def _clean_around_media(self, text: str, counts: Counts) -> str:
        """Pictures and sound in data URLs are megabytes in which no rule could find anything."""
        parts, position = [], 0
        for match in _MEDIA.finditer(text):
            parts += [self._clean_plain(text[position : match.start(1)], counts), match[1]]
            position = match.end()
        return "".join([*parts, self._clean_plain(text[position:], counts)])

    def _clean_plain(self, text: str, counts: Counts) -> str:
        if not text:
            return text
        spans = self._spans(text)
        if spans:
            return self._cut(text, spans, counts)
        if len(text) <= _SHORT:
            if len(self._harmless) >= _REMEMBERED:
                self._harmless.clear()
            self._harmless[text] = None
        return text

    def _cut(self, text: str, spans: list[Span], counts: Counts) -> str:
        parts, position = [], 0
        for span in spans:
            parts += [text[position : span.start], self._replace(text[span.start : span.end], span.kind)]
            counts[span.kind] += 1
            position = span.end
        return "".join([*parts, text[position:]])

    def _spans(self, text: str) -> list[Span]:
        searched = Text(text)
        found = [span for finder in self._finders for span in finder(searched)]
        if not found:
            return found
        return merge((span for span in found if self._actions.get(span.kind) != "keep"), SECRETS)

    def _replace(self, value: str, kind: str) -> str:
        if self._actions.get(kind) != "hash":
            return f"[redacted:{kind}]"
        digest = hmac.digest(self._key, f"{kind}:{value}".encode(), hashlib.sha256).hex()[:16]
        return f"[hashed:{kind}:{digest.translate(_LETTERS)}]"
