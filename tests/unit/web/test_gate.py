from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.types import Message

from dicom_node.web import api_operations
from dicom_node.web.access import Person
from tests.builders.finished_study import store_series
from tests.builders.websites import PASSWORD, Site, open_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path / "node") as opened:
        opened.add_user("vic", "viewer")
        yield opened


def send(
    site: Site, path: str, *, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], int]:
    """POST an endless body; return status, headers and how often it was read."""
    reads = 0
    answer: list[Message] = []

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        assert reads < 10_000
        return {"type": "http.request", "body": b"x" * 4096, "more_body": True}

    async def answered(message: Message) -> None:
        answer.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "client": ("192.0.2.7", 4711),
        "server": ("127.0.0.1", 8042),
        "headers": [
            (name.lower().encode(), value.encode())
            for name, value in {
                "Host": "127.0.0.1:8042",
                "Transfer-Encoding": "chunked",
                "Content-Type": "multipart/form-data; boundary=b",
                **(headers or {}),
            }.items()
        ],
    }
    asyncio.run(site.app(scope, receive, answered))
    found = {k.decode(): v.decode() for k, v in answer[0]["headers"]}
    return answer[0]["status"], found, reads


@pytest.mark.parametrize(
    "path",
    [
        "/rules/test",
        "/operations/pause",
        "/studies/1.2/report",
        "/studies/1.2/regions/1.3/corrections",
        "/fhir/DiagnosticReport",
    ],
)
def test_nothing_is_read_of_what_a_stranger_sends(site: Site, path: str) -> None:
    status, headers, reads = send(site, path)

    assert (status, reads) == (401, 0)
    assert headers["connection"] == "close"
    assert headers["x-frame-options"] == "DENY"


def test_nothing_is_read_of_what_who_may_not_sends(site: Site) -> None:
    basic = httpx.BasicAuth("vic", PASSWORD)
    request = httpx.Request("GET", "http://node/")
    signed = next(basic.sync_auth_flow(request)).headers["authorization"]

    status, headers, reads = send(
        site, "/operations/pause", headers={"Authorization": signed}
    )

    assert (status, reads) == (403, 0)
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    ("path", "status"), [("/sign-in", 413), ("/nowhere", 404), ("/studies", 405)]
)
def test_an_endless_body_is_hung_up_on(site: Site, path: str, status: int) -> None:
    found, headers, reads = send(
        site, path, headers={"Content-Type": "application/json"}
    )

    assert found == status
    assert headers["connection"] == "close"
    assert reads <= 5


def test_a_body_that_was_read_keeps_its_connection(site: Site) -> None:
    answer = site.client().post("/sign-in", json={"name": "vic", "password": PASSWORD})

    assert answer.status_code == 204
    assert "connection" not in answer.headers


def test_a_password_is_compared_once_for_a_request_with_a_body(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = site.parts.access.identify

    def identify(request: Request) -> Person:
        asked.append(request)
        return real(request)

    monkeypatch.setattr(site.parts.access, "identify", identify)

    site.client("vic").post("/rules/test", files={"file": ("x", b"text")})

    assert len(asked) == 1


def test_the_rules_are_tried_on_the_beginning_of_a_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_series(site.store, tmp_path / "elsewhere", slices=1)[0]
    data = path.read_bytes()
    monkeypatch.setattr(api_operations, "_TRIED_BYTES", len(data) - 16)
    kept = []
    real = api_operations.try_rules

    def look(paths: list[Path], rules: Any) -> Any:
        kept.append((paths[0].stat().st_size, str(paths[0].readlink())))
        return real(paths, rules)

    monkeypatch.setattr(api_operations, "try_rules", look)

    found = site.client("vic").post("/rules/test", files={"file": ("x", data * 3)})

    assert found.json()["tags"]["Modality"] == "CT"
    ((size, name),) = kept
    assert size == len(data) - 16
    # It has no name: nothing stays behind when the process is killed.
    assert name.startswith(str(site.data_dir.resolve()))
    assert "(deleted)" in name


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"", "", 400),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422),
        (b"x", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            422,
        ),
    ],
)
def test_a_form_without_a_file_is_refused(
    site: Site, body: bytes, kind: str, status: int
) -> None:
    answer = site.client("vic").post(
        "/rules/test", content=body, headers={"Content-Type": kind} if kind else {}
    )

    assert answer.status_code == status


def test_only_so_many_files_are_tried_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []

    def more(paths: list[Path], rules: Any) -> Any:
        monkeypatch.undo()
        for _ in range(2):
            answers.append(
                other.client("vic").post("/rules/test", files={"file": ("x", b"text")})
            )
        raise AssertionError

    monkeypatch.setattr(api_operations, "_TRIALS", 1)
    with open_site(tmp_path / "other") as other:
        other.add_user("vic", "viewer")
        monkeypatch.setattr(api_operations, "try_rules", more)
        with pytest.raises(AssertionError):
            other.client("vic").post("/rules/test", files={"file": ("x", b"text")})
        after = other.client("vic").post("/rules/test", files={"file": ("x", b"text")})

    assert [one.status_code for one in answers] == [503, 503]
    assert after.status_code == 400
