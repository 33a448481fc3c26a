"""What the doctor says of certificates, keys and revocation lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.commands import doctor
from dicom_node.config import NodeSettings
from tests.builders.certificates import Authority, Pair

TABLES = ("dicom_tls", "hl7", "web")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def _examine(table: str, pair: Pair, **more: object) -> list[tuple[bool, str]]:
    values = {
        "certificate": pair.certificate,
        "private_key": pair.private_key,
        "enabled": True,
        **more,
    }
    if table == "dicom_tls":
        values = {"require_client": False} | values
    settings = NodeSettings.model_validate({table: values})
    return [(one.is_good, one.text) for one in doctor._certificates(settings)]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("days", "is_good", "words"),
    [(90, True, "valid until"), (10, False, "valid until"), (-1, False, "expired")],
)
def test_a_certificate_that_ends_soon_is_trouble(
    authority: Authority, table: str, days: int, is_good: bool, words: str
) -> None:
    ((found, text),) = _examine(table, authority.sign("node", days=days))

    assert found is is_good
    assert text.startswith(f"{table} certificate")
    assert words in text


@pytest.mark.parametrize("table", TABLES)
def test_a_certificate_that_cannot_be_used_is_trouble(
    authority: Authority, table: str
) -> None:
    pair = authority.sign("node", days=90)
    pair.private_key.write_bytes(authority.sign("other").private_key.read_bytes())

    assert (
        False,
        f"{table}.certificate {pair.certificate}: it cannot be used with its key",
    ) in _examine(table, pair)


def test_a_key_that_everybody_may_read_is_trouble(authority: Authority) -> None:
    pair = authority.sign("node", days=90)
    pair.private_key.chmod(0o644)

    found = _examine("dicom_tls", pair)

    assert [one for one, _ in found] == [True, False]
    assert "every user of this machine may read it" in found[1][1]


def test_a_revocation_list_that_has_ended_is_trouble(authority: Authority) -> None:
    pair = authority.sign("node", days=90)
    more = {"client_ca": authority.path, "require_client": True}

    fresh = _examine("dicom_tls", pair, revoked=authority.revoke(days=7), **more)
    stale = _examine("dicom_tls", pair, revoked=authority.revoke(days=-1), **more)

    assert [one for one, _ in fresh] == [True, True]
    assert [one for one, _ in stale] == [True, False]
