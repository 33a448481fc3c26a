"""Passwords: hashed by argon2, compared in the same time for names that nobody has."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections import OrderedDict

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from dicom_node.errors import AccessError
from dicom_node.store.users import User, UserStore

__all__ = ["MIN_PASSWORD", "Passwords", "check_name", "hash_password"]

MIN_PASSWORD = 10
"""Characters; a longer one is better than a complicated one (NIST SP 800-63B)."""

_MAX_PASSWORD = 1024
"""Characters; hashing more would only cost time."""

_REMEMBERED = 64
"""Machines that send their password with every request and are not hashed again."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

_HASHER = PasswordHasher()
"""argon2id with the library's parameters, which follow RFC 9106."""


def check_name(name: str) -> str:
    """Return a user's name.

    Raises
    ------
    AccessError
        It has other characters than letters, digits and ``._@-``, or too many.

    """
    if not _NAME.fullmatch(name):
        msg = "a name has 1 to 64 letters, digits or ._@- and begins with a letter"
        raise AccessError(msg)
    return name


def hash_password(password: str) -> str:
    """Return what is kept of a password.

    Raises
    ------
    AccessError
        It is too short or too long.

    """
    if not MIN_PASSWORD <= len(password) <= _MAX_PASSWORD:
        msg = f"a password has {MIN_PASSWORD} to {_MAX_PASSWORD} characters"
        raise AccessError(msg)
    return _HASHER.hash(password)


class Passwords:
    """Compares passwords with those of the node's users.

    Parameters
    ----------
    users : UserStore
        Who they are.

    """

    def __init__(self, users: UserStore) -> None:
        self._users = users
        # What a name without a user is compared with, so that it takes as long.
        self._nobody = _HASHER.hash(secrets.token_hex(16))
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, name: str, password: str) -> User | None:
        """Return the user with that name and password; None: there is none."""
        if len(password) > _MAX_PASSWORD:
            return None
        user = self._users.find(name)
        if user is None:
            _verify(self._nobody, password)
            return None
        if self._is_remembered(user, password):
            return user
        if not _verify(user.password_hash, password):
            return None
        if _HASHER.check_needs_rehash(user.password_hash):
            self._users.rehash(user, _HASHER.hash(password))
        self._remember(user, password)
        return user

    def _is_remembered(self, user: User, password: str) -> bool:
        with self._lock:
            known = self._remembered.get((user.name, user.password_hash))
        return known is not None and hmac.compare_digest(known, self._mac(password))

    def _remember(self, user: User, password: str) -> None:
        with self._lock:
            self._remembered[user.name, user.password_hash] = self._mac(password)
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)

    def _mac(self, password: str) -> bytes:
        text = password.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError, UnicodeEncodeError):
        return False
