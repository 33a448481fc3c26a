"""Certificates that are renewed while the node works: files are read when they change.

Who is connected stays connected: only the next handshake sees the new certificate.
"""

from __future__ import annotations

import ssl
import threading
from typing import TypeAlias

import structlog

from dicom_node.errors import SettingsError
from dicom_node.tls.contexts import ServerFiles, server_context

__all__ = ["ServerTls"]

log = structlog.get_logger(__name__)

_Stamp: TypeAlias = tuple[tuple[int, int, int, int] | None, ...]


class ServerTls:
    """A server's TLS, made of files that may change.

    Parameters
    ----------
    files : ServerFiles
        What it is made of.

    Raises
    ------
    SettingsError
        They cannot be used.

    """

    def __init__(self, files: ServerFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._trouble: str | None = None
        # Before the files are read: one that changes meanwhile is read again.
        self._stamp = _stamp(files)
        self._context = server_context(files)

    @property
    def trouble(self) -> str | None:
        """Why the files that are there now are not used, or None."""
        self.context()
        return self._trouble

    def context(self) -> ssl.SSLContext:
        """Return the context for a handshake that begins now.

        Files that have changed are read; while they cannot be used, as when a
        certificate is there before its key, what was read last holds.
        """
        with self._lock:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return self._context
            self._stamp = stamp
            try:
                self._context = server_context(self._files)
            except SettingsError as error:
                self._trouble = f"{error}: the one before is still used"
                log.error(  # noqa: TRY400 - the reason says it all
                    "certificate_not_renewed",
                    use=self._files.where,
                    reason=str(error),
                )
            else:
                self._trouble = None
                log.info("certificate_renewed", use=self._files.where)
            return self._context

    def by_name(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """Give a connection the newest context (``SSLContext.sni_callback``).

        For a server that keeps the context that it was started with.
        """
        connection.context = self.context()


def _stamp(files: ServerFiles) -> _Stamp:
    """Return what changes when a file does, also when a link is set anew."""
    found: list[tuple[int, int, int, int] | None] = []
    for path in files.paths:
        try:
            one = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size))
    return tuple(found)
