"""The senders of REST calls: each keeps its connection, and is a stranger each time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.torture.rest_calls import Sessions


def test_a_sender_keeps_its_connection_and_no_cookie() -> None:
    cookies: list[str | None] = []
    connections: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            cookies.append(self.headers["Cookie"])
            connections.add(self.client_address[1])
            self.send_response(200)
            self.send_header("Set-Cookie", "session=admin; Path=/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    try:
        with Sessions() as sessions, ThreadPoolExecutor(1) as sender:
            for _ in range(3):
                sender.submit(lambda: sessions.own().get(url, timeout=10)).result()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

    assert cookies == [None] * 3
    assert len(connections) == 1
