"""Certificates as files: which there are, until when they are valid, who reads them."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.config import NodeSettings
from dicom_node.errors import SettingsError
from dicom_node.tls.contexts import ServerFiles

__all__ = [
    "NamedCertificate",
    "certificates_of",
    "fingerprint",
    "is_readable_by_others",
    "valid_until",
]


@dataclass(frozen=True, slots=True)
class NamedCertificate:
    """A file of the settings that ends one day.

    Attributes
    ----------
    use : str
        What it is used for, as the settings call it.
    path : pathlib.Path
        The certificate chain, or the revocation list.
    private_key : pathlib.Path, optional
        Its key; a revocation list has none.
    is_own : bool
        Whether the node serves with it; else it only shows it to one whom it calls.

    """

    use: str
    path: Path
    private_key: Path | None = None
    is_own: bool = True


def certificates_of(settings: NodeSettings) -> tuple[NamedCertificate, ...]:
    """Return the node's own certificates, and its revocation list."""
    return tuple(_certificates(settings))


def _certificates(settings: NodeSettings) -> Iterator[NamedCertificate]:
    for table in (settings.dicom_tls, settings.hl7, settings.web):
        files = ServerFiles.of(table) if table.enabled else None
        if files is not None:
            yield NamedCertificate(files.where, files.certificate, files.private_key)
            if files.revoked is not None:
                yield NamedCertificate(f"{files.where}.revoked", files.revoked)
    shown = {
        "audit": settings.audit,
        **{f"destinations.{one.name}": one.tls for one in settings.destinations},
        **{f"archives.{one.name}": one.tls for one in settings.archives},
        **{f"remotes.{one.name}": one.tls for one in settings.remotes},
        **{f"callers.{one.ae_title}": one.tls for one in settings.callers},
    }
    for use, tls in shown.items():
        if tls is not None and tls.certificate is not None:
            yield NamedCertificate(use, tls.certificate, tls.private_key, is_own=False)


def fingerprint(certificate: bytes | str) -> str:
    """Return the SHA-256 of a certificate (DER), or of its fingerprint as it is told.

    Parameters
    ----------
    certificate : bytes or str
        The certificate as a handshake gives it; or its fingerprint in hexadecimal
        digits, with colons or without.

    Returns
    -------
    str
        64 hexadecimal digits in lower case.

    """
    if isinstance(certificate, bytes):
        return hashlib.sha256(certificate).hexdigest()
    return certificate.replace(":", "").lower()


def valid_until(one: NamedCertificate) -> datetime:
    """Return when the certificate of a PEM file ends, in UTC.

    It is the first; those that signed it follow (RFC 8446 4.4.2), and one of them that
    has ended is often not needed. Of a revocation list: until when it may be believed.

    Raises
    ------
    SettingsError
        The file holds no certificate.

    """
    # Loaded where it is needed: a node without TLS starts without it.
    from cryptography.x509 import load_pem_x509_certificates, load_pem_x509_crl

    try:
        data = one.path.read_bytes()
        if one.use.endswith(".revoked"):
            ends = load_pem_x509_crl(data).next_update_utc
            if ends is not None:
                return ends
            return datetime.max.replace(tzinfo=UTC)
        return load_pem_x509_certificates(data)[0].not_valid_after_utc
    except (OSError, ValueError) as error:
        msg = f"{one.use} {one.path}: it holds no certificate"
        raise SettingsError(msg) from error


def is_readable_by_others(path: Path) -> bool:
    """Whether every user of the machine may read a file; False where it is not there.

    Its group may: that is how a key is lent to a service.
    """
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
