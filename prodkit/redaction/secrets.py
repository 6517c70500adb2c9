"""Finding secrets: tokens by their form, and values by the name that they are assigned to."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from prodkit.redaction.assignments import find_assignments, find_headers, find_places
from prodkit.redaction.text import Span
from prodkit.redaction.tokens import TOKENS, Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prodkit.redaction.text import Text

_PAIRS_UP_TO = 1500
_MIXED = re.compile("[0-9A-Z]")
# what may stand in a word without digits and capitals, as most of those in code are; what looks random has either
_PLAIN = tuple(token for token in TOKENS if not token.random and not _MIXED.search(token.gate))
_REST = tuple(token for token in TOKENS if token not in _PLAIN)
_BY_PAIR: dict[int, list[Token]] = {}  # two characters, as the number that their bytes are
for _token in _REST:
    _BY_PAIR.setdefault(int.from_bytes(_token.gate[:2].encode("ascii"), sys.byteorder), []).append(_token)

_BEFORE = 96  # how far before its gate a token may begin
_RANDOM = re.compile(r"(?=[A-Za-z]*+\d)(?=\d*+[A-Za-z])[A-Za-z0-9]{7,}+|[A-Za-z]*[a-z][A-Z]{1,4}[a-z]{1,4}[A-Z]")
_ESCAPED = re.compile(r"(?:\\[nrtbf]|%[0-9A-Fa-f]{2}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2})\Z")

_JWT = re.compile(r"eyJ[\w\-]{8,}+\.[\w\-]{8,}+(?:\.[\w\-]*+){0,3}")
_JWT_IN_BASE64 = re.compile(r"ZXlK[A-Za-z0-9+/_\-]{40,}+={0,2}")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=\s\\:,.\-]*+")
_DISCORD = re.compile(r"\.[\w\-]{6}\.[\w\-]{27,45}+")
_DISCORD_BEFORE = re.compile(r"(?<![\w\-])[MNO][\w\-]{22,27}\Z")
_FACEBOOK = re.compile(r"(?:\||%(?:7C)?)[A-Za-z0-9_\-]{27,40}+(?![A-Za-z0-9_\-])")
_FACEBOOK_ID = 15  # digits
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])")
_USER_PASSWORD = re.compile(r"[^\s/?#@:'\"<>\\`]{0,128}+:(?!\d{1,5}[/?#])([^\s'\"<>`]{1,256})@")
_USER_TOKEN = re.compile(r"([^\s/?#@:'\"<>`]{16,256}+)@")


def find_tokens(text: Text) -> Iterator[Span]:
    """Tokens of known forms."""
    words = text.long_words
    if not words:
        return
    mixed = "\n".join(filter(_MIXED.search, words.split("\n"))) if text.raw.isascii() else words
    for token in (*_PLAIN, *_candidates(mixed)):
        if token.gate in words:
            yield from _find(token, text.raw)


def _candidates(words: str) -> Iterable[Token]:
    """The tokens whose gate begins with two characters that are there; on long texts all of them."""
    if len(words) > _PAIRS_UP_TO:
        return _REST
    even, odd = words.encode("ascii", "replace"), words[1:].encode("ascii", "replace")
    there = {*memoryview(even[: len(even) & ~1]).cast("H"), *memoryview(odd[: len(odd) & ~1]).cast("H")}
    pairs = _BY_PAIR.keys() & there
    return [token for pair in pairs for token in _BY_PAIR[pair]]


def _find(token: Token, raw: str) -> Iterator[Span]:
    at = raw.find(token.gate)
    while at >= 0:
        end = at + 1
        start = _begin(token, raw, at)
        match = token.pattern.match(raw, at) if start >= 0 else None
        if match is not None:
            end = match.end()
            if not token.random or _RANDOM.search(raw, at + len(token.gate), end):
                yield Span(start + token.skip, end, token.kind)
        at = raw.find(token.gate, end)


def _begin(token: Token, raw: str, at: int) -> int:
    """Where the token begins, -1 when it is the end of a longer word."""
    if token.before is not None:
        window = raw[max(0, at - _BEFORE) : at]
        match = token.before.search(window)
        return at - len(window) + match.start() if match else -1
    if at == 0 or token.inner:
        return at
    last = raw[at - 1]
    if not (last.isalnum() or last == "_") or not last.isascii():
        return at
    return at if _ESCAPED.search(raw[max(0, at - 6) : at]) else -1


def find_jwts(text: Text) -> Iterator[Span]:
    """JSON web tokens, signed or not."""
    if "eyJ" in text.long_words:
        yield from (Span(*match.span(), "jwt") for match in _JWT.finditer(text.raw))
    if "ZXlK" in text.long_words:
        yield from (Span(*match.span(), "jwt") for match in _JWT_IN_BASE64.finditer(text.raw))


def find_private_keys(text: Text) -> Iterator[Span]:
    """Private keys in PEM, also cut off ones."""
    raw = text.raw
    if "PRIVATE KEY" not in raw:
        return
    end = 0
    while (begin := _KEY_BEGIN.search(raw, end)) is not None:
        body = _KEY_BODY.match(raw, begin.end())
        end = body.end() if body else begin.end()
        closing = raw.find("-----END", begin.end(), end + 16)
        if closing >= 0:
            stop = raw.find("-----", closing + 8, closing + 80)
            end = stop + 5 if stop >= 0 else closing + 8
        yield Span(begin.start(), end, "private_key")


def find_url_passwords(text: Text) -> Iterator[Span]:
    """Passwords and tokens in front of a URL's host."""
    raw = text.raw
    if "@" not in raw:
        return
    for at in text.positions("://"):
        match = _USER_PASSWORD.match(raw, at + 3) or _USER_TOKEN.match(raw, at + 3)
        if match is not None and not match[1].startswith("[redacted"):
            yield Span(*match.span(1), "password")


def find_discord_tokens(text: Text) -> Iterator[Span]:
    """Discord bot tokens: three parts without any fixed letters."""
    raw = text.raw
    if text.long_words.count(".") < 2:  # noqa: PLR2004  two dots join three parts
        return
    for match in _DISCORD.finditer(raw):
        window = raw[max(0, match.start() - 32) : match.start()]
        before = _DISCORD_BEFORE.search(window)
        if before is not None and _RANDOM.search(before[0] + match[0]):
            yield Span(match.start() - len(window) + before.start(), match.end(), "discord_token")


def find_aws_secrets(text: Text) -> Iterator[Span]:
    """The secret half of an AWS key, which has no form of its own, near its public half."""
    raw = text.raw
    for gate in ("AKIA", "ASIA"):
        at = raw.find(gate) if gate in text.long_words else -1
        while at >= 0:
            for match in _AWS_SECRET.finditer(raw, at + 4, at + 240):
                if _RANDOM.search(match[0]):
                    yield Span(*match.span(), "aws_key")
            at = raw.find(gate, at + 200)


def find_facebook_tokens(text: Text) -> Iterator[Span]:
    """Facebook's app tokens: a number, a bar, letters."""
    if ("|" in text.raw or "%" in text.raw) and any(end - at >= _FACEBOOK_ID for at, end in text.numbers):
        for match in _FACEBOOK.finditer(text.raw):
            before = re.search(r"(?<!\d)\d{15,16}\Z", text.raw[max(0, match.start() - 17) : match.start()])
            if before is not None and _RANDOM.search(match[0]):
                yield Span(match.start() - len(before[0]), match.end(), "facebook_token")


FINDERS = (
    find_private_keys,
    find_tokens,
    find_jwts,
    find_url_passwords,
    find_discord_tokens,
    find_facebook_tokens,
    find_aws_secrets,
    find_assignments,
    find_headers,
    find_places,
)
