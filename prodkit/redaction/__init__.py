"""Secrets and personal data out of everything that is written: prompts, answers, errors, names, tags.

It fails closed: what can't be cleaned becomes a marker. It works by rules, so it finds what has a form (keys, e-mail
addresses, card numbers), and doesn't find names or addresses of people; the extra `pii` adds those.
"""

from __future__ import annotations

from prodkit.redaction.classes import CLASSES, PERSONAL, SECRETS, check_policy
from prodkit.redaction.redactor import Cleaned, Redactor
from prodkit.redaction.written import secrets_in, secrets_only

__all__ = [
    "CLASSES",
    "PERSONAL",
    "SECRETS",
    "Cleaned",
    "Redactor",
    "check_policy",
    "redact",
    "secrets_in",
    "secrets_only",
]

_DEFAULT = Redactor({}, None)


def redact(text: str) -> str:
    """`text` with each secret and each piece of personal data replaced by a marker such as `[redacted:email]`."""
    return str(_DEFAULT.clean(text).value)
