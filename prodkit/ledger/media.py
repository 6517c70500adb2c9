"""Pictures and sounds on their way into a record: what they were, not what they show.

A picture in a request is megabytes of base64, which no redactor can read: a face or a letter on it would pass as it
is. Recorded is its kind, its size and the SHA-256 of its bytes, which is enough to prove later which file it was.
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from typing import Any

_DATA_URL = re.compile(r"data:(?P<kind>[\w.+/-]*)(?:;[\w=.+-]+)*;base64,(?P<data>[A-Za-z0-9+/=_-]+)")
_BARE = re.compile(r"[A-Za-z0-9+/=_\s-]*")
_SHORTEST = 64
"""Shorter texts hold no picture."""

FIELDS = frozenset({"data", "b64_json", "file_data"})
SIGNS = ("base64", "b64_json", '"data"', "file_data")
"""Names under which base64 stands, and what of it stands in every JSON text that holds a picture or a sound."""


def describe(data: bytes, kind: str) -> str:
    """`[image/png, 12,345 bytes, sha256 ...]`."""
    return f"[{kind or 'data'}, {len(data):,} bytes, sha256 {sha256(data).hexdigest()}]"


def in_text(text: str) -> str:
    """The text with each data URL in it described."""
    return _DATA_URL.sub(_described, text) if ";base64," in text else text


def in_mapping(mapping: dict[str, Any]) -> dict[str, Any]:
    """A part of a request or an answer with its base64 described, where it is one that holds some."""
    for key in FIELDS & mapping.keys():
        value = mapping.get(key)
        if not isinstance(value, str) or len(value) < _SHORTEST or not _BARE.fullmatch(value):
            continue
        kind = mapping.get("media_type") or mapping.get("mime_type") or mapping.get("format")
        if key == "data" and not kind and "expires_at" not in mapping:  # anybody's field of that name
            continue
        named = f"audio/{kind}" if "format" in mapping else str(kind or ("image" if key == "b64_json" else "audio"))
        mapping = {**mapping, key: describe(_decoded(value), named)}
    return mapping


def described(value: Any) -> Any:
    """A JSON value with all pictures and sounds in it described."""
    if isinstance(value, str):
        return in_text(value)
    if isinstance(value, dict):
        return {key: described(inner) for key, inner in in_mapping(value).items()}
    if isinstance(value, list):
        return [described(inner) for inner in value]
    return value


def _described(match: re.Match[str]) -> str:
    return describe(_decoded(match["data"]), match["kind"])


def _decoded(text: str) -> bytes:
    """The bytes; those of the text itself when it is no base64."""
    try:
        return base64.b64decode(text.translate(_FROM_URL), validate=False)
    except (binascii.Error, ValueError):
        return text.encode()


_FROM_URL = str.maketrans("-_", "+/")
