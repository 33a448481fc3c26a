"""Sessions: who signed in, in a signed cookie that nobody else can write."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from dicom_node.config.peers import Role
from dicom_node.errors import SettingsError
from dicom_node.store.users import User, UserStore

__all__ = ["SECRET_FILE", "Session", "Sessions", "read_secret"]

SECRET_FILE = "web-secret"  # noqa: S105 - the name of the file
"""In the data folder, for the node's own user alone; without it all sessions end."""

_SECRET_BYTES = 32


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

    """

    def __init__(self, secret: str, users: UserStore, *, lifetime_s: float) -> None:
        self._serializer = URLSafeTimedSerializer(secret, salt="session")
        self._users = users
        self._lifetime_s = lifetime_s

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
        try:
            said = self._serializer.loads(cookie, max_age=int(self._lifetime_s))
        except BadSignature:
            return None
        if "user" in said:
            user = self._users.get(said["user"])
            if user is None or user.session_epoch != said["epoch"]:
                return None
            return Session(user.name, user.role)
        return Session(said["name"], said["role"]) if with_provider else None

    def _dump(self, said: dict[str, object]) -> str:
        return str(self._serializer.dumps(said))


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
