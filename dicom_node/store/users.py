"""Who may sign in, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.audit import EventKind
from dicom_node.config.peers import Role
from dicom_node.errors import AccessError
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.schema import users

__all__ = ["User", "UserStore"]


@dataclass(frozen=True, slots=True)
class User:
    """A person, or a machine, that signs in with a password of this node."""

    id: int
    name: str
    password_hash: str
    role: Role
    created_at: datetime
    session_epoch: int
    """Grows when the password or role changes: sessions before it have ended."""


class UserStore:
    """People by name.

    Parameters
    ----------
    database : Database
        Where they are kept.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self) -> int:
        """Return how many there are."""
        with self._database.read() as connection:
            return int(connection.scalar(select(func.count()).select_from(users)) or 0)

    def find(self, name: str) -> User | None:
        """Return the person of that name; None: there is none."""
        with self._database.read() as connection:
            row = connection.execute(
                select(users).where(users.c.name == name)
            ).one_or_none()
        return None if row is None else _user(row)

    def get(self, user_id: int) -> User | None:
        """Return the person in that row; None: there is none."""
        with self._database.read() as connection:
            row = connection.execute(
                select(users).where(users.c.id == user_id)
            ).one_or_none()
        return None if row is None else _user(row)

    def all(self) -> tuple[User, ...]:
        """Return everybody, by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(users).order_by(users.c.name))
            return tuple(_user(row) for row in rows)

    def add(self, name: str, *, password_hash: str, role: Role) -> None:
        """Add a person.

        Raises
        ------
        AccessError
            There is one of that name.
        StoreError
            The database could not answer; nothing was changed.

        """
        with self._database.write() as connection:
            try:
                connection.execute(
                    insert(users).values(
                        name=name,
                        password_hash=password_hash,
                        role=role,
                        created_at=datetime.now(UTC),
                        session_epoch=0,
                    )
                )
            except IntegrityError as error:
                raise AccessError(f"there is a user {name!r} already") from error
            record_event(
                connection,
                EventKind.USER_CHANGED,
                subject=name,
                detail={"change": "added", "role": role},
            )

    def remove(self, name: str) -> None:
        """Remove a person; what they signed in to ends.

        Raises
        ------
        AccessError
            There is none of that name.

        """
        with self._database.write() as connection:
            gone = connection.execute(delete(users).where(users.c.name == name))
            if not gone.rowcount:
                raise _unknown(name)
            record_event(
                connection,
                EventKind.USER_CHANGED,
                subject=name,
                detail={"change": "removed"},
            )

    def change(
        self, name: str, *, password_hash: str | None = None, role: Role | None = None
    ) -> None:
        """Change a person's password or role; their sessions end.

        Raises
        ------
        AccessError
            There is none of that name.

        """
        values: dict[str, Any] = {"session_epoch": users.c.session_epoch + 1}
        if password_hash is not None:
            values["password_hash"] = password_hash
        if role is not None:
            values["role"] = role
        with self._database.write() as connection:
            changed = connection.execute(
                update(users).where(users.c.name == name).values(values)
            )
            if not changed.rowcount:
                raise _unknown(name)
            what = "password" if password_hash is not None else "role"
            record_event(
                connection,
                EventKind.USER_CHANGED,
                subject=name,
                detail={"change": what, "role": role},
            )

    def rehash(self, user: User, password_hash: str) -> None:
        """Replace a hash by a better one of the same password; sessions go on."""
        with self._database.write() as connection:
            connection.execute(
                update(users)
                .where(
                    users.c.id == user.id,
                    users.c.password_hash == user.password_hash,
                )
                .values(password_hash=password_hash)
            )

    def record_sign_in(self, name: str, *, address: str, reason: str | None) -> None:
        """Write who signed in, or was refused and why, into the audit trail."""
        with self._database.write() as connection:
            record_event(
                connection,
                EventKind.SIGNED_IN if reason is None else EventKind.SIGN_IN_REFUSED,
                subject=name[:64],
                detail={"address": address, "reason": reason},
            )

    def record_sign_out(self, name: str, *, address: str) -> None:
        """Write who ended their session into the audit trail."""
        with self._database.write() as connection:
            record_event(
                connection,
                EventKind.SIGNED_OUT,
                subject=name[:64],
                detail={"address": address},
            )


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        name=row.name,
        password_hash=row.password_hash,
        role=row.role,
        created_at=row.created_at,
        session_epoch=row.session_epoch,
    )


def _unknown(name: str) -> AccessError:
    return AccessError(f"there is no user {name!r}")
