from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import ECKey

from dicom_node.errors import AccessError
from dicom_node.web import oidc
from tests.builders.openid_provider import (
    CLIENT_SECRET,
    OpenidProvider,
    openid_provider,
)
from tests.builders.websites import Site, open_site


@pytest.fixture
def provider() -> Iterator[OpenidProvider]:
    with openid_provider() as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, provider: OpenidProvider) -> Iterator[Site]:
    secret = tmp_path / "client-secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    settings = {"issuer": provider.issuer, "client_secret_file": secret}
    with open_site(tmp_path / "node", oidc=settings) as opened:
        yield opened


def sign_in(web: TestClient, *, path: str = "/view/1.2") -> httpx.Response:
    """Go where the node sends a browser, and back."""
    begun = web.get("/sign-in/oidc", params={"next": path}, follow_redirects=False)
    assert begun.status_code == 303
    there = httpx.get(begun.headers["location"])
    return web.get(there.headers["location"], follow_redirects=False)


def test_a_person_signs_in_at_the_provider(site: Site) -> None:
    web = site.client()

    before = web.get("/me").json()
    back = sign_in(web)
    me = web.get("/me").json()

    assert before["sign_in"] == {"needed": True, "password": False, "oidc": True}
    assert back.status_code == 200
    assert 'url=/view/1.2"' in back.text
    assert (me["name"], me["role"]) == ("grace", "editor")
    assert web.get("/studies").status_code == 200
    events = site.store.details.events_after(0, limit=10)
    assert [(one.kind, one.subject) for one in events] == [("signed_in", "grace")]


@pytest.mark.parametrize(
    "path", ["https://evil.example/", "//evil.example", "x", "/\\e"]
)
def test_signing_in_leads_to_no_other_site(site: Site, path: str) -> None:
    assert 'url=/"' in sign_in(site.client(), path=path).text


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"roles": ["viewer", "admin"]}, "admin"),
        ({"roles": "sender"}, "sender"),
        ({"roles": ["else", "viewer"]}, "viewer"),
    ],
)
def test_the_strongest_role_that_is_named_counts(
    site: Site, provider: OpenidProvider, claims: dict[str, Any], role: str
) -> None:
    provider.claims = claims
    web = site.client()
    sign_in(web)

    assert web.get("/me").json()["role"] == role


def test_who_has_no_role_is_refused_or_gets_the_default(
    tmp_path: Path, site: Site, provider: OpenidProvider
) -> None:
    provider.claims = {"roles": [], "realm": {"roles": ["viewer"]}}
    secret = tmp_path / "client-secret"
    common = {"issuer": provider.issuer, "client_secret_file": secret}

    assert sign_in(site.client()).status_code == 403
    for number, more in enumerate(
        ({"default_role": "viewer"}, {"role_claim": "realm.roles"})
    ):
        with open_site(tmp_path / str(number), oidc=common | more) as other:
            web = other.client()
            sign_in(web)
            assert web.get("/me").json()["role"] == "viewer"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-client"},
        {"aud": ["dicom-node", "another"]},
        {"azp": "another-client"},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"nonce": "of another journey"},
        {"nonce": None},
        {"sub": None},
    ],
)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    site: Site, provider: OpenidProvider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    web = site.client()

    assert sign_in(web).status_code == 401
    assert web.get("/studies").status_code == 401


def test_a_token_that_another_key_signed_is_refused(
    site: Site, provider: OpenidProvider
) -> None:
    provider.signing_key = ECKey.generate_key("P-256")

    assert sign_in(site.client()).status_code == 401


def test_a_provider_may_change_its_keys(site: Site, provider: OpenidProvider) -> None:
    sign_in(site.client())
    provider.key = ECKey.generate_key("P-256")

    assert sign_in(site.client()).status_code == 200


def test_another_browser_cannot_finish_what_one_began(site: Site) -> None:
    begun = site.client().get("/sign-in/oidc", follow_redirects=False)
    back = httpx.get(begun.headers["location"]).headers["location"]

    without = site.client().get(back)
    other = site.client()
    other.get("/sign-in/oidc", follow_redirects=False)
    mixed = other.get(back)

    assert (without.status_code, mixed.status_code) == (401, 401)


def test_a_code_serves_once(site: Site) -> None:
    web = site.client()
    begun = web.get("/sign-in/oidc", follow_redirects=False)
    back = httpx.get(begun.headers["location"]).headers["location"]
    cookie = web.cookies["dicom-node-journey"]

    first = web.get(back)
    again = site.client().get(back, headers={"Cookie": f"dicom-node-journey={cookie}"})

    assert (first.status_code, again.status_code) == (200, 401)


def test_a_provider_that_is_another_or_away_is_told(
    site: Site, provider: OpenidProvider
) -> None:
    provider.named_issuer = "https://evil.example"

    answer = site.client().get("/sign-in/oidc", follow_redirects=False)

    assert answer.status_code == 503


def test_without_a_provider_there_is_no_such_way(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        assert site.client().get("/sign-in/oidc").status_code == 404
        assert site.client().get("/sign-in/oidc/callback").status_code == 404


def test_a_session_of_the_provider_ends_with_the_provider(
    tmp_path: Path, site: Site
) -> None:
    web = site.client()
    sign_in(web)
    cookie = web.cookies["dicom-node-session"]

    with open_site(tmp_path / "node") as later:
        later.add_user("eve", "viewer")
        answer = later.client().get(
            "/studies", headers={"Cookie": f"dicom-node-session={cookie}"}
        )

    assert answer.status_code == 401


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[Site, socket.socket]]:
    """A node whose provider takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with open_site(tmp_path / "node", oidc={"issuer": issuer}) as opened:
            yield opened, listener


def test_a_provider_that_does_not_answer_is_left_alone_for_a_while(
    silent: tuple[Site, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_TIMEOUT_S", 0.2)
    site, listener = silent

    answers = [
        site.client().get("/sign-in/oidc", follow_redirects=False) for _ in range(5)
    ]

    assert [one.status_code for one in answers] == [503] * 5
    assert "retry-after" in answers[-1].headers
    listener.setblocking(False)
    listener.accept()[0].close()
    with pytest.raises(BlockingIOError):
        listener.accept()  # nobody asked a second time


def test_only_some_threads_wait_for_a_provider(
    silent: tuple[Site, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, listener = silent
    monkeypatch.setattr(oidc, "_AT_ONCE", 1)
    waiting = oidc.Provider(site.parts.settings.oidc, "secret")
    told: list[object] = []

    def begin() -> None:
        try:
            waiting.begin(redirect_uri="http://node/", next_path="/")
        except AccessError as error:
            told.append(error.facts)

    first = threading.Thread(target=begin)
    first.start()
    connection, _ = listener.accept()
    begin()  # while the first waits
    while_waiting = list(told)
    connection.close()
    first.join(30)

    assert while_waiting == [{"status": 503, "retry_after_s": 1}]
    assert told[1:] == [{"status": 503}]


def test_metadata_without_end_are_given_up(
    silent: tuple[Site, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_MAX_DOCUMENT", 1000)
    site, listener = silent

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 5000)

    thread = threading.Thread(target=answer)
    thread.start()
    found = site.client().get("/sign-in/oidc", follow_redirects=False)
    thread.join(30)

    assert found.status_code == 503
