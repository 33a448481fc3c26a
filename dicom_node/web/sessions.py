"""Sessions: who signed in, in a signed cookie that nobody else can write.

A user's session ends when they sign out and when their password or role changes. One
of the OpenID provider ends when they sign out, and soon by itself, since the provider
tells nobody of a change. Who signed out is kept in memory alone: a cookie that was
stolen before is good again after a restart, as long as it would have been.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer

from dicom_node.config.peers import Role
from dicom_node.errors import SettingsError
from dicom_node.store.users import User, UserStore

__all__ = ["SECRET_FILE", "Session", "Sessions", "read_secret"]

SECRET_FILE = "web-secret"  # noqa: S105 - the name of the file
"""In the data folder, for the node's own user alone; without it all sessions end."""

_SECRET_BYTES = 32

_MAX_ENDED = 100_000
"""Sessions that were ended and are remembered; only who signs in adds one."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in, and what they may do."""

    name: str
    role: Role


class Sessions:
    """Makes and reads sessions.

    Parameters
    ----------
    secret : str
        What signs them.
    users : UserStore
        Whose password or role may have changed since.
    lifetime_s : float
        People sign in again after this long.
    provider_s : float
        So do those whom the OpenID provider has named, where it is shorter.

    """

    def __init__(
        self, secret: str, users: UserStore, *, lifetime_s: float, provider_s: float
    ) -> None:
        self._serializer = URLSafeTimedSerializer(secret, salt="session")
        self._users = users
        self._lifetime_s = lifetime_s
        self._provider_s = min(lifetime_s, provider_s)
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def of_user(self, user: User) -> str:
        """Return the cookie of a user of this node."""
        return self._dump({"user": user.id, "epoch": user.session_epoch})

    def of_provider(self, session: Session) -> str:
        """Return the cookie of a person whom the OpenID provider has named."""
        return self._dump({"name": session.name, "role": session.role})

    def read(self, cookie: str, *, with_provider: bool) -> Session | None:
        """Return whose cookie this is; None: it is forged, old or ended.

        Parameters
        ----------
        cookie : str
            As `of_user` or `of_provider` made it.
        with_provider : bool
            Whether people still sign in at an OpenID provider.

        """
        said = self._load(cookie, self._lifetime_s)
        if said is not None and "user" not in said:
            said = self._load(cookie, self._provider_s)
        if said is None:
            return None
        with self._lock:
            if said["id"] in self._ended:
                return None
        if "user" in said:
            user = self._users.get(said["user"])
            if user is None or user.session_epoch != said["epoch"]:
                return None
            return Session(user.name, user.role)
        return Session(said["name"], said["role"]) if with_provider else None

    def end(self, cookie: str) -> None:
        """End a session: its cookie is good no more, wherever it is."""
        said = self._load(cookie, self._lifetime_s)
        if said is None:
            return
        with self._lock:
            self._ended[said["id"]] = None
            while len(self._ended) > _MAX_ENDED:
                self._ended.popitem(last=False)

    def _load(self, cookie: str, lifetime_s: float) -> dict[str, Any] | None:
        try:
            said = self._serializer.loads(cookie, max_age=int(lifetime_s))
        except BadSignature:
            return None
        return said if isinstance(said, dict) and "id" in said else None

    def _dump(self, said: dict[str, object]) -> str:
        return str(self._serializer.dumps({**said, "id": secrets.token_urlsafe(9)}))


def read_secret(data_dir: Path) -> str:
    """Return the secret of a data folder; it is made once.

    Raises
    ------
    SettingsError
        It can neither be read nor made.

    """
    path = data_dir / SECRET_FILE
    try:
        if not path.exists():
            _make_secret(path)
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: it cannot be read or made") from error
    if len(text) < _SECRET_BYTES:
        raise SettingsError(f"{path}: it holds no secret; remove it")
    return text


def _make_secret(path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(_SECRET_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
