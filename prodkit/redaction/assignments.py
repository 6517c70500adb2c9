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

_KEY_KINDS = (
    "api|access|secret|private|signing|encryption|auth|account|subscription|master|license|app|storage|shared|service"
)
# what may stand between a name and its value, in lower case
_SEPARATOR = (
    r"(?:[_\-.]?(?:key|value|val|prod|dev|test|live|main|old|new|base64|b64|plain|text|string|\d{1,3}))?"
    r"[\"'`\])\\]{0,5}"
    r"(?P<sep>\s{0,4}(?:=>|:=|={1,2}|:|>)\s{0,4}|\s{1,4}(?:is|was|lautet|ist|es)\s{0,2}:?\s{1,2}|"
    r"[\s,]{1,8}[\"'\\]{0,3}value[\"'\\]{0,3}\s{0,2}[=:]\s{0,2}|\s{1,3}(?=[\"'`]))"
    r"(?:[rbuf]{1,2}(?=[\"']))?"
)
# gate -> how a name with it goes on; the gate is the literal that the pattern begins with, which makes it fast
_PASSWORDS = {
    gate: re.compile(gate + rest + _SEPARATOR)
    for gate, rest in {
        "pass": "(?:word|wd|phrase|wort|code)",
        "pwd": "",
        "kennwort": "",
        "contrase": "ña",
    }.items()
}
_KEYS = {
    gate: re.compile(gate + rest + _SEPARATOR)
    for gate, rest in {"key": "", "secret": "", "token": "", "credential": "s?"}.items()
}
_BEFORE_KEY = re.compile(rf"(?:{_KEY_KINDS})[_\- .]?\Z")
_OPTION = re.compile(r"--[\w\-]{0,32}?(?:password|passwd|passphrase|secret|token|api-?key)[\w\-]{0,16}[\s=]{1,3}")
_NETRC = re.compile(r"login\s{1,4}\S{1,64}\s{1,4}password\s{1,4}")

_PAIR = re.compile(r"[\w.\-]{1,64}=(?!\[(?:redacted|hashed):)\S{2}")
_CURL = re.compile(r"\s(?:-u|--user)[\s=]{0,3}[\"']?[^\s:\"']{1,64}:([^\s\"']{3,256}+)")
_MANIFEST = re.compile(r"kind[\"']?\s{0,4}:\s{0,4}[\"']?secret\b")
_MANIFEST_VALUE = re.compile(
    r"^[ \t]{1,16}[\w.\-]{1,64}:[ \t]{1,4}[\"']?([A-Za-z0-9+/]{8,65536}+={0,2})[\"']?[ \t]*$", re.MULTILINE
)
_SESSION = re.compile(r"session(?:_?id)?=([A-Za-z0-9%+/=_\-]{20,4096}+)", re.IGNORECASE)

_QUOTED = {quote: re.compile(rf"(?:[^{quote}\\\r\n]++|\\.)++") for quote in "\"'`"}
_ESCAPED_QUOTED = re.compile(r"[^\"'`\\\r\n]++")
_OPENING = re.compile(r"(?P<escape>\\{0,3})(?P<quote>[\"'`])")
_BARE = re.compile(r"(?:[^\s\"'`<>,;&|){}\]]|&(?![A-Za-z_]{1,24}=)){1,256}+")
_BARE_REST = re.compile(r"[^\s\"'`<>,;&|){}\]]*+")
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
_IDENTIFIER = re.compile(r"[A-Za-z_]*(?:pass|pwd)[a-z]*_?[a-z_]*")
_SPACE = re.compile(r"\s")
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
    lower = text.lower
    for patterns, kind in ((_PASSWORDS, "password"), (_KEYS, "secret")):
        for gate, pattern in patterns.items():
            if gate in lower:
                yield from _find(text, pattern, kind)
    for gate, pattern in (("--", _OPTION), ("login", _NETRC)):
        if gate in lower:
            for match in pattern.finditer(lower):
                span = _judge(text.raw, match.end(), "=", "password" if "pass" in match[0] else "secret")
                if span is not None:
                    yield span


def find_places(text: Text) -> Iterator[Span]:
    """Values that are secret because of where they stand: curl's user, a Kubernetes secret, a session's cookie."""
    raw, lower = text.raw, text.lower
    if "curl" in lower and "-u" in lower:
        yield from (Span(*match.span(1), "password") for match in _CURL.finditer(raw))
    if "data:" in lower and _MANIFEST.search(lower):
        yield from (Span(*match.span(1), "secret") for match in _MANIFEST_VALUE.finditer(raw))
    if "session" in lower:
        yield from (Span(*match.span(1), "cookie") for match in _SESSION.finditer(raw))


def _find(text: Text, pattern: re.Pattern[str], kind: str) -> Iterator[Span]:
    lower, done = text.lower, 0
    for match in pattern.finditer(lower):
        start = match.start()
        if start < done or lower.startswith(match[0][:4], match.end()):  # inside of a value, or a name again
            continue
        if lower.startswith("key", start) and not _BEFORE_KEY.search(lower[max(0, start - 16) : start]):
            continue
        if INSIDE_MARKER.search(lower[max(0, start - 40) : start]):
            continue
        span = _judge(text.raw, match.end(), match["sep"].strip(), kind)
        if span is not None:
            done = span.end
            yield span


def _judge(raw: str, begin: int, separator: str, kind: str) -> Span | None:
    start, end, quoted = _value(raw, begin)
    judge = looks_like_password if kind == "password" else looks_like_key
    if end == start or not judge(raw[start:end], separator=separator, quoted=quoted):
        return None
    rest = None if quoted or end - start < _LONGEST_BARE else _BARE_REST.match(raw, end)
    return Span(start, rest.end() if rest else end, kind)


_LONGEST_BARE = 256


def _value(raw: str, begin: int) -> tuple[int, int, bool]:
    """Start and end of the value that begins here, and whether it is in quotes."""
    opening = _OPENING.match(raw, begin)
    if opening is None:
        bare = _BARE.match(raw, begin)
        return (begin, begin, False) if bare is None else (*bare.span(), False)
    pattern = _ESCAPED_QUOTED if opening["escape"] else _QUOTED[opening["quote"]]
    value = pattern.match(raw, opening.end())
    return (begin, begin, True) if value is None else (*value.span(), True)


def looks_like_password(value: str, *, separator: str = "=", quoted: bool = True) -> bool:
    """Whether the value of a password's name is one, and not a word of the sentence or a piece of code."""
    if not _is_plausible(value, least=3):
        return False
    if _SPACE.search(value):
        return quoted and separator in {"=", ":="} and any(letter.isdigit() for letter in value)
    if quoted:
        return not _IDENTIFIER.fullmatch(value)
    value = value.rstrip(".:!?")
    if value.lower() in _WORDS or _CODE.match(value):
        return False
    mixed = any(letter.isdigit() for letter in value) or _SYMBOL.search(value) is not None
    if mixed:
        return len(value) >= 4  # noqa: PLR2004  a PIN has four digits
    return separator in {"=", ">"} and not _NAMES.search(value) and len(value) >= 4  # noqa: PLR2004


def looks_like_key(value: str, *, separator: str = "=", quoted: bool = True) -> bool:
    """Whether the value of a key's or token's name is random enough to be one."""
    least = 8 if quoted or separator == "=" or _is_very_mixed(value) else 12
    if not _is_plausible(value, least=least) or _SPACE.search(value):
        return False
    if value.isdigit():
        return len(value) >= 16 and (quoted or separator == "=")  # noqa: PLR2004
    if _CODE.match(value) or not any(letter.isdigit() for letter in value):
        is_value = quoted or separator == "="  # behind a colon stands the type of an argument
        return is_value and len(value) >= 20 and _is_mixed_case(value) and not _CODE.match(value)  # noqa: PLR2004
    return any(letter.isalpha() for letter in value) and entropy(value) >= min(3.0, math.log2(len(value)) - 0.6)


def _is_plausible(value: str, *, least: int) -> bool:
    if len(value) < least or value.startswith(MARKER_STARTS) or value.lower() in _WORDS:
        return False
    return _PLACEHOLDER.fullmatch(value) is None


def _is_very_mixed(value: str) -> bool:
    """Capitals, small letters and digits."""
    return not (value.islower() or value.isupper()) and any(letter.isdigit() for letter in value)


def _is_mixed_case(value: str) -> bool:
    changes = sum(a.islower() and b.isupper() for a, b in itertools.pairwise(value))
    return changes >= 3 and entropy(value) > 3.5  # noqa: PLR2004


def entropy(value: str) -> float:
    """Bits per character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


def find_headers(text: Text) -> Iterator[Span]:
    """Credentials in HTTP headers."""
    raw, lower = text.raw, text.lower
    if "authorization" not in lower and "bearer" not in lower and "cookie" not in lower:
        return
    for at in text.positions("authorization"):
        match = _SCHEME.match(raw, at + len("authorization"))
        if match is not None and looks_like_key(match["value"], separator=":" if match["scheme"] is None else "="):
            yield Span(*match.span("value"), "authorization")
    for at in text.positions("bearer"):
        match = _BEARER.match(raw, at + len("bearer"))
        if match is not None and looks_like_key(match["value"], quoted=False, separator=":"):
            yield Span(*match.span("value"), "authorization")
    done = 0
    for at in text.positions("cookie"):
        match = _COOKIE.match(raw, at + len("cookie")) if at >= done else None
        if match is not None and _PAIR.match(match["value"]):
            done = match.end()
            yield Span(*match.span("value"), "cookie")
