"""Finding personal data that has a form: addresses, numbers with check digits, telephone numbers.

Numbers are searched once for regions of digits; only what is a region is then classified. Prose without long numbers
costs one pass.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prodkit.redaction import checks
from prodkit.redaction.text import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prodkit.redaction.text import Text

_DOMAIN = re.compile(r"@(?:[^\W_](?:[\w\-]{0,61}[^\W_])?\.){1,8}[^\W\d_][\w\-]{1,23}(?![\w\-])")
_LOCAL = frozenset("._%+'-")
_LOCAL_LENGTH = 64

_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]?\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{6,39}(?:%\w{1,15})?(?![\w:])")
_MAC = re.compile(r"(?<![\w:\-])[0-9A-Fa-f]{2}([:\-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:\-])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ \-\u00a0]?[A-Z0-9]{1,4}){3,8}")
_CODICE = re.compile(r"(?<![A-Za-z0-9])[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![A-Za-z0-9])")
_NINO = re.compile(r"(?<![A-Za-z0-9])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![A-Za-z0-9])")
_DNI = re.compile(r"(?<![A-Za-z0-9])(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z](?![A-Za-z0-9])")
_CARD = re.compile(r"(?<![\d.])(?:\d{4}([ \-]?)\d{4}\1\d{4}\1\d{1,7}|\d{4}([ \-]?)\d{6}\2\d{4,5})(?![\d])")
_SSN = re.compile(r"(?<![\d\-])\d{3}([\- ])\d{2}\1\d{4}(?![\d\-])")
_CPF = re.compile(r"(?<![\d.])\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)")
_AADHAAR = re.compile(r"(?<![\d\-])\d{4}([ \-])\d{4}\1\d{4}(?![\d\-]| \d)")
_AHV = re.compile(r"(?<![\d.])756\.\d{4}\.\d{4}\.\d{2}(?!\d)")
_NIR = re.compile(r"(?<!\d)[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d{2} ?\d{3} ?\d{3} ?\d{2}(?!\d)")
_PERSONNUMMER = re.compile(r"(?<!\d)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[\-+]\d{4}(?!\d)")

_PHONES = (
    re.compile(r"(?<![\w+])\+[1-9]\d{0,3}(?:[ .\-/\u00a0\u2011]?\(?\d{1,5}\)?){2,7}(?!\d)"),
    re.compile(r"(?<![\d.\-])00[1-9]\d{1,2}[ \-/](?:[ .\-/]?\(?\d{1,5}\)?){2,6}(?!\d)"),
    re.compile(r"(?<![\d.\-])(?:1[ .\-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.\- ])[2-9]\d{2}[.\- ]\d{4}(?![\d\-.]?\d)"),
    re.compile(r"(?<![\d.\-/])\(?0[1-9]\d{0,4}\)?[ /\-](?:\d{2,4}[ \-]){0,4}\d{2,8}(?![\d/.\-]?\d)"),
)
_BARE_PHONE = re.compile(r"(?<!\d)[+(]?\d(?:[ .\-/()]{0,2}\d){6,14}(?!\d)")
_PHONE_WORDS = re.compile(
    r"(?:phone|tel\b|tel\.|telefon|téléphone|mobile|mobil|cell|handy|whatsapp|fax|call|dial|sms)[^\d\n]{0,24}\Z"
)
_DATE = re.compile(r"\(?(?:\d{4}[\-/.]\d{1,2}[\-/.]\d{1,2}|\d{1,2}[\-/.]\d{1,2}[\-/.]\d{2,4})(?!\d)")
_PHONE_DIGITS = range(8, 16)

_ID_WORDS = re.compile(
    r"(?:ssn|social security|tax id|steuer-?id|steuernummer|pesel|bsn|burgerservice|cpf|nif|nie|dni|national id|"
    r"personal id|identity (?:no|number)|aadhaar|nhs|sozialversicherung|insurance number|insee)[^\d\n]{0,24}\Z"
)
_BARE_ID = re.compile(r"(?<!\d)\d(?:[ .\-/]?\d){7,14}(?!\d)")

_BIRTH = re.compile(
    r"(?:date of birth|birth ?date|birthday|born(?: on)?|d\.?o\.?b\.?|geburtsdatum|geboren(?: am)?|date de naissance|"
    r"fecha de nacimiento)[\"']?[^\w\n]{0,6}(?P<date>\d{1,4}[\-/. ]{1,2}(?:\d{1,2}|[A-Za-zä]{3,9})[\-/. ,]{1,2}\d{2,4}|"
    r"[A-Z][a-z]{2,8} \d{1,2},? \d{4})",
    re.IGNORECASE,
)
_BIRTH_GATES = ("birth", "born", "dob", "d.o.b", "gebor", "geburt", "naissance", "nacimiento")
_PASSPORT = re.compile(
    r"passport[^\w\n]{0,4}(?:no|nr|number|num|id|is)?[^\w\n]{0,6}(?P<id>[A-Z]{0,3}\d{6,9}[A-Z]?)\b", re.IGNORECASE
)


def find_emails(text: Text) -> Iterator[Span]:
    """E-mail addresses, found from their domain backwards."""
    raw = text.raw
    if "@" not in raw:
        return
    for match in _DOMAIN.finditer(raw):
        at = match.start()
        start = at
        while start > max(0, at - _LOCAL_LENGTH) and (raw[start - 1].isalnum() or raw[start - 1] in _LOCAL):
            start -= 1
        while start < at and raw[start] in ".'%":
            start += 1
        if start < at:
            yield Span(start, match.end(), "email")


def find_numbers(text: Text) -> Iterator[Span]:
    """Whatever holds a region of six digits or more: cards, identities, telephones, addresses of machines."""
    raw = text.raw
    for first, last in text.numbers:
        # a few characters more on both sides, as letters and signs belong to some numbers
        start, end = max(0, first - 2), min(len(raw), last + 2)
        for kind, pattern, check in _NUMBERS:
            for match in pattern.finditer(raw, start, end):
                if check(match[0]):
                    yield Span(*match.span(), kind)
        yield from _find_phones(text, start, last)


def _find_phones(text: Text, start: int, end: int) -> Iterator[Span]:
    raw, before = text.raw, text.lower[max(0, start - 40) : start]
    patterns: tuple[tuple[str, re.Pattern[str]], ...] = tuple(("phone", pattern) for pattern in _PHONES)
    if _PHONE_WORDS.search(before):
        patterns += (("phone", _BARE_PHONE),)
    if _ID_WORDS.search(before):
        patterns += (("national_id", _BARE_ID),)
    for kind, pattern in patterns:
        for match in pattern.finditer(raw, start, end):
            if not _DATE.match(match[0]) and len(checks.digits_of(match[0])) in _PHONE_DIGITS:
                yield Span(*_trimmed(match), kind)


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    return match.start(), match.start() + len(match[0].rstrip(" .-/("))


def find_lettered(text: Text) -> Iterator[Span]:
    """Numbers that begin with letters: IBAN, codice fiscale, NINO."""
    raw = text.raw
    if text.numbers and text.lower != raw:
        for match in _IBAN.finditer(raw):
            yield from _iban(match)
        yield from (Span(*match.span(), "national_id") for match in _NINO.finditer(raw))
    if text.long_words and _CODICE.search(text.long_words):
        for match in _CODICE.finditer(raw):
            if checks.is_codice_fiscale(match[0]):
                yield Span(*match.span(), "national_id")


def _iban(match: re.Match[str]) -> Iterator[Span]:
    """The pattern may have taken a word behind the number: try shorter and shorter."""
    value = match[0]
    for end in range(len(value), 14, -1):
        if checks.is_iban(re.sub(r"[ \-\u00a0]", "", value[:end])) and value[end - 1] not in " -\u00a0":
            yield Span(match.start(), match.start() + end, "iban")
            return


def find_machines(text: Text) -> Iterator[Span]:
    """IPv6 and MAC addresses."""
    raw = text.raw
    if "::" in raw or raw.count(":") >= 7:  # noqa: PLR2004
        for match in _IPV6.finditer(raw):
            value = match[0].split("%")[0]
            if any(c.isdigit() for c in value) and sum(map(bool, value.split(":"))) > 1 and checks.is_public_ip(value):
                yield Span(*match.span(), "ip_address")
    for match in _MAC.finditer(raw) if text.long_words and _MAC.search(text.long_words) else ():
        if len(set(match[0])) > 3:  # noqa: PLR2004  not 00:00:00:00:00:00
            yield Span(*match.span(), "mac_address")


def find_papers(text: Text) -> Iterator[Span]:
    """Dates of birth and passports, by the words before them."""
    lower = text.lower
    if any(gate in lower for gate in _BIRTH_GATES):
        yield from (Span(*match.span("date"), "birth_date") for match in _BIRTH.finditer(text.raw))
    if "passport" in lower:
        yield from (Span(*match.span("id"), "passport") for match in _PASSPORT.finditer(text.raw))


def _on_digits(check: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda value: check(checks.digits_of(value))


_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("credit_card", _CARD, _on_digits(checks.is_card)),
    ("ip_address", _IPV4, checks.is_public_ip),
    ("national_id", _SSN, _on_digits(checks.is_ssn)),
    ("national_id", _CPF, _on_digits(checks.is_cpf)),
    ("national_id", _AADHAAR, _on_digits(checks.is_aadhaar)),
    ("national_id", _AHV, _on_digits(checks.is_ahv)),
    ("national_id", _NIR, _on_digits(checks.is_nir)),
    ("national_id", _PERSONNUMMER, _on_digits(checks.luhn)),
    ("national_id", _DNI, lambda value: checks.is_dni(value.replace("-", ""))),
)

FINDERS = (find_emails, find_numbers, find_lettered, find_machines, find_papers)
