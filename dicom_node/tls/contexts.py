"""How TLS is spoken, as PS3.15 B.12 and B.13 ask: versions, suites, who is trusted.

TLS 1.2 or 1.3 with authenticated ephemeral keys (BCP 195: RFC 8996 and RFC 9325); no
compression, no renegotiation, no session that outlives a change of certificates.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_node.config import (
    AuditSettings,
    DicomTlsSettings,
    Hl7Settings,
    PeerTls,
    WebSettings,
)
from dicom_node.errors import SettingsError

__all__ = ["ServerFiles", "client_context", "server_context"]

_SUITES = {
    # RFC 9325 4.2 for TLS 1.2: ECDHE with an AEAD cipher.
    "bcp195": "ECDHE+AESGCM:ECDHE+CHACHA20",
    # PS3.15 B.13 fixes the list. Of it, OpenSSL has no Camellia-GCM, and CCM_8 with
    # its tag of 64 bits is below the security level that OpenSSL grants by default.
    "bcp195-modified": "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:!AESCCM8",
}
"""Suites of TLS 1.2; those of TLS 1.3 are all good."""


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """What a server that speaks TLS is made of.

    Attributes
    ----------
    where : str
        The table of the settings, which errors name.
    certificate, private_key : pathlib.Path
        Chain and key (PEM).
    client_ca : pathlib.Path, optional
        Who may sign a client's certificate; None: clients show none.
    require_client : bool
        With `client_ca`: whether a client must show one.
    revoked : pathlib.Path, optional
        Certificate revocation lists (PEM), one for each of `client_ca`.
    profile : str
        PS3.15 B.12 or B.13.

    """

    where: str
    certificate: Path
    private_key: Path
    client_ca: Path | None = None
    require_client: bool = True
    revoked: Path | None = None
    profile: Literal["bcp195", "bcp195-modified"] = "bcp195"

    @classmethod
    def of(
        cls, settings: DicomTlsSettings | Hl7Settings | WebSettings
    ) -> ServerFiles | None:
        """Return what a table of the settings names; None: it asks for no TLS."""
        where = _WHERE[type(settings)]
        if settings.certificate is None or settings.private_key is None:
            return None
        if isinstance(settings, DicomTlsSettings):
            if not settings.enabled:
                return None
            return cls(
                where,
                settings.certificate,
                settings.private_key,
                client_ca=settings.client_ca,
                require_client=settings.require_client,
                revoked=settings.revoked,
                profile=settings.profile,
            )
        client_ca = settings.client_ca if isinstance(settings, Hl7Settings) else None
        return cls(
            where, settings.certificate, settings.private_key, client_ca=client_ca
        )

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file, in an order that does not change."""
        every = (self.certificate, self.private_key, self.client_ca, self.revoked)
        return tuple(one for one in every if one is not None)


_WHERE: dict[type, str] = {
    DicomTlsSettings: "dicom_tls",
    Hl7Settings: "hl7",
    WebSettings: "web",
}


def client_context(tls: PeerTls | AuditSettings) -> ssl.SSLContext:
    """Return how the node speaks TLS to a peer that it calls.

    The peer must show a certificate that is good for the name that the caller of this
    function passes as ``server_hostname``.

    Raises
    ------
    SettingsError
        A file cannot be read, or certificate and key do not fit.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, "bcp195")
    if tls.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _trust(context, tls.ca, "tls.ca")
    if tls.certificate is not None and tls.private_key is not None:
        _show(context, tls.certificate, tls.private_key, "tls")
    return context


def server_context(files: ServerFiles) -> ssl.SSLContext:
    """Return how the node speaks TLS to those who call it.

    Raises
    ------
    SettingsError
        A file cannot be read, the key is encrypted, or certificate and key do not fit.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, files.profile)
    # A resumed session shows no certificate; and a client that has gone by the time
    # its tickets are sent would be told of a reset.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _show(context, files.certificate, files.private_key, files.where)
    if files.client_ca is not None:
        _trust(context, files.client_ca, f"{files.where}.client_ca")
        context.verify_mode = (
            ssl.CERT_REQUIRED if files.require_client else ssl.CERT_OPTIONAL
        )
    if files.revoked is not None:
        _refuse_revoked(context, files.revoked, f"{files.where}.revoked")
    return context


def _harden(context: ssl.SSLContext, profile: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES[profile])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _show(
    context: ssl.SSLContext, certificate: Path, private_key: Path, where: str
) -> None:
    def no_password() -> str:
        raise _EncryptedKeyError

    for name, path in (("certificate", certificate), ("private_key", private_key)):
        _check_readable(path, f"{where}.{name}")
    try:
        # Without a password of its own OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, private_key, password=no_password)
    except _EncryptedKeyError as error:
        msg = (
            f"{where}.private_key {private_key}: it is encrypted; the node starts "
            "unattended, so keep it in a file without a password that only it can read"
        )
        raise SettingsError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"{where}.certificate {certificate}: it cannot be used with its key"
        raise SettingsError(msg) from error


def _trust(context: ssl.SSLContext, path: Path, where: str) -> None:
    _check_readable(path, where)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        msg = f"{where} {path}: it holds no certificate"
        raise SettingsError(msg) from error


def _refuse_revoked(context: ssl.SSLContext, path: Path, where: str) -> None:
    # Loaded where it is needed: a node without TLS starts without it.
    from cryptography.x509 import load_pem_x509_crl

    _check_readable(path, where)
    try:
        load_pem_x509_crl(path.read_bytes())
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        msg = f"{where} {path}: it holds no certificate revocation list"
        raise SettingsError(msg) from error
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _check_readable(path: Path, where: str) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        msg = f"{where} {path}: {error.strerror}"
        raise SettingsError(msg) from error


class _EncryptedKeyError(Exception):
    """The private key is encrypted."""
