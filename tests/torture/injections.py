"""What a stranger or a peer might slip in: addresses, paths, queries, headers, code."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread

from tests.builders.process import wait_until
from tests.torture.canary import PATIENT
from tests.torture.canary_node import PASSWORD, CanaryNode
from tests.torture.canary_patient import make_study, set_text
from tests.torture.outcome import Figure, at_least, at_most

__all__ = ["inject"]

_ELSEWHERE = ("http://169.254.169.254/latest/meta-data", "file:///etc/passwd")

_TRAVERSALS = (
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cetc%5cpasswd",
    "....//....//etc/passwd",
    "%252e%252e%252fetc%252fpasswd",
    "/etc/passwd",
    "%00",
    "1.2%00.3",
    "1.2%0d%0aX-Injected:%20yes",
    "~root/.bashrc",
    "CON",
    "..;/web-secret",
    "web-secret",
    "node.sqlite",
)

_QUERIES = (
    "' OR 1=1--",
    "'; DROP TABLE studies;--",
    "%",
    "_" * 60,
    "%" * 64,
    "*" * 64,
    "?" * 64,
    "\\",
    "\x00",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "!!python/object/apply:os.system ['touch canary-file']",
    "$(touch canary-file)",
    "a" * 60_000,
)


class _Touch:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@dataclass
class _Count:
    asked: int = 0
    failed: int = 0
    effects: int = 0


def inject(node: CanaryNode) -> list[Figure]:
    """Try each; count what had an effect."""
    count = _Count()
    mark = node.folder / "cwd" / "canary-file"
    steps: list[Callable[[CanaryNode, _Count], None]] = [
        _paths,
        _queries,
        _headers,
        _bodies,
        _cross_site,
        _raw_requests,
        _addresses,
    ]
    for step in steps:
        step(node, count)
    marks = [one for one in (mark, node.folder / "canary-file") if one.exists()]
    return [
        at_least("injections", count.asked, 100),
        at_most("injections answered 5xx", count.failed, 0),
        at_most("injections with an effect", count.effects + len(marks), 0),
    ]


def _look(answer: httpx.Response, count: _Count, *, what: str) -> None:
    count.asked += 1
    count.failed += answer.status_code >= 500
    secrets = (b"root:x:", b"SQLite format 3", b"DROP TABLE")
    is_hit = any(one in answer.content for one in secrets)
    if is_hit or "x-injected" in answer.headers:
        count.effects += 1
    if is_hit or answer.status_code >= 500:
        print(f"injected: {what!r}: {answer.status_code}")


def _paths(node: CanaryNode, count: _Count) -> None:
    with node.client("ada") as client:
        document = client.get("/openapi.json").json()["paths"]
        routes = [path for path in document if "{" in path and "get" in document[path]]
        routes += ["/static/{name}", "/view/{uid}"]
        for number, payload in enumerate(_TRAVERSALS):
            # Each payload in a share of the routes, and each route with some.
            for route in routes[number % 3 :: 3]:
                path = "/".join(
                    payload if "{" in part else part for part in route.split("/")
                )
                _look(client.get(path), count, what=path)


def _queries(node: CanaryNode, count: _Count) -> None:
    with node.client("vic") as client:
        everything = len(client.get("/studies").json()["studies"])
        assert everything > 1
        for payload in _QUERIES:
            for path, name in (("/studies", "q"), ("/studies", "before")):
                answer = client.get(path, params={name: payload})
                _look(answer, count, what=f"{name}={payload[:30]}")
                if name == "q" and answer.status_code == 200:
                    found = len(answer.json()["studies"])
                    count.effects += found >= everything
            for name in ("PatientID", "StudyInstanceUID", "limit", payload[:200]):
                answer = client.get("/dicom-web/studies", params={name: payload})
                _look(answer, count, what=f"QIDO {name[:20]}={payload[:30]}")
        # A wildcard of SQL is none of DICOM.
        for payload in ("%", "_" * len(f"{PATIENT}-ID")):
            answer = client.get("/dicom-web/studies", params={"PatientID": payload})
            count.effects += answer.status_code == 200 and bool(answer.content.strip())


def _headers(node: CanaryNode, count: _Count) -> None:
    said = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": node.trap.url,
        "X-Original-URL": "/openapi.json",
        "X-HTTP-Method-Override": "DELETE",
        "Forwarded": "for=127.0.0.1",
        "Host": f"127.0.0.1:{node.trap.port}",
        "Range": "bytes=" + ",".join(["0-"] * 1000),
        "Accept-Language": "../" * 1000,
        "Cookie": "dicom-node-session=" + "A" * 4000,
        "If-None-Match": "%s%n" * 100,
    }
    with node.client() as client:
        for name, value in said.items():
            answer = client.get("/studies", headers={name: value})
            _look(answer, count, what=name)
            count.effects += answer.status_code == 200
        answer = client.get("/sign-in", params={"next": "//evil.example/%0d%0aX: y"})
        _look(answer, count, what="next")


def _bodies(node: CanaryNode, count: _Count) -> None:
    mark = node.folder / "cwd" / "canary-file"
    harmful = (
        pickle.dumps(_Touch(mark)),
        f"!!python/object/apply:os.system ['touch {mark}']".encode(),
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        json.dumps({"__class__": "os.system", "$ref": _ELSEWHERE[1]}).encode(),
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"\x1f\x8b" + b"\0" * 100,
    )
    doors = ("/fhir/DiagnosticReport", "/studies/2.25.11919/report", "/rules/test")
    doors += ("/dicom-web/studies", "/operations/pause", "/sign-in")
    kinds = ("application/json", "application/x-yaml", "application/fhir+json")
    with node.client("ada") as client:
        for body in harmful:
            for door in doors:
                for kind in kinds:
                    answer = client.post(
                        door, content=body, headers={"Content-Type": kind}
                    )
                    _look(answer, count, what=f"{door} {body[:20]!r}")


def _cross_site(node: CanaryNode, count: _Count) -> None:
    """Let another site's page ask with a person's cookie."""
    with node.client() as client:
        signed = client.post("/sign-in", json={"name": "ada", "password": PASSWORD})
        assert signed.status_code == 204, signed.text
        flags = signed.headers["set-cookie"].lower()
        count.effects += not ("httponly" in flags and "samesite=strict" in flags)
        doors = ("/operations/pause", "/studies/2.25.11919/requeue", "/sign-out")
        for door in doors:
            for headers in (
                {},
                {"Origin": "https://evil.example", "X-Requested-With": "x"},
                {"Sec-Fetch-Site": "cross-site", "X-Requested-With": "x"},
                {"Origin": "null", "X-Requested-With": "x"},
            ):
                if door == "/sign-out" and not headers:
                    continue  # whoever may may
                answer = client.post(door, json={"on": True}, headers=headers)
                count.asked += 1
                if answer.status_code != 403:
                    print(f"injected: {door} {headers}: {answer.status_code}")
                    count.effects += 1


def _raw_requests(node: CanaryNode, count: _Count) -> None:
    """Send what no client would: broken lines, two lengths, endless headers."""
    requests = (
        b"GET /studies HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        b"GET /static/../../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /fhir/DiagnosticReport HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /studies HTTP/1.1\r\n\r\n",
        b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    )
    for request in requests:
        count.asked += 1
        with socket.create_connection(("127.0.0.1", node.web_port), 5) as peer:
            peer.settimeout(3)
            try:
                peer.sendall(request)
                answer = peer.recv(65_536)
            except (TimeoutError, ConnectionError):
                answer = b""
        status = answer.split(b" ")[1][:1] if answer.startswith(b"HTTP/") else b""
        count.failed += status == b"5"
        count.effects += b"root:x:" in answer or b'"studies"' in answer
    node.program.check_alive()


def _addresses(node: CanaryNode, count: _Count) -> None:
    """Let images and worklist name addresses that nobody shall ask."""
    study = make_study(node.folder / "lured", 5, texts={"PatientName": PATIENT})
    for path, url in zip(study.files, (node.trap.url, *_ELSEWHERE), strict=False):
        ds = dcmread(path)
        for keyword in ("RetrieveURL", "RetrieveURI", "FileSetID"):
            set_text(ds, keyword, url[:16] if keyword == "FileSetID" else url)
        ds.save_as(path, enforce_file_format=True)
    assert all(node.send(*study.files))
    node.wait_for(study.uid, "done", "failed")
    count.asked += len(study.files)
    # The worklist's item named an address as the place of its input.
    wait_until(
        lambda: node.ups.state() != "SCHEDULED", timeout_s=30, what="the worklist"
    )
    count.effects += len(node.trap.connections)
