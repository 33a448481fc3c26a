"""A STOW-RS server that can answer anything: strict in what it reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from python_multipart.multipart import MultipartParser

__all__ = ["Answer", "StowServer", "accepted", "run_stow_server", "split_body"]


@dataclass(frozen=True)
class Answer:
    """What the server says; a status of 0 cuts the connection."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/dicom+json"
    headers: Mapping[str, str] = field(default_factory=dict)
    before_body: bool = False
    """True: it answers and closes without reading the request."""


@dataclass
class StowServer:
    """What came in."""

    url: str = ""
    answer: Callable[[str, list[bytes]], Answer] = lambda _path, _parts: Answer()
    requests: list[tuple[str, list[bytes]]] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)


def accepted(
    stored: Mapping[str, int | None], failed: Mapping[str, int] | None = None
) -> bytes:
    """Return a store response in JSON, PS3.18 Table 10.5.3-2."""

    def item(uid: str, reason_tag: str, reason: int | None) -> dict[str, object]:
        values: dict[str, object] = {
            "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
            "00081155": {"vr": "UI", "Value": [uid]},
        }
        if reason is not None:
            values[reason_tag] = {"vr": "US", "Value": [reason]}
        return values

    document: dict[str, object] = {}
    if stored:
        items = [item(uid, "00081196", reason) for uid, reason in stored.items()]
        document["00081199"] = {"vr": "SQ", "Value": items}
    if failed:
        items = [item(uid, "00081197", reason) for uid, reason in failed.items()]
        document["00081198"] = {"vr": "SQ", "Value": items}
    return json.dumps(document).encode()


def split_body(body: bytes, boundary: str) -> list[bytes]:
    """Read a multipart body with a parser that is not ours; return its parts."""
    parts: list[bytes] = []
    current = bytearray()
    seen_end = threading.Event()

    def begin() -> None:
        current.clear()

    def data(chunk: bytes, start: int, end: int) -> None:
        current.extend(chunk[start:end])

    def finish() -> None:
        parts.append(bytes(current))

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_part_data": data,
            "on_part_end": finish,
            "on_end": seen_end.set,
        },
    )
    parser.write(body)
    parser.finalize()
    assert seen_end.is_set()
    return parts


@contextmanager
def run_stow_server(
    answer: Callable[[str, list[bytes]], Answer] | None = None,
) -> Iterator[StowServer]:
    """Run the server while the block lasts."""
    server = StowServer()
    if answer is not None:
        server.answer = answer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            early = server.answer(self.path, [])
            if early.before_body:
                self.close_connection = True
                self._say(early)
                return
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            kind = self.headers["Content-Type"]
            assert kind.startswith('multipart/related; type="application/dicom"')
            parts = split_body(body, kind.partition('boundary="')[2].rstrip('"'))
            server.requests.append((self.path, parts))
            server.headers.append(self.headers)
            self._say(server.answer(self.path, parts))

        def do_GET(self) -> None:
            server.requests.append((self.path, []))
            server.headers.append(self.headers)
            self._say(server.answer(self.path, []))

        def _say(self, said: Answer) -> None:
            if said.status == 0:
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", said.content_type)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            """Say nothing on the test's terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/dicom-web"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
