"""The classes of what is found, and what the manifest may ask for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from prodkit.errors import ConfigError, nearest
from prodkit.redaction.tokens import TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping

Action = Literal["redact", "hash", "keep"]

SECRETS = frozenset({token.kind for token in TOKENS}) | {
    "authorization",
    "cookie",
    "discord_token",
    "jwt",
    "password",
    "private_key",
    "secret",
}
PERSONAL = frozenset(
    {
        "birth_date",
        "credit_card",
        "email",
        "iban",
        "ip_address",
        "location",
        "mac_address",
        "national_id",
        "passport",
        "person",
        "phone",
    }
)
CLASSES = SECRETS | PERSONAL

_GROUPS = {"secrets": SECRETS, "personal": PERSONAL}
_ACTIONS = ("redact", "hash", "keep")


def check_policy(policy: Mapping[str, str], key: bytes | None) -> dict[str, Action]:
    """The action for each class. `secrets` and `personal` stand for all of their classes; a class's own entry wins.

    Raises:
        ConfigError: `redaction.unknown-class`, `redaction.unknown-action`, `redaction.secret-kept` or
            `redaction.no-key`.
    """
    actions: dict[str, Action] = {}
    for name in sorted(policy, key=lambda name: name not in _GROUPS):
        action = _checked(name, policy[name], key)
        actions.update(dict.fromkeys(_GROUPS.get(name, (name,)), action))
    return actions


def _checked(name: str, action: str, key: bytes | None) -> Action:
    where = f"redaction.policy.{name}"
    if name not in CLASSES and name not in _GROUPS:
        raise ConfigError(
            "redaction.unknown-class",
            f"There is no class `{name}` of findings.",
            where=where,
            fix=nearest(name, PERSONAL | set(_GROUPS)),
        )
    if action not in _ACTIONS:
        raise ConfigError(
            "redaction.unknown-action", f"`{action}` is no action.", where=where, fix="use redact, hash or keep"
        )
    if action == "keep" and (name in SECRETS or name == "secrets"):
        raise ConfigError("redaction.secret-kept", "Secrets can't be kept.", where=where, fix="use redact or hash")
    if action == "hash" and not key:
        raise ConfigError(
            "redaction.no-key",
            "Hashing needs the project's key: short values could be guessed from a hash without one.",
            where=where,
            fix="pass the project's key, or use redact",
        )
    return cast("Action", action)
