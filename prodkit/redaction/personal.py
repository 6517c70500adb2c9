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

_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{6,39}(?:%\w{1,15})?(?![\w:])")
_MAC = re.compile(r"(?<![\w:\-])[0-9A-Fa-f]{2}([:\-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:\-])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ \-\u00a0]?[A-Z0-9]{1,4}){3,8}")
_CODICE = re.compile(r"(?<![A-Za-z0-9])[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![A-Za-z0-9])")
_NINO = re.compile(r"(?<![A-Za-z0-9])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![A-Za-z0-9])")
_DNI = re.compile(r"(?<![A-Za-z0-9])(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z](?![A-Za-z0-9])")
_CARD = re.compile(r"(?<![\d.])(?:\d{4}([ \-]?)\d{4}\1\d{4}\1\d{1,7}|\d{4}([ \-]?)\d{6}\2\d{4,5})(?![\d])")
_SSN = re.compile(r"(?<![\d\-])(?<!\d )\d{3}([\- ])\d{2}\1\d{4}(?![\d\-]| \d)")
_CPF = re.compile(r"(?<![\d.])\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)")
_AADHAAR = re.compile(r"(?<![\d\-])(?<!\d )\d{4}([ \-])\d{4}\1\d{4}(?![\d\-]| \d)")
_AHV = re.compile(r"(?<![\d.])756\.\d{4}\.\d{4}\.\d{2}(?!\d)")
_NIR = re.compile(r"(?<!\d)[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d{2} ?\d{3} ?\d{3} ?\d{2}(?!\d)")
_PERSONNUMMER = re.compile(r"(?<!\d)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[\-+]\d{4}(?!\d)")

_PHONES = (  # the least digits of a form
    (8, re.compile(r"(?<![\w+])\+[1-9]\d{0,3}(?:[ .\-/\u00a0\u2011]?\(?\d{1,5}+\)?){2,7}+(?!\d)")),
    (9, re.compile(r"(?<![\w.\-])(?<!\d )00[1-9]\d{1,2}[ \-/](?:[ .\-/]?\(?\d{1,5}+\)?){2,6}+(?!\d)")),
    (
        10,
        re.compile(r"(?<![\d.\-])(?:1[ .\-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.\- ])[2-9]\d{2}[.\- ]\d{4}(?![\d\-.]?\d)"),
    ),
    (
        9,
        re.compile(
            r"(?<![\w.\-/])(?<!\d )(?!\d{5}-\d{4}(?!\d))\(?0[1-9]\d{0,4}\)?[ /\-]"
            r"(?:\d{2,4}[ \-]){0,4}\d{2,8}(?![\d/.\-]?\d)"
        ),
    ),
)
_BARE_PHONE = re.compile(r"(?<!\d)[+(]?\d(?:[ .\-/()]{0,2}\d){6,14}(?!\d)")
_PHONE_WORDS = re.compile(
    r"(?<![a-z])(?:phone|tel\b|tel\.|telefon|téléphone|mobile|mobil|cell|handy|whatsapp|fax|call|dial|sms)(?![a-z])"
    r"[^\d\n,;]{0,14}\Z"
)
_DATE = re.compile(r"\(?(?:\d{4}[\-/.]\d{1,2}[\-/.]\d{1,2}|\d{1,2}[\-/.]\d{1,2}[\-/.]\d{2,4})(?!\d)")
_PHONE_DIGITS = range(7, 16)

# dates, times and plain numbers: most regions are no more than that
_HARMLESS = re.compile(
    r"(?:\d{4}[\-/.]\d\d?[\-/.]\d\d?|\d\d?[\-/.]\d\d?[\-/.]\d{4})(?:[ ]\d{0,2})?|"
    r"\d{1,10}[ .,)\-]*|\d{1,9}\.\d{1,20}[ .)\-]*"
)
_NO_DIGITS = str.maketrans("", "", "0123456789")
_FEWEST = 7  # digits of any number without dots, and without capitals before it
_IBAN_SPACES = " -\u00a0"
_NO_SPACES = str.maketrans("", "", _IBAN_SPACES)

_ID_WORDS = re.compile(
    r"(?<![a-z])(?:ssn|social security|tax id|steuer-?id|steuernummer|pesel|bsn|burgerservice|cpf|nif|nie|dni|"
    r"national id|personal id|identity (?:no|number)|aadhaar|nhs|sozialversicherung|insurance number|insee)"
    r"[^\d\n]{0,24}\Z"
)
_BARE_ID = re.compile(r"(?<!\d)\d(?:[ .\-/]?\d){7,14}(?!\d)")

_BIRTH = re.compile(
    r"(?:date of birth|birth ?date|birthday|born(?: on)?|d\.?o\.?b\.?|geburtsdatum|geboren(?: am)?|date de naissance|"
    r"fecha de nacimiento)[\"']?[^\w\n]{0,6}(?P<date>\d{1,4}[\-/. ]{1,2}(?:\d{1,2}|[A-Za-zä]{3,9})[\-/. ,]{1,2}\d{2,4}|"
    r"[A-Z][a-z]{2,8} \d{1,2},? \d{4})",
    re.IGNORECASE,
)
_BIRTH_GATES = ("birth", "born", "dob", "d.o.b", "gebor", "geburt", "naiss", "nacim")
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
    """Whatever holds a region of six digits or more: cards, accounts, identities, telephones, addresses."""
    raw = text.raw
    for first, last in text.numbers:
        region = raw[first:last]
        # eight digits may have a letter behind them that makes them a DNI
        if _HARMLESS.fullmatch(region) and not (region.isdigit() and raw[last : last + 1].isalpha()):
            if region[: _PHONE_DIGITS.start].isdigit() and len(region) >= _PHONE_DIGITS.start:
                yield from _find_by_words(text, first, last)
            continue
        digits = len(region) - len(region.translate(_NO_DIGITS))
        if digits < _FEWEST and "." not in region and not raw[max(0, first - 2) : first].strip().isupper():
            continue
        # a few characters more on both sides, as letters and signs belong to some numbers
        start, end = max(0, first - 2), min(len(raw), last + 2)
        for kind, pattern, check, least, sign in _NUMBERS:
            if digits >= least and (not sign or sign in region):
                for match in pattern.finditer(raw, start, end):
                    if check(match[0]):
                        yield Span(*match.span(), kind)
        if raw[start:first].strip().isupper():
            yield from _find_lettered(raw, first, end)
        yield from _find_phones(text, start, last, digits)


def _find_lettered(raw: str, first: int, end: int) -> Iterator[Span]:
    """Numbers with capitals before their digits, or between them: IBAN and NINO."""
    start = max(0, first - 12)
    for match in _IBAN.finditer(raw, start, min(len(raw), end + 40)):
        yield from _iban(match)
    yield from (Span(*match.span(), "national_id") for match in _NINO.finditer(raw, start, end))


def _find_phones(text: Text, start: int, end: int, digits: int) -> Iterator[Span]:
    for least, pattern in _PHONES:
        if digits >= least:
            yield from _find_digits(text.raw, pattern, start, end, "phone")
    if digits >= _PHONE_DIGITS.start:
        yield from _find_by_words(text, start, end)


def _find_by_words(text: Text, start: int, end: int) -> Iterator[Span]:
    """Numbers without a form of their own, behind a word that says what they are."""
    before = text.lower[max(0, start - 40) : start + 2].rstrip("0123456789+(")
    if _PHONE_WORDS.search(before):
        yield from _find_digits(text.raw, _BARE_PHONE, start, end, "phone")
    elif _ID_WORDS.search(before):
        yield from _find_digits(text.raw, _BARE_ID, start, end, "national_id")


def _find_digits(raw: str, pattern: re.Pattern[str], start: int, end: int, kind: str) -> Iterator[Span]:
    for match in pattern.finditer(raw, start, end):
        if not _DATE.match(match[0]) and len(checks.digits_of(match[0])) in _PHONE_DIGITS:
            yield Span(match.start(), match.start() + len(match[0].rstrip(" .-/(")), kind)


def find_codes(text: Text) -> Iterator[Span]:
    """The Italian codice fiscale: letters and digits in turn."""
    if text.long_words and _CODICE.search(text.long_words):
        for match in _CODICE.finditer(text.raw):
            if checks.is_codice_fiscale(match[0]):
                yield Span(*match.span(), "national_id")


def _iban(match: re.Match[str]) -> Iterator[Span]:
    """The pattern may have taken a word behind the number: try shorter and shorter."""
    value = match[0]
    for end in range(len(value), 14, -1):
        if value[end - 1] not in _IBAN_SPACES and checks.is_iban(value[:end].translate(_NO_SPACES)):
            yield Span(match.start(), match.start() + end, "iban")
            return


def find_machines(text: Text) -> Iterator[Span]:
    """IPv6 and MAC addresses."""
    raw, words = text.raw, text.long_words
    if "::" in raw or (words.count(":") >= 7 and _IPV6.search(words)):  # noqa: PLR2004  in full it is a long word
        for match in _IPV6.finditer(raw):
            value = match[0].split("%")[0]
            if any(c.isdigit() for c in value) and sum(map(bool, value.split(":"))) > 1 and checks.is_public_ip(value):
                yield Span(*match.span(), "ip_address")
    if (words.count(":") >= 5 or words.count("-") >= 5) and _MAC.search(words):  # noqa: PLR2004
        for match in _MAC.finditer(raw):
            if len(set(match[0])) > 3:  # noqa: PLR2004  not 00:00:00:00:00:00
                yield Span(*match.span(), "mac_address")


def find_papers(text: Text) -> Iterator[Span]:
    """Dates of birth and passports, by the words before them."""
    lower = text.lower
    for gate in _BIRTH_GATES:
        if gate in lower:
            yield from (Span(*match.span("date"), "birth_date") for match in _BIRTH.finditer(text.raw))
            break
    if "passport" in lower:
        yield from (Span(*match.span("id"), "passport") for match in _PASSPORT.finditer(text.raw))


def _on_digits(check: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda value: check(checks.digits_of(value))


# class, form, check, the least digits in its region, a character that must be there
_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool], int, str], ...] = (
    ("credit_card", _CARD, _on_digits(checks.is_card), 13, ""),
    ("ip_address", _IPV4, checks.is_public_ip, 4, "."),
    ("national_id", _SSN, _on_digits(checks.is_ssn), 9, ""),
    ("national_id", _CPF, _on_digits(checks.is_cpf), 11, "-"),
    ("national_id", _AADHAAR, _on_digits(checks.is_aadhaar), 12, ""),
    ("national_id", _AHV, _on_digits(checks.is_ahv), 13, "."),
    ("national_id", _NIR, _on_digits(checks.is_nir), 15, ""),
    ("national_id", _PERSONNUMMER, _on_digits(checks.luhn), 10, "-"),
    ("national_id", _DNI, lambda value: checks.is_dni(value.replace("-", "")), 7, ""),
)

FINDERS = (find_emails, find_numbers, find_codes, find_machines, find_papers)
