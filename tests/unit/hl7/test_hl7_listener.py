"""The MLLP server, asked by another library's client, by raw sockets and over TLS."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hl7.client import MLLPClient
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.config import Hl7Settings
from dicom_node.errors import SettingsError
from dicom_node.hl7 import Answering, Hl7Listener
from dicom_node.hl7 import listener as listening
from dicom_node.hl7.framing import frame
from dicom_node.hl7.listener import is_allowed
from dicom_node.records import IncomingReport
from tests.builders.hl7_messages import make_oru, obx
from tests.builders.process import wait_until

MESSAGE = make_oru(obx("Left pleural effusion.")).encode()


class _Inbox:
    def __init__(self) -> None:
        self.reports: list[IncomingReport] = []
        self.gate = threading.Event()
        self.gate.set()

    def accept_all(self, arrived: Sequence[IncomingReport]) -> None:
        self.gate.wait(10)
        self.reports += arrived


@contextmanager
def _listening(
    inbox: _Inbox | None = None, *, max_message_bytes: int = 1 << 20, **settings: Any
) -> Iterator[Hl7Listener]:
    answering = Answering(
        inbox or _Inbox(),
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        counters=Counters(CollectorRegistry()),
    )
    one = Hl7Listener(
        Hl7Settings(enabled=True, port=0, **settings),
        answering,
        max_message_bytes=max_message_bytes,
    )
    one.start()
    try:
        yield one
    finally:
        one.stop()


def _until(is_true: Callable[[], bool]) -> None:
    wait_until(is_true, timeout_s=10, what="the listener", interval_s=0.01)


@contextmanager
def _connected(server: Hl7Listener) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as one:
        yield one


def _read_answer(one: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\x1c\r"):
        piece = one.recv(4096)
        if not piece:
            break
        data += piece
    return data


def _is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def test_another_librarys_client_is_answered() -> None:
    inbox = _Inbox()

    with _listening(inbox) as server, MLLPClient("127.0.0.1", server.port) as client:
        answers = [client.send_message(MESSAGE) for _ in range(2)]

    assert all(b"MSA|AA|MSG0001" in one for one in answers)
    assert [one.text for one in inbox.reports] == ["Left pleural effusion."] * 2


def test_several_messages_in_one_packet_are_answered_in_order() -> None:
    second = make_oru(obx("x"), msh={10: "TWO"}).encode()

    with _listening() as server, _connected(server) as one:
        one.sendall(b"garbage" + frame(MESSAGE) + b"\r\n" + frame(second))
        answers = [_read_answer(one)]
        if b"TWO" not in answers[0]:
            answers.append(_read_answer(one))

    joined = b"".join(answers)
    assert joined.index(b"MSG0001") < joined.index(b"TWO")


def test_a_message_that_comes_byte_by_byte_is_answered() -> None:
    with _listening() as server, _connected(server) as one:
        for byte in frame(MESSAGE):
            one.sendall(bytes([byte]))

        assert b"MSA|AA" in _read_answer(one)


@pytest.mark.skipif(
    not hasattr(socket, "TCP_QUICKACK"), reason="only Linux lets one acknowledge early"
)
def test_a_sender_that_writes_in_pieces_does_not_wait_for_acknowledgements() -> None:
    whole = frame(MESSAGE)
    with _listening() as server, _connected(server) as one:
        began = time.monotonic()
        for _ in range(30):
            for piece in (whole[:1], whole[1:-2], whole[-2:]):
                one.sendall(piece)
            assert b"MSA|AA" in _read_answer(one)
        took_s = time.monotonic() - began

    assert took_s < 30 * 0.03  # the system would put each acknowledgement off for 40 ms


def test_nothing_is_answered_before_the_report_is_kept() -> None:
    inbox = _Inbox()
    inbox.gate.clear()

    with _listening(inbox) as server, _connected(server) as one:
        one.sendall(frame(MESSAGE))
        one.settimeout(0.2)
        with pytest.raises(TimeoutError):
            one.recv(1)
        inbox.gate.set()
        one.settimeout(10)

        assert b"MSA|AA" in _read_answer(one)
    assert len(inbox.reports) == 1


def test_a_message_under_way_is_answered_when_the_node_stops() -> None:
    inbox = _Inbox()
    inbox.gate.clear()

    with _listening(inbox) as server, _connected(server) as one:
        one.sendall(frame(MESSAGE))
        _until(lambda: server.statistics.open_connections == 1)
        time.sleep(0.1)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        inbox.gate.set()

        assert b"MSA|AA" in _read_answer(one)
        assert _is_closed(one)
        stopping.join()


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"idle_timeout_s": 0.1}, b""),
        ({"message_timeout_s": 0.1}, b"\x0bMSH|^~"),
        ({"message_timeout_s": 0.1}, frame(MESSAGE) + b"\x0bMSH"),
    ],
)
def test_a_silent_or_slow_sender_is_cut(
    settings: dict[str, float], sent: bytes
) -> None:
    with _listening(**settings) as server, _connected(server) as one:
        one.sendall(sent)
        if b"\x1c" in sent:
            _read_answer(one)

        assert _is_closed(one)
        _until(lambda: server.statistics.cut == 1)
        _until(lambda: server.statistics.open_connections == 0)


def test_an_endless_sender_is_told_and_cut() -> None:
    with _listening(max_message_bytes=2000) as server, _connected(server) as one:
        one.sendall(b"\x0b" + MESSAGE + b"x" * 2000)

        assert b"too long" in _read_answer(one)
        assert _is_closed(one)


def test_endless_garbage_is_cut() -> None:
    with _listening(max_message_bytes=2000) as server, _connected(server) as one:
        one.sendall(b"x" * 2001)

        assert _is_closed(one)


def test_the_most_silent_connection_gives_way_to_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "MAX_CONNECTIONS", 2)

    with (
        _listening() as server,
        _connected(server) as first,
        MLLPClient("127.0.0.1", server.port) as second,
    ):
        assert b"MSA|AA" in second.send_message(MESSAGE)
        with MLLPClient("127.0.0.1", server.port) as third:
            assert b"MSA|AA" in third.send_message(MESSAGE)

        assert _is_closed(first)
        assert b"MSA|AA" in second.send_message(MESSAGE)


def test_a_caller_from_elsewhere_is_closed_unheard() -> None:
    inbox = _Inbox()

    with (
        _listening(inbox, callers=("192.0.2.0/24",)) as server,
        _connected(server) as one,
    ):
        assert _is_closed(one)
        _until(lambda: server.statistics.refused == 1)
    assert inbox.reports == []


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ((), "127.0.0.1", True),
        ((), "::1", True),
        ((), "::ffff:127.0.0.1", True),
        ((), "192.0.2.7", False),
        (("192.0.2.0/24",), "192.0.2.7", True),
        (("192.0.2.0/24",), "::ffff:192.0.2.7", True),
        (("192.0.2.0/24",), "127.0.0.1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
    ],
)
def test_callers_are_known_by_their_network(
    networks: tuple[str, ...], address: str, allowed: bool
) -> None:
    assert is_allowed(networks, address) is allowed


def test_a_port_in_use_is_named() -> None:
    with _listening() as server:
        other = Hl7Listener(
            Hl7Settings(port=server.port),
            None,  # type: ignore[arg-type]
            max_message_bytes=1,
        )

        with pytest.raises(SettingsError, match="cannot listen"):
            other.start()
        assert other.trouble == "it does not listen"
        assert server.trouble is None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a CA, a server's and a client's certificate with openssl."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = shutil.which("openssl")
    assert openssl is not None
    new = [openssl, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    new += ["-nodes", "-days", "30"]

    def run(*arguments: str) -> None:
        subprocess.run(arguments, cwd=folder, check=True, capture_output=True)

    run(*new, "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        run(*new, "-subj", "/CN=localhost", "-keyout", f"{name}.key", "-out", "one.csr")
        sign = [openssl, "x509", "-req", "-in", "one.csr", "-days", "30"]
        sign += ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "7"]
        run(*sign, "-out", f"{name}.pem")
    return folder


def _client(folder: Path, *, certified: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.check_hostname = False
    if certified:
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return context


def test_tls_carries_messages(certificates: Path) -> None:
    tls = {
        "certificate": certificates / "server.pem",
        "private_key": certificates / "server.key",
    }

    with (
        _listening(**tls) as server,
        _connected(server) as plain,
        _client(certificates).wrap_socket(plain) as one,
    ):
        one.sendall(frame(MESSAGE))

        assert b"MSA|AA" in _read_answer(one)
        assert one.version() in {"TLSv1.2", "TLSv1.3"}


def test_with_a_client_ca_only_its_senders_are_heard(certificates: Path) -> None:
    tls = {
        "certificate": certificates / "server.pem",
        "private_key": certificates / "server.key",
        "client_ca": certificates / "ca.pem",
    }

    with _listening(**tls) as server:
        with (
            _connected(server) as plain,
            _client(certificates, certified=True).wrap_socket(plain) as one,
        ):
            one.sendall(frame(MESSAGE))
            assert b"MSA|AA" in _read_answer(one)
        with _connected(server) as plain:
            assert b"MSA" not in _try(_client(certificates), plain)
        _until(lambda: server.statistics.refused == 1)


def _try(context: ssl.SSLContext, plain: socket.socket) -> bytes:
    """Send a message over TLS and return what comes back, however it ends."""
    try:
        with context.wrap_socket(plain) as one:
            one.sendall(frame(MESSAGE))
            return _read_answer(one)
    except OSError:
        return b""


def test_a_sender_without_tls_is_cut(certificates: Path) -> None:
    tls = {
        "certificate": certificates / "server.pem",
        "private_key": certificates / "server.key",
    }

    with _listening(**tls) as server, _connected(server) as one:
        one.sendall(frame(MESSAGE))

        with suppress(ConnectionResetError):
            assert b"MSA" not in _read_answer(one)
        _until(lambda: server.statistics.refused == 1)


@pytest.mark.parametrize("key", ["client.key", "ca.pem", "missing.pem"])
def test_a_certificate_that_does_not_fit_its_key_is_named(
    certificates: Path, key: str
) -> None:
    settings = Hl7Settings(
        certificate=certificates / "server.pem", private_key=certificates / key
    )

    with pytest.raises(SettingsError, match=r"hl7\.(certificate|private_key) "):
        Hl7Listener(settings, None, max_message_bytes=1).start()  # type: ignore[arg-type]
