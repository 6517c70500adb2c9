"""Walking through a nested value, so that each text in it is cleaned and the rest becomes JSON-able."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Set as AbstractSet
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from prodkit.redaction.assignments import looks_like_key
from prodkit.redaction.text import MARKER_STARTS

if TYPE_CHECKING:
    from prodkit.records import JSON

Counts = defaultdict[str, int]
"""How many findings of each class."""

MAX_DEPTH = 64
MAX_NODES = 2_000_000

_NAME_NOISE = str.maketrans("", "", "_- .")
_SECRET_NAMES = re.compile(
    r"(?:.*(?:password|passwd|passphrase|passwort|pwd|secret|apikey|accesskey|secretkey|privatekey|signingkey|"
    r"encryptionkey|accountkey|subscriptionkey|masterkey|clientsecret|accesstoken|refreshtoken|authtoken|idtoken|"
    r"sessiontoken|bearertoken|apitoken|credential)s?|authorization|proxyauthorization|cookie|setcookie|xauthtoken|pin|cvv|cvc)"
)
_TOKEN_NAMES = re.compile(r".*token")
_LONGEST_NAME = 64
_SMALLEST_NUMBER = 10**11  # an integer with fewer digits is no card number


class Walker:
    """Cleans one value.

    Args:
        clean_text: cleans one text.
        replace: makes the marker of a text and its class.
        counts: how many findings of each class, added to.
        harmless: texts that are known to stay as they are.
    """

    def __init__(
        self,
        clean_text: Callable[[str], str],
        replace: Callable[[str, str], str],
        counts: Counts,
        harmless: Container[str],
    ) -> None:
        self._clean_text, self._replace, self._counts, self._harmless = clean_text, replace, counts, harmless
        self._path: set[int] = set()
        self._nodes = 0

    def clean(self, value: object) -> JSON:
        """The value, cleaned; a marker where that isn't possible."""
        kind = type(value)
        if value is None or kind is bool or (kind is int and -_SMALLEST_NUMBER < value < _SMALLEST_NUMBER):  # type: ignore[operator]
            return value
        try:
            return self._clean(value)
        except Exception:
            return self._mark("uncleanable")

    def _clean(self, value: object) -> JSON:
        kind = type(value)
        if kind is str:
            return self._clean_text(value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value
        if kind is int:
            return self._number(value)  # type: ignore[arg-type]
        if kind is float:
            return value if math.isfinite(value) else repr(value)  # type: ignore[arg-type]
        self._nodes += 1
        if self._nodes > MAX_NODES or len(self._path) >= MAX_DEPTH or id(value) in self._path:
            return self._mark("uncleanable")
        self._path.add(id(value))
        try:
            if kind is dict:
                return self._mapping(value)  # type: ignore[arg-type]
            if kind is list:
                return [self.clean(item) for item in value]  # type: ignore[attr-defined]
            return self._container(value)
        finally:
            self._path.discard(id(value))

    def _container(self, value: Any) -> JSON:
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, (list, tuple, AbstractSet)):
            return [self.clean(item) for item in value]
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._bytes(bytes(value))
        if isinstance(value, BaseException):
            return {"type": type(value).__name__, "message": self.clean(str(value))}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._mapping({item.name: getattr(value, item.name) for item in dataclasses.fields(value)})
        if hasattr(value, "model_dump"):
            return self.clean(value.model_dump())
        return self._scalar(value)

    def _scalar(self, value: Any) -> JSON:
        if isinstance(value, enum.Enum):
            return self.clean(value.value)
        if isinstance(value, str):
            return self._clean_text(str.__str__(value))
        if isinstance(value, (dt.date, dt.time)):
            return value.isoformat()
        if isinstance(value, (decimal.Decimal, uuid.UUID, PurePath, dt.timedelta, int)):
            return self._clean_text(str(value))
        if hasattr(value, "get_secret_value"):
            return self._mark("secret")
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            return self.clean(value.item())  # numpy's scalars
        return self._mark("uncleanable", f"[redacted:object {type(value).__name__}]")

    def _mapping(self, value: Mapping[Any, Any]) -> dict[str, JSON]:
        cleaned: dict[str, JSON] = {}
        # {"name": "DB_PASSWORD", "value": "..."}
        owner = ""
        if "value" in value:
            owner = next((value[key] for key in ("name", "key") if isinstance(value.get(key), str)), "")
        harmless = self._harmless
        for key, item in value.items():
            if type(key) is str:
                if key in harmless and key not in cleaned and not _said_by(key) and not (owner and key == "value"):
                    # nearly every name of a protocol
                    cleaned[key] = item if type(item) is str and item in harmless else self.clean(item)
                    continue
                name, written = key, key if key in harmless else self._clean_text(key)
            else:
                name = written = str(self.clean(key))
            while written in cleaned:  # two names may have become the same marker
                written += "+"
            if item is None or item is True or item is False:
                cleaned[written] = item
            else:
                cleaned[written] = self._named(owner if owner and name == "value" else name, item)
        return cleaned

    def _named(self, name: str, item: object) -> JSON:
        """A value whose name may say that it is a secret."""
        kind = type(item)
        if kind is dict or kind is float:
            return self.clean(item)
        if not item or len(name) > _LONGEST_NAME or isinstance(item, (bool, float, Mapping)):
            return self.clean(item)
        says = _said_by(name)
        if not says and kind is str:
            return item if item in self._harmless else self._clean_text(item)  # type: ignore[arg-type]
        if says == "secret" or (says == "token" and _is_token(item)):
            if isinstance(item, (list, tuple)):
                return [self._named(name, part) for part in item]
            text = str(self.clean(item))
            if text.startswith(MARKER_STARTS) or not isinstance(item, (str, int, bytes)):
                return text
            self._counts["secret"] += 1
            return self._replace(str(item), "secret")
        return self.clean(item)

    def _number(self, value: int) -> JSON:
        if -_SMALLEST_NUMBER < value < _SMALLEST_NUMBER:
            return value
        text = str(value) if value.bit_length() < 4096 else "[redacted:uncleanable]"  # noqa: PLR2004  str() has a limit
        cleaned = self._clean_text(text)
        return value if cleaned == str(value) else cleaned

    def _bytes(self, value: bytes) -> str:
        """Text in UTF-8; anything else can't be searched, so it isn't written."""
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode(errors="replace")
            if text.count("\ufffd") * 20 > len(text):
                return self._mark("uncleanable", f"[redacted:{len(value)} bytes]")
        return self._mark("uncleanable", f"[redacted:{len(value)} bytes]") if "\0" in text else self._clean_text(text)

    def _mark(self, kind: str, marker: str = "") -> str:
        self._counts[kind] += 1
        return marker or f"[redacted:{kind}]"


@lru_cache(maxsize=4096)
def _said_by(name: str) -> str:
    """`secret` where the name says that its value is one, `token` where it may be one."""
    plain = name.lower().translate(_NAME_NOISE)
    if _SECRET_NAMES.fullmatch(plain):
        return "secret"
    return "token" if _TOKEN_NAMES.fullmatch(plain) else ""


def _is_token(item: object) -> bool:
    return isinstance(item, str) and looks_like_key(item)
