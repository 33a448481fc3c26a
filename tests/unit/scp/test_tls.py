"""Associations over TLS: who is heard, who waits, and what goes on while both do."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.config import CallerSettings, DicomTlsSettings
from dicom_node.errors import SettingsError
from dicom_node.scp import DicomServer
from tests.builders.certificates import Authority, Pair
from tests.builders.dicom_server import RunningServer, running_server
from tests.builders.process import wait_until
from tests.builders.raw_peer import VERIFICATION, RawPeer, make_instance


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def caller(authority: Authority) -> Pair:
    return authority.sign("caller")


def tls_settings(authority: Authority, **more: object) -> DicomTlsSettings:
    pair = authority.sign("node")
    values: dict[str, object] = {
        "enabled": True,
        "port": 0,
        "certificate": pair.certificate,
        "private_key": pair.private_key,
        "client_ca": authority.path,
        **more,
    }
    return DicomTlsSettings.model_validate(values)


@pytest.fixture
def running(tmp_path: Path, authority: Authority) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", tls=tls_settings(authority)) as one:
        yield one


def tls_port(running: RunningServer) -> int:
    port = running.server.tls_port
    assert port is not None
    return port


def echo(port: int, context: ssl.SSLContext | None = None, **options: object) -> int:
    """Associate, C-ECHO, release; return the status."""
    with RawPeer(port, tls=context, **options) as peer:  # type: ignore[arg-type]
        peer.associate(VERIFICATION)
        status = peer.echo()
        assert peer.release() == 6
        return status


def is_heard(port: int, context: ssl.SSLContext) -> bool:
    """Whether an association is accepted; TLS 1.3 tells of failure only afterwards."""
    try:
        return echo(port, context) == 0
    except (OSError, AssertionError):
        return False


def test_plain_and_tls_are_spoken_side_by_side(
    running: RunningServer, authority: Authority, caller: Pair
) -> None:
    assert running.server.plain_port == running.port
    assert echo(running.port) == 0
    assert echo(tls_port(running), authority.client(caller)) == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_large_instance_comes_whole_over_each_version(
    running: RunningServer,
    authority: Authority,
    caller: Pair,
    version: ssl.TLSVersion,
) -> None:
    context = authority.client(caller)
    context.minimum_version = context.maximum_version = version
    pixels = bytes(range(256)) * (16 << 10)

    with RawPeer(tls_port(running), tls=context) as peer:
        peer.associate()
        answer = peer.store(make_instance(EncapsulatedDocument=pixels))

    assert answer.status == 0
    assert pixels in running.files()[0].read_bytes()


def test_without_the_plain_port_only_tls_is_spoken(
    tmp_path: Path, authority: Authority, caller: Pair
) -> None:
    settings = tls_settings(authority)
    with running_server(tmp_path / "data", tls=settings, plain=False) as running:
        assert running.port == running.server.tls_port
        assert running.server.plain_port is None
        assert echo(running.port, authority.client(caller)) == 0


def test_a_caller_without_a_good_certificate_is_not_heard(
    tmp_path: Path, authority: Authority
) -> None:
    other = Authority(tmp_path / "other")
    taken_back = authority.sign("revoked")
    good = authority.sign("good")
    bad = {
        "none": authority.client(),
        "other": authority.client(other.sign("stranger")),
        "expired": authority.client(authority.sign("expired", days=-1)),
        "revoked": authority.client(taken_back),
    }
    settings = tls_settings(authority, revoked=authority.revoke(taken_back))

    with (
        running_server(tmp_path / "data", tls=settings) as running,
        capture_logs() as logs,
    ):
        port = tls_port(running)
        heard = [name for name, context in bad.items() if is_heard(port, context)]
        assert is_heard(port, authority.client(good))
        wait_until(
            lambda: not running.server.statistics.open_connections,
            timeout_s=5,
            what="connections to end",
        )
        numbers = running.server.statistics

    assert heard == []
    assert (numbers.associations_accepted, numbers.tls_failed) == (1, len(bad))
    reasons = [one["reason"] for one in logs if one["event"] == "tls_failed"]
    # A caller hears of its failure before the node writes it down, each in its thread.
    assert sorted(reason.rpartition(": ")[2] for reason in reasons) == [
        "certificate has expired",
        "certificate revoked",
        "peer did not return a certificate",
        "unable to get local issuer certificate",
    ]


def test_a_title_may_be_bound_to_a_certificate(
    tmp_path: Path, authority: Authority
) -> None:
    own, other = authority.sign("own"), authority.sign("other")
    bound = CallerSettings(
        ae_title="PACS", address="127.0.0.1", certificate_sha256=own.fingerprint
    )
    settings = tls_settings(authority)

    with running_server(tmp_path / "data", tls=settings, callers=(bound,)) as running:
        port = tls_port(running)
        assert is_heard(port, authority.client(own))
        assert not is_heard(port, authority.client(other))
        with pytest.raises(AssertionError):
            echo(running.port)
        told = running.server.refusals.take()

    assert {(one.refusal.reason, one.refusal.calling_ae_title) for one in told} == {
        ("calling", "PACS")
    }


def test_who_is_silent_in_the_handshake_keeps_nobody_waiting(
    running: RunningServer, authority: Authority, caller: Pair
) -> None:
    silent = [RawPeer(tls_port(running)) for _ in range(20)]
    try:
        began = time.monotonic()
        assert echo(tls_port(running), authority.client(caller)) == 0
        assert time.monotonic() - began < 4.0
    finally:
        for one in silent:
            one.socket.close()


def test_a_silent_handshake_ends_after_the_time_for_a_pdu(
    tmp_path: Path, authority: Authority
) -> None:
    settings = tls_settings(authority)
    with (
        running_server(tmp_path / "data", tls=settings, pdu_timeout_s=0.3) as running,
        capture_logs() as logs,
        RawPeer(tls_port(running)) as silent,
        RawPeer(tls_port(running)) as half,
    ):
        half.send(b"\x16\x03\x01\x02\x00\x01\x00")
        assert silent.is_closed()
        assert half.is_closed()
        wait_until(
            lambda: not running.server.statistics.open_connections,
            timeout_s=5,
            what="connections to end",
        )

    assert [one["reason"] for one in logs if one["event"] == "tls_failed"] == [
        "the handshake took too long"
    ] * 2
    assert not running.server.refusals.take()


def test_the_wrong_language_ends_at_once_and_is_named(
    running: RunningServer, authority: Authority, caller: Pair
) -> None:
    with capture_logs() as logs:
        with RawPeer(tls_port(running)) as plain, pytest.raises(AssertionError):
            plain.associate(VERIFICATION)
        with pytest.raises(ssl.SSLError):
            RawPeer(running.port, tls=authority.client(caller))
        wait_until(
            lambda: not running.server.statistics.open_connections,
            timeout_s=5,
            what="connections to end",
        )

    reasons = {one["reason"] for one in logs if "reason" in one}
    assert reasons == {
        "an association without TLS",
        "TLS on the port for plain DICOM",
    }


def test_a_new_certificate_is_shown_and_nobody_is_cut(
    running: RunningServer, authority: Authority, caller: Pair
) -> None:
    context = authority.client(caller)
    with RawPeer(tls_port(running), tls=context) as before:
        before.associate(VERIFICATION)
        renewed = authority.sign("node").der
        with RawPeer(tls_port(running), tls=context) as after:
            assert isinstance(after.socket, ssl.SSLSocket)
            shown = after.socket.getpeercert(binary_form=True)
        assert before.echo() == 0

    assert shown == renewed
    assert running.server.tls is not None
    assert running.server.tls.trouble is None


def test_a_broken_new_certificate_leaves_the_old_one_in_use(
    running: RunningServer, authority: Authority, caller: Pair
) -> None:
    context = authority.client(caller)
    tls = running.server.tls
    assert tls is not None
    (authority.folder / "node.pem").write_text("nonsense")

    with capture_logs() as logs:
        assert echo(tls_port(running), context) == 0
        assert "the one before is still used" in (tls.trouble or "")
        assert echo(tls_port(running), context) == 0
    authority.sign("node")

    assert [one["event"] for one in logs].count("certificate_not_renewed") == 1
    assert tls.trouble is None


def test_a_caller_is_revoked_while_the_node_works(
    tmp_path: Path, authority: Authority, caller: Pair
) -> None:
    settings = tls_settings(authority, revoked=authority.revoke())
    context = authority.client(caller)
    with running_server(tmp_path / "data", tls=settings) as running:
        assert is_heard(tls_port(running), context)
        authority.revoke(caller)
        assert not is_heard(tls_port(running), context)


@pytest.mark.parametrize("broken", ["certificate", "private_key", "client_ca"])
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, authority: Authority, broken: str
) -> None:
    path = tmp_path / "broken.pem"
    path.write_text("nonsense")
    settings = tls_settings(authority, **{broken: path})

    with (
        pytest.raises(SettingsError, match=r"dicom_tls\.\w+ .*\.pem"),
        running_server(tmp_path / "data", tls=settings),
    ):
        pass


def test_an_encrypted_key_is_an_error_that_says_so(
    tmp_path: Path, authority: Authority
) -> None:
    from cryptography.hazmat.primitives import serialization as forms

    settings = tls_settings(authority)
    assert settings.private_key is not None
    key = forms.load_pem_private_key(settings.private_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            forms.Encoding.PEM,
            forms.PrivateFormat.PKCS8,
            forms.BestAvailableEncryption(b"secret"),
        )
    )

    with (
        pytest.raises(SettingsError, match="it is encrypted"),
        running_server(
            tmp_path / "data", tls=tls_settings(authority, private_key=locked)
        ),
    ):
        pass


def test_no_ticket_is_given_that_resumes_a_session(
    running: RunningServer, authority: Authority, caller: Pair
) -> None:
    context = authority.client(caller)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with RawPeer(tls_port(running), tls=context) as first:
        assert isinstance(first.socket, ssl.SSLSocket)
        session = first.socket.session
    assert session is not None
    assert not session.has_ticket


def test_who_stops_the_server_ends_a_handshake(
    tmp_path: Path, authority: Authority
) -> None:
    settings = tls_settings(authority)
    with running_server(tmp_path / "data", tls=settings, pdu_timeout_s=30) as running:
        one = socket.create_connection(("127.0.0.1", tls_port(running)), 5)
        one.sendall(b"\x16\x03\x01")
        server: DicomServer = running.server
        wait_until(
            lambda: server.statistics.open_connections == 1,
            timeout_s=5,
            what="the connection",
        )
        began = time.monotonic()
    assert time.monotonic() - began < 5.0
    one.close()
