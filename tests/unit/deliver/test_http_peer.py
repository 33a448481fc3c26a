from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.http_peer import http_client
from tests.builders.stow_server import Answer, run_stow_server


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """An address that the environment names as every proxy, and a ``.netrc``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.3)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("no_proxy", raising=False)
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login zz password ZZSECRET\n")
        monkeypatch.setenv("NETRC", str(netrc))
        yield listening


def test_neither_a_proxy_nor_a_password_of_the_environment_is_used(
    proxy: socket.socket,
) -> None:
    with run_stow_server() as server:
        with http_client(server.url) as client:
            answer = client.get("studies")
        assert answer.status_code == 200

    with pytest.raises(TimeoutError):
        proxy.accept()
    assert "authorization" not in answer.request.headers


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.3)
        url = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"
        told = Answer(302, headers={"Location": url})
        with run_stow_server(lambda *_: told) as server, http_client(server.url) as one:
            answer = one.get("studies")

        assert answer.status_code == 302
        with pytest.raises(TimeoutError):
            elsewhere.accept()
