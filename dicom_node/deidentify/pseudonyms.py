"""Pseudonyms under a secret key: UIDs, patients and shifted dates, always the same.

Nothing is kept but the key: a pseudonym is a keyed hash (HMAC-SHA-256) of what it
stands for and of whom it is for, so two receivers cannot compare what they got, and
who has the key can tell by trying which pseudonym is whose.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import uuid
from datetime import timedelta
from pathlib import Path

from dicom_node.durable import sync_path
from dicom_node.errors import SettingsError

__all__ = ["KEY_FILE", "Pseudonyms", "read_key"]

KEY_FILE = "pseudonym.key"
"""In the data folder, for its owner alone. Without it nothing that returns can be
told whose it is, and with it everything that left can: it belongs into a backup, and
nowhere else."""

_KEY_BYTES = 32
_PUBLIC_ROOTS = ("1.2.840.10008.", "2.16.840.1.113883.6.")
_LEAST_DAYS = 31
_DAYS = 3650
"""Dates go back by so many days at most, and by a month at least."""


def read_key(data_dir: Path) -> bytes:
    """Read the key of a data folder; it is made, and synced, where there is none.

    Raises
    ------
    SettingsError
        It can neither be read nor made, is open to others, or holds no key.

    """
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path}: the key must be readable by its owner alone")
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: the key cannot be read or made") from error
    if len(key) < _KEY_BYTES:
        raise SettingsError(f"{path}: it holds no key; restore it from a backup")
    return key


class Pseudonyms:
    """The pseudonyms of one receiver.

    Parameters
    ----------
    key : bytes
        The secret.
    receiver : str
        For whom they are.
    occasion : str
        What UIDs also depend on: what is sent on two occasions are two studies.
        Patients and dates do not depend on it.

    """

    def __init__(self, key: bytes, receiver: str, occasion: str = "") -> None:
        self._key = key
        self._receiver = receiver
        self._occasion = occasion

    def uid(self, original: str) -> str:
        """Return the UID below 2.25 (PS3.5 B.2) that stands for another.

        UIDs of the standard, and of published coding schemes, name nobody and stay.
        """
        if original.startswith(_PUBLIC_ROOTS):
            return original
        digest = self._digest("uid", self._occasion, original)
        # RFC 9562 5.8: a UUID of version 8 holds what its maker wants.
        number = bytearray(digest[:16])
        number[6] = (number[6] & 0x0F) | 0x80
        number[8] = (number[8] & 0x3F) | 0x80
        return f"2.25.{uuid.UUID(bytes=bytes(number)).int}"

    def patient(self, identity: str) -> str:
        """Return the Patient ID, and name, that stands for a patient."""
        return "P" + self.label("patient", identity, length=15)

    def shift(self, identity: str) -> timedelta:
        """Return by how much the dates of a patient go back: whole days, negative."""
        number = int.from_bytes(self._digest("shift", identity)[:8], "big")
        return -timedelta(days=_LEAST_DAYS + number % (_DAYS - _LEAST_DAYS))

    def label(self, kind: str, original: str, *, length: int = 12) -> str:
        """Return capitals and digits that stand for a value."""
        digest = self._digest(kind, original)
        return base64.b32encode(digest).decode("ascii")[:length]

    def _digest(self, *parts: str) -> bytes:
        text = b""
        for part in (self._receiver, *parts):
            data = part.encode("utf-8", "surrogatepass")
            text += len(data).to_bytes(8, "big") + data
        return hmac.new(self._key, text, hashlib.sha256).digest()


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(part, path)  # of two that make it, the first wins
        except FileExistsError:
            return
        sync_path(path.parent)
    finally:
        part.unlink(missing_ok=True)
