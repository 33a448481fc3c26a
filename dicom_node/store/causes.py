"""What a driver's error means, in words that quote neither values nor addresses."""

from __future__ import annotations

from sqlalchemy import exc as sql_errors
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import StoreError

__all__ = ["place_of", "store_error"]

_AWAY = (
    sql_errors.OperationalError,
    sql_errors.InterfaceError,
    sql_errors.TimeoutError,
)
"""Errors that every other change would meet too."""

_SQLITE_CAUSES = {
    "SQLITE_NOTADB": "it is not a database, or it is damaged",
    "SQLITE_CORRUPT": "it is not a database, or it is damaged",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_PERM": "it cannot be opened",
    "SQLITE_READONLY": "it is read-only, or its folder is",
    "SQLITE_BUSY": "another process keeps it locked",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk failed",
}
"""By the beginning of the driver's name for the error."""

_SERVER_CAUSES = {
    "refused": "the connection was refused",
    "resolve": "the host name is not known",
    "translate host name": "the host name is not known",
    "timeout": "it did not answer in time",
    "authentication failed": "it does not accept user and password",
    "no password supplied": "it asks for a password",
    "does not exist": "it has no such database, user or table",
    "permission denied": "the user may not do that",
}
"""By a part of the driver's message, which itself may quote values."""


def store_error(error: SQLAlchemyError, url: URL) -> StoreError:
    """Return what to raise for a driver's error."""
    # The driver's message quotes parameters: only what it means is told.
    cause = getattr(error, "orig", None) or error
    where = place_of(url)
    if url.get_backend_name() == "sqlite":
        name = getattr(cause, "sqlite_errorname", "")
        known = (text for key, text in _SQLITE_CAUSES.items() if name.startswith(key))
    else:
        said = str(cause)
        known = (text for key, text in _SERVER_CAUSES.items() if key in said)
    what = next(known, f"the database could not answer ({type(cause).__name__})")
    return StoreError(f"{where}: {what}", is_away=isinstance(error, _AWAY))


def place_of(url: URL) -> str:
    """Return the file or the server of a database, to be told."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return f"{url.host or 'localhost'}:{url.port or 5432}"
