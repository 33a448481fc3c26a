"""HTTP connections that let the node wait, on real loopback sockets."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from dicom_node.config import WebSettings
from dicom_node.web.server import WebServer
from tests.builders.certificates import Authority
from tests.builders.process import wait_until

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


class _App:
    """Reads a body, waits where told, and answers with many bytes."""

    def __init__(self, *, answer_bytes: int = 2, pause_s: float = 0.0) -> None:
        self.answer = bytes(answer_bytes)
        self.pause_s = pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.answer})


@contextmanager
def _serving(app: ASGIApp | None = None, **settings: Any) -> Iterator[WebServer]:
    server = WebServer(app or _App(), WebSettings(port=0, **settings))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _connect(server: WebServer, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 10, (source, 0))


def _ask(server: WebServer, source: str = "127.0.0.1") -> int:
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.port, timeout=10, source_address=(source, 0)
    )
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def _trickle_until_cut(one: socket.socket, data: bytes, *, pause_s: float) -> float:
    began = time.monotonic()
    try:
        for byte in data:
            one.sendall(bytes((byte,)))
            time.sleep(pause_s)
    except ConnectionError:
        return time.monotonic() - began
    pytest.fail("the server took it all")


def _is_closed(one: socket.socket) -> bool:
    try:
        return not one.recv(1)
    except ConnectionError:
        return True


def _is_gone(one: socket.socket) -> bool:
    try:
        return not one.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost"])
def test_a_request_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    with _serving(read_timeout_s=0.2) as server, _connect(server) as one:
        one.sendall(sent)

        assert _is_closed(one)
        assert _ask(server) == 200


def test_a_head_that_trickles_is_cut() -> None:
    with _serving(read_timeout_s=0.2) as server, _connect(server) as one:
        head = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100

        assert _trickle_until_cut(one, head, pause_s=0.02) < 8


def test_a_second_head_that_trickles_is_cut() -> None:
    with _serving(read_timeout_s=0.2) as server, _connect(server) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        one.recv(1000)

        _trickle_until_cut(one, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 99, pause_s=0.02)


def test_a_body_that_trickles_is_cut() -> None:
    with _serving(read_timeout_s=0.2) as server, _connect(server) as one:
        one.sendall(HEAD)

        _trickle_until_cut(one, bytes(1000), pause_s=0.02)


def test_a_body_that_comes_slowly_but_surely_is_answered() -> None:
    with _serving(read_timeout_s=0.2) as server, _connect(server) as one:
        one.sendall(HEAD.replace(b"1000000", b"12000"))
        for _ in range(12):
            one.sendall(bytes(1000))
            time.sleep(0.05)

        assert one.recv(12) == b"HTTP/1.1 200"


def test_an_application_that_reads_slowly_is_not_the_peers_fault() -> None:
    with (
        _serving(_App(pause_s=0.06), read_timeout_s=0.2) as server,
        _connect(server) as one,
    ):
        one.sendall(HEAD + bytes(1_000_000))

        assert one.recv(12) == b"HTTP/1.1 200"


def test_a_peer_that_does_not_read_is_cut() -> None:
    with _serving(_App(answer_bytes=32 << 20), read_timeout_s=0.2) as server:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", server.port))
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(1.0)

            taken = 0
            try:
                while data := one.recv(1 << 16):
                    taken += len(data)
            except ConnectionError:
                pass

        assert taken < 32 << 20


def test_a_peer_that_reads_slowly_but_surely_gets_everything() -> None:
    with (
        _serving(_App(answer_bytes=4 << 20), read_timeout_s=0.2) as server,
        _connect(server) as one,
    ):
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        taken = 0
        while data := one.recv(1 << 16):
            taken += len(data)
            time.sleep(0.02)

        assert taken > 4 << 20


def test_who_sends_many_requests_ahead_gets_the_first_answers_only() -> None:
    with _serving() as server, _connect(server) as one:
        one.sendall(500 * b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        taken = b""
        try:
            while data := one.recv(1 << 16):
                taken += data
        except ConnectionError:
            pass

    assert 32 <= taken.count(b"HTTP/1.1 200") <= 65


@pytest.mark.parametrize("sent", [b"", HEAD])
def test_who_takes_every_connection_takes_it_from_itself(sent: bytes) -> None:
    with (
        _serving(max_connections=8, read_timeout_s=60) as server,
        ExitStack() as stack,
    ):
        many = [stack.enter_context(_connect(server)) for _ in range(20)]
        for one in many:
            try:
                one.sendall(sent)
            except ConnectionError:
                continue  # It was one too many.

        assert _ask(server, "127.0.0.2") == 200
        assert _ask(server, "127.0.0.3") == 200
        for one in many:
            one.settimeout(0)
        wait_until(
            lambda: sum(map(_is_gone, many)) >= 20 - 8,
            timeout_s=10,
            what="the many to be few",
        )


@pytest.fixture
def https(tmp_path: Path) -> tuple[ssl.SSLContext, dict[str, Any]]:
    authority = Authority(tmp_path)
    pair = authority.sign("node")
    files = {"certificate": pair.certificate, "private_key": pair.private_key}
    return authority.client(), files


def _ask_https(server: WebServer, context: ssl.SSLContext, source: str) -> int:
    connection = http.client.HTTPSConnection(
        "127.0.0.1",
        server.port,
        timeout=10,
        source_address=(source, 0),
        context=context,
    )
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00"])
def test_a_handshake_that_does_not_end_is_not_waited_for(
    https: tuple[ssl.SSLContext, dict[str, Any]], sent: bytes
) -> None:
    context, files = https
    with _serving(read_timeout_s=0.5, **files) as server, _connect(server) as one:
        one.sendall(sent)

        assert _is_closed(one)
        assert _ask_https(server, context, "127.0.0.2") == 200


def test_who_begins_handshakes_without_end_ends_its_own(
    https: tuple[ssl.SSLContext, dict[str, Any]],
) -> None:
    context, files = https
    with (
        _serving(max_connections=8, read_timeout_s=60, **files) as server,
        ExitStack() as stack,
    ):
        many = [stack.enter_context(_connect(server)) for _ in range(20)]

        assert _ask_https(server, context, "127.0.0.2") == 200
        for one in many:
            one.settimeout(0)
        wait_until(
            # One more made room for whoever asked.
            lambda: sum(map(_is_gone, many)) == 20 - 8 + 1,
            timeout_s=10,
            what="the many to be few",
        )
        assert _ask_https(server, context, "127.0.0.3") == 200


class _RefusingApp:
    """Answers before it has read anything of the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"connection", b"close"), (b"content-length", b"3")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"no!"})


def _send_all_then_read(one: socket.socket, data: bytes) -> bytes:
    # As browsers and most libraries do: first the request, then the answer.
    one.sendall(data)
    answer = b""
    while not answer.endswith(b"no!") and (more := one.recv(65536)):
        answer += more
    return answer


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_who_is_refused_while_sending_gets_the_answer(
    https: tuple[ssl.SSLContext, dict[str, Any]], is_encrypted: bool
) -> None:
    context, files = https
    body = bytes(8 << 20)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with ExitStack() as stack:
        server = stack.enter_context(
            _serving(_RefusingApp(), **(files if is_encrypted else {}))
        )
        one = stack.enter_context(_connect(server))
        if is_encrypted:
            one = stack.enter_context(
                context.wrap_socket(one, server_hostname="127.0.0.1")
            )

        answer = _send_all_then_read(one, head + body)

    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b"no!")


def test_who_sends_what_is_not_http_gets_the_answer() -> None:
    with _serving() as server, _connect(server) as one:
        answer = _send_all_then_read(one, b"GET / NOT-HTTP\r\n\r\n" + bytes(4 << 20))

    assert answer.startswith(b"HTTP/1.1 400")


def test_who_is_refused_and_sends_for_ever_is_cut() -> None:
    with (
        _serving(_RefusingApp(), read_timeout_s=1.0) as server,
        _connect(server) as one,
    ):
        one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
        one.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        deadline = time.monotonic() + 20
        is_cut = False
        while not is_cut and time.monotonic() < deadline:
            try:
                one.sendall(bytes(65536))
            except ConnectionError:
                is_cut = True

    assert is_cut


def test_connections_that_are_read_to_their_end_take_places() -> None:
    with (
        _serving(_RefusingApp(), max_connections=2, read_timeout_s=60) as server,
        ExitStack() as stack,
    ):
        many = [stack.enter_context(_connect(server)) for _ in range(6)]
        for one in many:
            with suppress(ConnectionError):
                one.sendall(HEAD)
        for one in many:
            one.settimeout(0)

        wait_until(
            lambda: len(server._server.server_state.connections) <= 2,
            timeout_s=10,
            what="the many to be few",
        )
