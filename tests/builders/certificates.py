"""Certificates for tests: an authority, who it signs, what it takes back."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["Authority", "Pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its key, as files (PEM)."""

    certificate: Path
    private_key: Path

    @property
    def der(self) -> bytes:
        """The certificate itself."""
        text = self.certificate.read_text().partition("-----END")[0]
        return ssl.PEM_cert_to_DER_cert(f"{text}-----END CERTIFICATE-----\n")

    @property
    def fingerprint(self) -> str:
        """SHA-256 as ``openssl x509 -fingerprint -sha256`` prints it."""
        digest = hashlib.sha256(self.der).hexdigest().upper()
        return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


class Authority:
    """Signs certificates for 127.0.0.1 and localhost.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files are written; one authority for each folder.

    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "ca.pem"
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._ca.cert_pem.write_to_path(self.path)

    def sign(
        self,
        name: str,
        *hosts: str,
        days: float = 30.0,
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> Pair:
        """Sign a certificate for hosts, by default this machine's loopback.

        ``days`` from now it ends; negative: it has ended.
        """
        ends = datetime.now(UTC) + timedelta(days=days)
        made = self._ca.issue_cert(
            *(hosts or ("127.0.0.1", "localhost")),
            not_before=min(ends, datetime.now(UTC)) - timedelta(days=1),
            not_after=ends,
            key_type=key_type,
        )
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        # Replaced as tools do that renew certificates: never half there.
        _replace(pair.certificate, made.cert_chain_pems[0].bytes())
        _replace(pair.private_key, made.private_key_pem.bytes())
        return pair

    def revoke(self, *pairs: Pair, days: float = 7.0) -> Path:
        """Write the list of what is revoked, believed for so many days; return it."""
        key = serialization.load_pem_private_key(
            self._ca.private_key_pem.bytes(), password=None
        )
        assert isinstance(key, EllipticCurvePrivateKey)
        own = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        now = datetime.now(UTC)
        ends = now + timedelta(days=days)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(own.subject)
            .last_update(min(now, ends) - timedelta(days=1))
            .next_update(ends)
        )
        for pair in pairs:
            certificate = x509.load_der_x509_certificate(pair.der)
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(now - timedelta(hours=1))
                .build()
            )
        path = self.folder / "revoked.pem"
        signed = builder.sign(key, hashes.SHA256())
        _replace(path, signed.public_bytes(serialization.Encoding.PEM))
        return path

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """Return a context that trusts this authority and shows a pair."""
        context = ssl.create_default_context(cafile=str(self.path))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.private_key)
        return context


def _replace(path: Path, data: bytes) -> None:
    part = path.with_suffix(f"{path.suffix}.part")
    part.write_bytes(data)
    part.chmod(0o600)
    part.replace(path)
