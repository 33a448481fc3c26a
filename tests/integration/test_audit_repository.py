"""The repository is spoken to over real TLS, by rsyslog and by a server of Python's."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.atna import check_repository
from dicom_node.atna.repository import AuditRepository
from dicom_node.config import AuditSettings
from dicom_node.errors import AuditError
from dicom_node.tls import client_context
from tests.builders.process import free_port, wait_until
from tests.builders.rsyslog import SyslogServer, TestAuthority


class Listener:
    """A TLS server that keeps what it reads, and hangs up when it is told to."""

    def __init__(self, authority: TestAuthority) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.server, authority.server_key)
        context.load_verify_locations(authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.received: list[bytes] = []
        self.versions: list[str | None] = []
        self.hang_up = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.hang_up.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self.versions.append(connection.version())
                    self._read(connection)
            except OSError:
                continue

    def _read(self, connection: ssl.SSLSocket) -> None:
        data = b""
        connection.settimeout(0.05)
        while not self.hang_up.is_set():
            try:
                piece = connection.recv(1 << 20)
            except TimeoutError:
                continue
            if not piece:
                return
            data += piece
            while (cut := data.find(b" ")) >= 0:
                end = cut + 1 + int(data[:cut])
                if len(data) < end:
                    break
                self.received.append(data[cut + 1 : end])
                data = data[end:]
        self.hang_up.clear()


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path / "ca")


@pytest.fixture
def listener(authority: TestAuthority) -> Iterator[Listener]:
    made = Listener(authority)
    yield made
    made.stop()


def settings(authority: TestAuthority, port: int, **changes: object) -> AuditSettings:
    values = {
        "host": "localhost",
        "port": port,
        "ca": authority.ca,
        "certificate": authority.client,
        "private_key": authority.client_key,
    }
    return AuditSettings.model_validate(values | changes)


def repository(audit: AuditSettings) -> AuditRepository:
    assert audit.host is not None
    return AuditRepository(
        audit.host, audit.port, context=lambda: client_context(audit)
    )


def look_for_two_seconds(one: AuditRepository) -> None:
    for _ in range(100):
        one.write([])
        time.sleep(0.02)


def wait_for(listener: Listener, count: int) -> None:
    wait_until(
        lambda: len(listener.received) >= count, timeout_s=10, what=f"{count} messages"
    )


def test_messages_are_counted_in_octets_however_long(
    authority: TestAuthority, listener: Listener
) -> None:
    sent = ["é".encode() * 20_000, b"two\nlines", b"x" * 200_000]
    one = repository(settings(authority, listener.port))

    one.write(sent)
    wait_for(listener, 3)

    assert listener.received == sent
    assert listener.versions == ["TLSv1.3"]
    wait_until(one.is_settled, timeout_s=5, what="the acknowledgement of TCP")
    one.close()


def test_a_connection_that_was_hung_up_is_noticed_and_made_anew(
    authority: TestAuthority, listener: Listener
) -> None:
    one = repository(settings(authority, listener.port))
    one.write([b"first"])
    wait_for(listener, 1)
    listener.hang_up.set()

    with pytest.raises(AuditError):
        look_for_two_seconds(one)
    one.write([b"second"])
    wait_for(listener, 2)

    assert listener.received == [b"first", b"second"]
    one.close()


def test_a_repository_that_another_signed_is_refused(
    authority: TestAuthority, listener: Listener, tmp_path: Path
) -> None:
    other = TestAuthority(tmp_path / "other")
    audit = settings(authority, listener.port, ca=other.ca)

    with pytest.raises(AuditError, match="its certificate is not good"):
        check_repository(audit)
    assert not listener.received


def test_a_repository_of_another_name_is_refused(
    authority: TestAuthority, listener: Listener
) -> None:
    audit = settings(authority, listener.port, host="127.0.0.1")

    with pytest.raises(AuditError, match="its certificate is not good"):
        check_repository(audit)


def test_a_repository_that_is_away_is_told(authority: TestAuthority) -> None:
    with pytest.raises(AuditError, match="Connection refused"):
        check_repository(settings(authority, free_port()))


@pytest.mark.peers
def test_rsyslog_answers(authority: TestAuthority, tmp_path: Path) -> None:
    port = free_port()
    server = SyslogServer(tmp_path / "rsyslog", port=port, authority=authority)

    with server.running():
        sign = check_repository(settings(authority, port))

    assert sign.startswith("answers over TLSv1.")
