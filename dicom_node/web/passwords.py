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

_COMPARED = 2
"""Passwords that are hashed at once: each takes 64 MiB and a core."""

_WAITING = 8
"""Passwords that wait to be hashed; who comes then is told to come again."""

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
        self._remembered: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_COMPARED + _WAITING)
        self._hashing = threading.BoundedSemaphore(_COMPARED)

    def recall(self, name: str, password: str, *, address: str) -> User | None:
        """Return the user whose password was right lately at the same address.

        It is not hashed again, and no failures of others can block it. Elsewhere it
        is not recalled: guesses from there are all counted.
        """
        user = self._users.find(name)
        if user is None or len(password) > _MAX_PASSWORD:
            return None
        key = (user.name, user.password_hash, address)
        with self._lock:
            known = self._remembered.get(key)
            if known is None or not hmac.compare_digest(known, self._mac(password)):
                return None
            self._remembered.move_to_end(key)
        return user

    def find(self, name: str, password: str, *, address: str) -> User | None:
        """Return the user with that name and password; None: there is none.

        Raises
        ------
        AccessError
            Too many are being compared (``status`` 503).

        """
        if len(password) > _MAX_PASSWORD:
            return None
        if not self._places.acquire(blocking=False):
            msg = "too many people sign in at once; try again"
            raise AccessError(msg, status=503, retry_after_s=1)
        try:
            with self._hashing:
                user = self._compare(name, password)
        finally:
            self._places.release()
        if user is not None:
            self._remember(user, password, address)
        return user

    def _compare(self, name: str, password: str) -> User | None:
        user = self._users.find(name)
        if user is None:
            _verify(self._nobody, password)
            return None
        if not _verify(user.password_hash, password):
            return None
        if _HASHER.check_needs_rehash(user.password_hash):
            self._users.rehash(user, _HASHER.hash(password))
        return user

    def _remember(self, user: User, password: str, address: str) -> None:
        key = (user.name, user.password_hash, address)
        with self._lock:
            self._remembered[key] = self._mac(password)
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
