"""The signed note of a removal: a record of the journal that says which records went, when and under which policy.

It is written before anything is removed, and lists the end of each segment that may go, so that a journal which was
left in the middle of a removal still verifies. Each note also says where every stream began before: the latest one
stands for all removals until now, and older ones may go themselves.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.ledger.keys import Keyring

End = tuple[int, str]
"""Number and hash of the last record that is gone."""


@dataclass(frozen=True, slots=True)
class Note:
    """A removal.

    Attributes:
        time: when, as ISO 8601 in UTC.
        days: the retention period.
        ends: stream -> the ends of the segments that were removed, and of those before.
        key: the public key, in hex.
        signature: over everything else, in base64.
    """

    time: str
    days: float
    ends: dict[str, tuple[End, ...]]
    key: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return json.dumps(self._signed(), sort_keys=True, separators=(",", ":")).encode("ascii")

    def as_public(self) -> dict[str, Any]:
        """The public part of its record."""
        return {**self._signed(), "signature": self.signature}

    def _signed(self) -> dict[str, Any]:
        ends = {stream: [list(end) for end in of_stream] for stream, of_stream in self.ends.items()}
        return {"version": 1, "time": self.time, "days": self.days, "ends": ends, "key": self.key}

    @property
    def is_genuine(self) -> bool:
        """Whether the signature belongs to this note and its key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            key.verify(base64.b64decode(self.signature), self.signed_bytes())
        except (InvalidSignature, ValueError):
            return False
        return True


def sign_note(keyring: Keyring, days: float, ends: Mapping[str, Sequence[End]]) -> Note:
    """A note of now."""
    key = keyring.signing_key
    kept = {stream: tuple(of_stream) for stream, of_stream in ends.items() if of_stream}
    unsigned = Note(now().isoformat(), float(days), kept, key.public_key().public_bytes_raw().hex())
    signature = base64.b64encode(key.sign(unsigned.signed_bytes())).decode("ascii")
    return Note(unsigned.time, unsigned.days, unsigned.ends, unsigned.key, signature)


def read_note(public: Mapping[str, Any]) -> Note | None:
    """A note read back from its record; None where it is none."""
    try:
        ends = {
            str(stream): tuple((int(seq), str(digest)) for seq, digest in of_stream)
            for stream, of_stream in public["ends"].items()
        }
        return Note(str(public["time"]), float(public["days"]), ends, str(public["key"]), str(public["signature"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
