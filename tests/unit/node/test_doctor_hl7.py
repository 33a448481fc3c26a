"""What the doctor says of HL7."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dicom_node import doctor
from dicom_node.config import NodeSettings


def _settings(folder: Path, **hl7: Any) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {"port": 0, "data_dir": folder / "data"},
            "web": {"port": 0},
            "hl7": {"enabled": True, "port": 0, **hl7},
        }
    )


def _certified(folder: Path, *, days: int) -> dict[str, Path]:
    """Write a certificate that ends so many days from now, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "node.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "node.key").write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"certificate": folder / "node.pem", "private_key": folder / "node.key"}


@pytest.mark.parametrize(
    ("days", "is_good", "words"),
    [
        (90, True, "is valid until"),
        (10, False, "is valid until"),
        (-1, False, "has expired"),
    ],
)
def test_a_certificate_that_ends_soon_is_trouble(
    tmp_path: Path, days: int, is_good: bool, words: str
) -> None:
    settings = _settings(tmp_path, **_certified(tmp_path, days=days))

    found = list(doctor._hl7(settings))

    assert [one.is_good for one in found] == [True, is_good]
    assert words in found[1].text


def test_a_certificate_that_cannot_be_used_is_trouble(tmp_path: Path) -> None:
    tls = _certified(tmp_path, days=90)
    tls["private_key"] = tmp_path / "missing.key"

    found = list(doctor._hl7(_settings(tmp_path, **tls)))

    assert not found[-1].is_good
    assert "hl7.certificate" in found[-1].text


def test_a_port_in_use_is_trouble(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = _settings(tmp_path, port=other.getsockname()[1])

        found = [one for one in doctor._ports(settings) if "HL7" in one.text]

    assert [one.is_good for one in found] == [False]


def test_a_node_without_hl7_says_nothing_of_it(tmp_path: Path) -> None:
    assert list(doctor._hl7(_settings(tmp_path, enabled=False))) == []
