"""One line of the journal, and how it hangs on the line before it.

A line is `{"hash":"<64 hex>","body":{"prev":"<64 hex>",...}}`. The hash is SHA-256 over the bytes of the body, which
begins with the hash of the line before, so that a chain is checked by slicing bytes, without reading any JSON.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, NamedTuple

from prodkit.errors import ConfigError

GENESIS = "0" * 64
VERSION = 2
"""Of a record's form. 1 was written by 0.1.0; 2 packs content and names the project's own MLflow by its place in it."""

_HEAD = b'{"hash":"'
_MIDDLE = b'","body":'
_PREV = b'{"prev":"'
_HASH = slice(len(_HEAD), len(_HEAD) + 64)
_BODY_AT = len(_HEAD) + 64 + len(_MIDDLE)
_PREV_SLICE = slice(len(_PREV), len(_PREV) + 64)
_dumps = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class Entry(NamedTuple):
    """A line of the journal, read back. `sealed` is ciphertext; `keys` are the ids of the keys that open it."""

    stream: str
    seq: int
    time: str
    kind: str
    public: dict[str, Any]
    sealed: str = ""
    keys: tuple[str, ...] = ()
    prev: str = GENESIS
    hash: str = ""
    version: int = VERSION


def encode(entry: Entry) -> tuple[bytes, str]:
    """The bytes of the entry's line, with its line break, and its hash."""
    body = _dumps(
        {
            "prev": entry.prev,
            "v": entry.version,
            "stream": entry.stream,
            "seq": entry.seq,
            "time": entry.time,
            "kind": entry.kind,
            "public": entry.public,
            "keys": entry.keys,
            "sealed": entry.sealed,
        }
    ).encode("ascii")
    digest = sha256(body).hexdigest()
    return b'{"hash":"%s","body":%s}\n' % (digest.encode("ascii"), body), digest


def intact(line: bytes) -> tuple[str, str] | None:
    """The line's hash and the hash that it hangs on; None when its bytes aren't what was written."""
    body = line[_BODY_AT:-2]
    if sha256(body).hexdigest().encode("ascii") != line[_HASH] or not body.startswith(_PREV):
        return None
    if not line.startswith(_HEAD) or not line.endswith(b"}\n"):
        return None
    return line[_HASH].decode("ascii"), body[_PREV_SLICE].decode("ascii")


def decode(line: bytes) -> Entry:
    """Read a line back.

    Raises:
        ValueError: it is no line of a journal.
        ConfigError: `ledger.newer`, a later version of prodkit has written it.
    """
    try:
        whole = json.loads(line)
        body = whole["body"]
        if body["v"] > VERSION:
            raise _newer(body)
        return Entry(
            stream=body["stream"],
            seq=body["seq"],
            time=body["time"],
            kind=body["kind"],
            public=body["public"],
            sealed=body["sealed"],
            keys=tuple(body["keys"]),
            prev=body["prev"],
            hash=whole["hash"],
            version=body["v"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("not a line of a prodkit journal") from error


def _newer(body: dict[str, Any]) -> ConfigError:
    return ConfigError(
        "ledger.newer",
        f"The journal holds records of version {body['v']}; this prodkit knows versions up to {VERSION}.",
        where=f"stream {body.get('stream')}, record {body.get('seq')}",
        fix="use the version of prodkit that has written them, or a later one",
    )
