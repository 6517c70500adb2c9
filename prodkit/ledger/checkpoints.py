"""Signed checkpoints: the heads of all streams under an Ed25519 signature, to be kept where the journal isn't.

A hash chain can't show that its end was cut off or that all of it was rewritten. A checkpoint can, as far as the copy
is out of the writer's reach: each run carries one to MLflow as an artifact.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.ledger.segments import by_stream, last_entry
from prodkit.ledger.verify import Claim, Flaw
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prodkit.ledger.keys import Keyring

ARTIFACT = "prodkit/checkpoint.json"  # as the adapter looks for it
_KEPT = 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The heads of all streams at one moment, signed.

    Attributes:
        time: when, as ISO 8601 in UTC.
        heads: stream -> (number of the last record, its hash).
        key: the public key, in hex.
        signature: over everything else, in base64.
    """

    time: str
    heads: dict[str, tuple[int, str]]
    key: str
    signature: str = ""

    @property
    def records(self) -> int:
        """How many records it stands for."""
        return sum(seq for seq, _ in self.heads.values())

    def to_json(self) -> str:
        """The form in which it is kept and shipped."""
        return json.dumps({**self._signed(), "signature": self.signature}, indent=1, sort_keys=True)

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return json.dumps(self._signed(), sort_keys=True, separators=(",", ":")).encode("ascii")

    def _signed(self) -> dict[str, Any]:
        heads = {name: list(head) for name, head in self.heads.items()}
        return {"version": 1, "time": self.time, "heads": heads, "key": self.key}

    @property
    def is_genuine(self) -> bool:
        """Whether the signature belongs to these heads and this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            key.verify(base64.b64decode(self.signature), self.signed_bytes())
        except (InvalidSignature, ValueError):
            return False
        return True


def take_checkpoint(journal: Path, keyring: Keyring) -> Checkpoint:
    """Sign the heads of all streams as they are now."""
    heads = {}
    for stream, segments in by_stream(journal).items():
        if (entry := last_entry(segments)) is not None:
            heads[stream] = (entry.seq, entry.hash)
    key = keyring.signing_key
    unsigned = Checkpoint(now().isoformat(), heads, key.public_key().public_bytes_raw().hex())
    signature = base64.b64encode(key.sign(unsigned.signed_bytes())).decode("ascii")
    return Checkpoint(unsigned.time, heads, unsigned.key, signature)


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: it is none.
    """
    try:
        raw = json.loads(text)
        heads = {str(name): (int(seq), str(digest)) for name, (seq, digest) in raw["heads"].items()}
        return Checkpoint(str(raw["time"]), heads, str(raw["key"]), str(raw["signature"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError("not a checkpoint") from error


def keep_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a local copy; the latest twenty are kept, because each stands for all records before it."""
    stamp = checkpoint.time.replace(":", "").replace("+0000", "Z")
    path = folder / f"{stamp}.json"
    path.write_text(checkpoint.to_json(), encoding="utf-8")
    for old in sorted(folder.glob("*.json"))[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path


def local_checkpoints(folder: Path) -> list[tuple[str, str]]:
    """The local copies as (name, text)."""
    return [(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def claims_of(checkpoints: Iterable[tuple[str, str]], key: str) -> tuple[list[Claim], list[Flaw]]:
    """What checkpoints say, and which of them can't be believed.

    Args:
        checkpoints: as (where it was found, text).
        key: the public key that must have signed, in hex.
    """
    claims: list[Claim] = []
    flaws: list[Flaw] = []
    for where, text in checkpoints:
        try:
            checkpoint = parse_checkpoint(text)
        except ValueError:
            flaws.append(Flaw("signature", "", 0, f"checkpoint {where} can't be read"))
            continue
        if checkpoint.key != key or not checkpoint.is_genuine:
            flaws.append(
                Flaw("signature", "", 0, f"checkpoint {where} wasn't signed by this project's key as it stands")
            )
            continue
        claims.extend(
            Claim(name, seq, digest, f"checkpoint {where}") for name, (seq, digest) in checkpoint.heads.items()
        )
    return claims, flaws
