"""TLS of the MLLP server: its context, and until when its certificate is valid."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from dicom_node.config import Hl7Settings
from dicom_node.errors import SettingsError

__all__ = ["make_tls_context", "valid_until"]

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
"""What BCP 195 (RFC 9325, 4.2) recommends for TLS 1.2; TLS 1.3 has no others."""


def make_tls_context(settings: Hl7Settings) -> ssl.SSLContext | None:
    """Return how TLS is spoken, None for plain TCP.

    TLS 1.2 or newer with authenticated ephemeral keys (BCP 195). With a client CA a
    sender must show a certificate that it signed (IHE ATNA).

    Raises
    ------
    SettingsError
        A file cannot be read, or certificate and key do not fit.

    """
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    try:
        context.load_cert_chain(settings.certificate, settings.private_key, password="")
    except (OSError, ValueError) as error:
        msg = f"hl7.certificate {settings.certificate}: it cannot be used with its key"
        raise SettingsError(msg) from error
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(settings.client_ca)
        except (OSError, ValueError) as error:
            msg = f"hl7.client_ca {settings.client_ca}: it holds no certificate"
            raise SettingsError(msg) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def valid_until(certificate: Path) -> datetime:
    """Return when the first certificate of a PEM file to end ends, in UTC.

    Raises
    ------
    SettingsError
        The file holds no certificate.

    """
    try:
        chain = load_pem_x509_certificates(certificate.read_bytes())
        return min(one.not_valid_after_utc for one in chain)
    except (OSError, ValueError) as error:
        msg = f"hl7.certificate {certificate}: it holds no certificate"
        raise SettingsError(msg) from error
