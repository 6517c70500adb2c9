"""Values that are secret because of the name before them: `password = ...`, `"api_key": "..."`, `Cookie: ...`."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from prodkit.redaction.text import INSIDE_MARKER, MARKER_STARTS, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.redaction.text import Text

# gate -> what continues it forwards, what must stand before it, whether it names a password
_NAMES_BY_GATE: tuple[tuple[str, re.Pattern[str], re.Pattern[str] | None, bool], ...] = (
    ("pass", re.compile(r"word|wd|phrase|wort|code"), None, True),
    ("kennwort", re.compile(""), None, True),
    ("contrase", re.compile("ña"), None, True),
    ("pwd", re.compile(""), None, True),
    (
        "key",
        re.compile(""),
        re.compile(
            r"(?:api|access|secret|private|signing|encryption|auth|account|subscription|master|license|app)[_\- .]?\Z"
        ),
        False,
    ),
    ("secret", re.compile(""), None, False),
    ("token", re.compile(""), None, False),
    ("credential", re.compile("s?"), None, False),
)

_AFTER = re.compile(
    r"(?:[_\-.]?(?:key|value|val|prod|dev|test|live|main|old|new|base64|b64|plain|text|string|\d{1,3}))?"
    r"[\"'`\])\\]{0,5}"
    r"(?P<sep>\s{0,4}(?:=>|:=|={1,2}|:|>)\s{0,4}|\s{1,4}(?:is|was|lautet|ist|es)\s{0,2}:?\s{1,2}|\s{1,3}(?=[\"'`]))"
    r"(?:[rbufRBUF]{1,2}(?=[\"']))?"
)
_ARGUMENT = re.compile(r"[\s=]\s{0,3}")
_QUOTED = re.compile(r"\\{0,3}(?P<quote>[\"'`])(?P<value>[^\"'`\r\n]{1,1024}?)\\{0,3}(?:(?P=quote)|$)", re.MULTILINE)
_BARE = re.compile(r"(?:[^\s\"'`<>,;&|){}\]]|&(?![A-Za-z_]{1,24}=)){1,1024}+")
_PLACEHOLDER = re.compile(
    r"[<$%{\[(*#].*|x{3,}.*|\.{3,}.*|(?:your|my|the|some|enter|insert|replace|change)[_\-\s].*|.*\.{3}|\*+|-+",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = frozenset(
    {
        *("string", "str", "text", "password", "passwd", "pwd", "none", "null", "nil", "true", "false", "required"),
        *("optional", "hidden", "input", "value", "secret", "token", "bytes", "int", "integer", "object", "any"),
        *("undefined", "example", "redacted", "unknown", "empty", "bool", "boolean", "varchar", "char", "field"),
        *("nullable", "self", "args", "env", "config", "settings", "default", "basic", "bearer", "missing", "invalid"),
        *("wrong", "expired", "reset", "changed", "incorrect"),
    }
)
_NAMES = re.compile(
    r"pass|pwd|secret|token|key|cred|self\.|args|config|settings|getenv|environ|env\b|vault|prompt", re.IGNORECASE
)
_CODE = re.compile(
    r"[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*[(\[]|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\Z|https?://|\$\{|/[\w./-]+\Z"
)
_SYMBOL = re.compile(r"[^A-Za-z0-9_.\-/:]")
_SCHEME = re.compile(
    r"[\"'`\\\]]{0,4}\s{0,3}[:=,]\s{0,3}[\"'`\\]{0,3}(?P<scheme>(?:basic|bearer|token|digest|apikey|api-key|negotiate|key)\s+)?"
    r"(?P<value>[^\s\"'`,;\\<>]{6,4096}+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\s+(?P<value>[A-Za-z0-9\-._~+/]{12,4096}+=*)")
_COOKIE = re.compile(r"[\"'\\]{0,3}\s{0,2}:\s{0,2}[\"'\\]{0,3}(?P<value>[^\r\n\"'\\]{4,8192}+)")


def find_assignments(text: Text) -> Iterator[Span]:
    """Values behind names of secrets."""
    for gate, rest, before, is_password in _NAMES_BY_GATE:
        if gate in text.lower:
            for start, end in _names(text, gate, rest, before):
                yield from _judge(text.raw, start, end, is_password=is_password)
    yield from _find_headers(text)


def _names(text: Text, gate: str, rest: re.Pattern[str], before: re.Pattern[str] | None) -> Iterator[tuple[int, int]]:
    for at in text.positions(gate):
        match = rest.match(text.lower, at + len(gate))
        if match is not None and (before is None or before.search(text.lower[max(0, at - 16) : at])):
            yield at, match.end()


def _judge(raw: str, start: int, end: int, *, is_password: bool) -> Iterator[Span]:
    found = _value(raw, start, end)
    if found is None or INSIDE_MARKER.search(raw[max(0, start - 40) : start]):
        return
    begin, stop, separator, quoted = found
    judge = looks_like_password if is_password else looks_like_key
    if judge(raw[begin:stop], separator=separator, quoted=quoted):
        yield Span(begin, stop, "password" if is_password else "secret")


def _value(raw: str, start: int, end: int) -> tuple[int, int, str, bool] | None:
    """Start and end of the value behind a name, the separator, and whether the value is in quotes."""
    after = _AFTER.match(raw, end)
    if after is None:
        argument = _ARGUMENT.match(raw, end) if _is_option(raw, start) else None
        if argument is None:
            return None
        begin, separator = argument.end(), "="
    else:
        begin, separator = after.end(), after["sep"].strip()
    quoted = _QUOTED.match(raw, begin)
    if quoted is not None:
        return quoted.start("value"), quoted.end("value"), separator, True
    bare = _BARE.match(raw, begin)
    return None if bare is None else (bare.start(), bare.end(), separator, False)


def _is_option(raw: str, start: int) -> bool:
    """The name is a command-line option, or the word of a netrc line."""
    window = raw[max(0, start - 48) : start]
    return re.search(r"--[\w\-]{0,32}\Z|\blogin\s+\S{1,40}\s+\Z", window) is not None


def looks_like_password(value: str, *, separator: str = "=", quoted: bool = True) -> bool:
    """Whether the value of a password's name is one, and not a word of the sentence or a piece of code."""
    if not _is_plausible(value, least=3):
        return False
    if any(letter.isspace() for letter in value):
        return quoted and separator in {"=", ":="} and any(letter.isdigit() for letter in value)
    if quoted:
        return True
    value = value.rstrip(".:!?")
    if value.lower() in _WORDS or _CODE.match(value):
        return False
    mixed = any(letter.isdigit() for letter in value) or _SYMBOL.search(value) is not None
    if mixed:
        return len(value) >= 4  # noqa: PLR2004  a PIN has four digits
    return separator in {"=", ">"} and not _NAMES.search(value) and len(value) >= 4  # noqa: PLR2004


def looks_like_key(value: str, *, separator: str = "=", quoted: bool = True) -> bool:
    """Whether the value of a key's or token's name is random enough to be one."""
    least = 8 if quoted or separator == "=" else 12
    if not _is_plausible(value, least=least) or any(letter.isspace() for letter in value):
        return False
    if _CODE.match(value) or not any(letter.isdigit() for letter in value):
        return len(value) >= 20 and _is_mixed_case(value) and not _CODE.match(value)  # noqa: PLR2004
    return any(letter.isalpha() for letter in value) and entropy(value) >= min(3.0, math.log2(len(value)) - 0.6)


def _is_plausible(value: str, *, least: int) -> bool:
    if len(value) < least or value.startswith(MARKER_STARTS) or value.lower() in _WORDS:
        return False
    return _PLACEHOLDER.fullmatch(value) is None


def _is_mixed_case(value: str) -> bool:
    changes = sum(a.islower() and b.isupper() for a, b in itertools.pairwise(value))
    return changes >= 3 and entropy(value) > 3.5  # noqa: PLR2004


def entropy(value: str) -> float:
    """Bits per character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


def _find_headers(text: Text) -> Iterator[Span]:
    raw = text.raw
    for at in text.positions("authorization"):
        match = _SCHEME.match(raw, at + len("authorization"))
        if match is not None and looks_like_key(match["value"], separator=":" if match["scheme"] is None else "="):
            yield Span(*match.span("value"), "authorization")
    for at in text.positions("bearer"):
        match = _BEARER.match(raw, at + len("bearer"))
        if match is not None and looks_like_key(match["value"], quoted=False, separator=":"):
            yield Span(*match.span("value"), "authorization")
    for at in text.positions("cookie"):
        match = _COOKIE.match(raw, at + len("cookie"))
        if match is not None and "=" in match["value"] and not match["value"].startswith(MARKER_STARTS):
            yield Span(*match.span("value"), "cookie")
