"""The keys: one per subject, wrapped by the project's key, so that a person's content can be erased by losing its key.

The chain runs over ciphertext and still verifies afterwards. Erased keys are overwritten in the database (SQLite's
`secure_delete`); copies in backups are out of reach, so keep `.prodkit/keys` out of long-lived backups.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import sqlite3
import threading
import zlib
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prodkit.errors import ConfigError
from prodkit.ledger.packing import pack, unpack
from prodkit.records import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_MOST_REMEMBERED = 10_000
_PLAIN, _ZLIB, _PACKED = b"\x00", b"\x01", b"\x02"
_NOBODY = "-"
_PSEUDONYM = re.compile("u-[0-9a-f]{24}")
_dumps = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class Keyring:
    """The keys of a project.

    Args:
        folder: `.prodkit/keys`; made with mode 0700, its files with 0600.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = os.path.join(folder, "keys.db")  # noqa: PTH118  looked at on every record
        self._lock = threading.Lock()
        self._by_subject: dict[str, tuple[str, AESGCM]] = {}
        self._by_id: dict[str, AESGCM] = {}
        self._pseudonyms: dict[str, str] = {}
        self._seen = -1

    @cached_property
    def _root(self) -> bytes:
        return _read_or_make(self._folder / "project.key", lambda: os.urandom(32))

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, from the project's key."""
        return hmac.digest(self._root, f"prodkit:{purpose}".encode(), "sha256")

    @cached_property
    def _pseudonym_key(self) -> bytes:
        return self.derive("pseudonym")

    def pseudonym(self, subject: str) -> str:
        """A stable stand-in for a user's id that can't be reversed without the project's key; its own, given one.

        An id that redaction would change (an e-mail address) is recorded as its stand-in: the person stays the same.
        """
        if not subject or _PSEUDONYM.fullmatch(subject):
            return subject
        if subject not in self._pseudonyms:
            if len(self._pseudonyms) >= _MOST_REMEMBERED:
                self._pseudonyms.clear()
            digest = hmac.digest(self._pseudonym_key, subject.encode("utf-8", "replace"), "sha256")
            self._pseudonyms[subject] = "u-" + digest.hex()[:24]
        return self._pseudonyms[subject]

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs checkpoints."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        raw = _read_or_make(self._folder / "signing.key", lambda: Ed25519PrivateKey.generate().private_bytes_raw())
        return Ed25519PrivateKey.from_private_bytes(raw)

    def seal(self, value: Any, subjects: tuple[str, ...] = ()) -> tuple[tuple[str, ...], str]:
        """Encrypt a JSON-able value so that losing any one of the subjects' keys makes it unreadable.

        Returns:
            The ids of the keys, outermost last, and the ciphertext in base64.
        """
        data = _PACKED + pack(_dumps(value).encode("ascii"))
        ids = []
        for subject in sorted(set(subjects)) or [""]:
            key_id, cipher = self._current(self.pseudonym(subject) or _NOBODY)
            nonce = os.urandom(_NONCE)
            data = nonce + cipher.encrypt(nonce, data, key_id.encode("ascii"))
            ids.append(key_id)
        return tuple(ids), base64.b64encode(data).decode("ascii")

    def open(self, ids: tuple[str, ...], sealed: str) -> Any:
        """Decrypt what `seal` made; None when a key was erased or the bytes were changed."""
        from cryptography.exceptions import InvalidTag

        data = base64.b64decode(sealed)
        for key_id in reversed(ids):
            cipher = self._named(key_id)
            if cipher is None:
                return None
            try:
                data = cipher.decrypt(data[:_NONCE], data[_NONCE:], key_id.encode("ascii"))
            except InvalidTag:
                return None
        return json.loads(_unpack(data[:1], data[1:]))

    def erase(self, subject: str) -> int:
        """Destroy every key of a subject; returns how many there were. Content sealed from now on gets a new one."""
        name = self.pseudonym(subject)
        with self._lock, closing(self._connect()) as database, database:
            found = database.execute(
                "UPDATE keys SET wrapped = zeroblob(0), erased = ? WHERE subject = ? AND erased = ''",
                (now().isoformat(), name),
            )
            self._by_subject.clear()
            self._by_id.clear()
            return found.rowcount

    def knows(self, subject: str) -> bool:
        """Whether there is a key of this subject that wasn't erased."""
        with closing(self._connect()) as database:
            sought = (self.pseudonym(subject),)
            return bool(database.execute("SELECT 1 FROM keys WHERE subject = ? AND erased = ''", sought).fetchone())

    def erased(self, key_id: str) -> bool:
        """Whether this key was destroyed on purpose."""
        with closing(self._connect()) as database:
            row = database.execute("SELECT erased FROM keys WHERE id = ?", (key_id,)).fetchone()
        return bool(row and row[0])

    def _current(self, subject: str) -> tuple[str, AESGCM]:
        with self._lock:
            self._refresh()
            if subject not in self._by_subject:
                self._by_subject[subject] = self._make(subject)
            return self._by_subject[subject]

    def _named(self, key_id: str) -> AESGCM | None:
        with self._lock:
            self._refresh()
            if key_id not in self._by_id:
                with closing(self._connect()) as database:
                    row = database.execute(
                        "SELECT wrapped FROM keys WHERE id = ? AND erased = ''", (key_id,)
                    ).fetchone()
                if row is None:
                    return None
                self._by_id[key_id] = self._unwrap(key_id, row[0])
            return self._by_id[key_id]

    def _refresh(self) -> None:
        """Forget what we remember when another process has changed the keys: an erasure holds everywhere at once."""
        try:
            stat = os.stat(self._database)  # noqa: PTH116
        except FileNotFoundError:
            return
        if stat.st_mtime_ns != self._seen:
            self._seen = stat.st_mtime_ns
            self._by_subject.clear()
            self._by_id.clear()

    def _make(self, subject: str) -> tuple[str, AESGCM]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        with closing(self._connect()) as database, database:
            database.execute("BEGIN IMMEDIATE")  # two processes must not make two keys for one subject
            row = database.execute(
                "SELECT id, wrapped FROM keys WHERE subject = ? AND erased = ''", (subject,)
            ).fetchone()
            if row is not None:
                return row[0], self._unwrap(row[0], row[1])
            key_id, key, nonce = os.urandom(8).hex(), os.urandom(32), os.urandom(_NONCE)
            wrapped = nonce + AESGCM(self.derive("wrap")).encrypt(nonce, key, key_id.encode("ascii"))
            database.execute(
                "INSERT INTO keys (id, subject, wrapped, created, erased) VALUES (?, ?, ?, ?, '')",
                (key_id, subject, wrapped, now().isoformat()),
            )
            return key_id, AESGCM(key)

    def _unwrap(self, key_id: str, wrapped: bytes) -> AESGCM:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            key = AESGCM(self.derive("wrap")).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], key_id.encode("ascii"))
            return AESGCM(key)
        except InvalidTag:
            raise ConfigError(
                "ledger.wrong-key",
                "The project key doesn't open the keys of the journal.",
                where=str(self._folder / "project.key"),
                fix="put back the project.key that belongs to this journal",
            ) from None

    def _connect(self) -> sqlite3.Connection:
        path = self._folder / "keys.db"
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        database.execute("PRAGMA secure_delete = ON")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS keys"
            " (id TEXT PRIMARY KEY, subject TEXT NOT NULL, wrapped BLOB, created TEXT, erased TEXT)"
        )
        return database

    def subjects(self) -> Iterator[tuple[str, str]]:
        """Each subject's pseudonym with the time of its erasure, empty when it isn't erased."""
        with closing(self._connect()) as database:
            yield from database.execute("SELECT subject, erased FROM keys ORDER BY created").fetchall()


def _unpack(form: bytes, data: bytes) -> bytes:
    """What was sealed, in each of the forms that any version has written."""
    if form == _PACKED:
        return unpack(data)
    if form in {_ZLIB, _PLAIN}:
        return zlib.decompress(data) if form == _ZLIB else data
    raise ConfigError(
        "ledger.newer-record",
        "A record was written by a newer prodkit than this one.",
        fix="upgrade prodkit here, too",
    )


def _read_or_make(path: Path, make: Any) -> bytes:
    """A secret file, made once even when several processes begin together."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # fails when another process was first; theirs counts
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_bytes()
