from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast, get_args

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from openapi_spec_validator import validate

from dicom_node.config.peers import Role
from dicom_node.dicomweb import DicomwebService
from dicom_node.errors import AccessError
from dicom_node.web import passwords
from dicom_node.web.access import COOKIE, address_of
from dicom_node.web.app import make_app
from dicom_node.web.attempts import Attempts
from dicom_node.web.openapi import needs_of, routes_of
from dicom_node.web.passwords import Passwords, hash_password
from dicom_node.web.proxies import ClientAddress
from dicom_node.web.sessions import Session, Sessions, read_secret
from tests.builders.websites import PASSWORD, Site, open_site

ROLES: tuple[Role, ...] = get_args(Role)
ASKED = {"X-Requested-With": "dicom-node"}
JSON = {"Content-Type": "application/json"}

MAY = {
    "viewer": {"viewer", "editor", "admin"},
    "sender": {"sender", "editor", "admin"},
    "editor": {"editor", "admin"},
    "admin": {"admin"},
}

TABLE = [
    ("GET", "/studies", "viewer"),
    ("GET", "/studies/1.2", "viewer"),
    ("GET", "/studies/1.2/series/0/frames/0", "viewer"),
    ("GET", "/studies/1.2/regions/1.3", "viewer"),
    ("POST", "/studies/1.2/regions/1.3/corrections", "editor"),
    ("GET", "/studies/1.2/corrections", "viewer"),
    ("GET", "/studies/1.2/corrections/report.dcm", "viewer"),
    ("GET", "/studies/1.2/corrections/segmentation-1.dcm", "viewer"),
    ("GET", "/studies/1.2/corrections/result.zip", "viewer"),
    ("POST", "/studies/1.2/requeue", "editor"),
    ("POST", "/studies/1.2/report", "sender"),
    ("GET", "/studies/1.2/result.json", "viewer"),
    ("GET", "/studies/1.2/fhir.json", "viewer"),
    ("GET", "/studies/1.2/objects/1.3", "viewer"),
    ("GET", "/studies/1.2/results.zip", "viewer"),
    ("GET", "/studies/1.2/timeline", "viewer"),
    ("GET", "/studies/1.2/trace.json", "viewer"),
    ("GET", "/operations.json", "viewer"),
    ("POST", "/operations/pause", "admin"),
    ("POST", "/operations/drain", "admin"),
    ("GET", "/reports/waiting", "admin"),
    ("DELETE", "/reports/waiting/1", "admin"),
    ("POST", "/rules/test", "viewer"),
    ("GET", "/openapi.json", "viewer"),
    ("GET", "/health", "viewer"),
    ("GET", "/health/ready", "viewer"),
    ("GET", "/metrics", "viewer"),
]


@pytest.fixture(scope="module")
def open_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node in which nobody can sign in."""
    with open_site(tmp_path_factory.mktemp("open")) as opened:
        yield opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node with a user of each role, named by it."""
    with open_site(tmp_path_factory.mktemp("closed")) as opened:
        for role in ROLES:
            opened.add_user(role, role)
        yield opened


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """A node with an editor, for tests that change who may sign in."""
    with open_site(tmp_path) as opened:
        opened.add_user("eve", "editor")
        yield opened


@pytest.mark.parametrize(("method", "path", "need"), TABLE)
def test_each_role_may_what_the_table_says(
    site: Site, method: str, path: str, need: str
) -> None:
    answers = {
        role: site.client(role).request(method, path).status_code for role in ROLES
    }

    allowed = {role for role, status in answers.items() if status not in {401, 403}}
    assert allowed == MAY[need]


@pytest.mark.parametrize(("method", "path", "need"), TABLE)
def test_who_has_not_signed_in_gets_nothing(
    site: Site, method: str, path: str, need: str
) -> None:
    assert need
    assert site.client().request(method, path).status_code == 401
    assert site.client(address="192.0.2.7").request(method, path).status_code == 401


@pytest.mark.parametrize(("method", "path", "need"), TABLE)
def test_without_users_this_machine_sees_everything_and_changes_nothing(
    open_node: Site, method: str, path: str, need: str
) -> None:
    answer = open_node.client().request(method, path)

    if need == "viewer":
        assert answer.status_code not in {401, 403}
    else:
        assert answer.status_code == 403
        assert "dicom-node user add" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["/", "/sign-in", "/operations", "/view/1.2", "/me", "/static/icon.svg"]
    + [path for method, path, _ in TABLE if method == "GET"],
)
@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.7", "127.0.0.1:8042"),
        ("127.0.0.1", "evil.example:8042"),
        ("127.0.0.1", "127.0.0.1.evil.example"),
        ("::ffff:192.0.2.7", "localhost"),
        ("testclient", "localhost"),
    ],
)
def test_without_users_nobody_else_sees_anything(
    open_node: Site, path: str, address: str, host: str
) -> None:
    stranger = open_node.client(address=address, host=host)
    stranger.headers["X-Forwarded-For"] = "127.0.0.1"

    assert stranger.get(path).status_code == 401
    assert stranger.get("/health/live").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8042"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_known_by_its_names(
    open_node: Site, host: str, address: str
) -> None:
    assert open_node.client(address=address, host=host).get("/studies").is_success


def test_every_route_asks_for_something(site: Site, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    web = site.parts.settings.web.model_copy(update={"viewer_dir": tmp_path})
    everything = replace(
        site.parts,
        settings=site.parts.settings.model_copy(update={"web": web}),
        # The routes ask it nothing before they are called.
        dicomweb=cast(DicomwebService, SimpleNamespace(settings=site.parts.settings)),
    )
    app = make_app(everything)
    routes = routes_of(app)

    assert len(routes) > len(TABLE)
    forgotten = {one.path: needs_of(one) for one in routes if len(needs_of(one)) != 1}
    assert forgotten == {}
    assert any(one.path.startswith("/dicom-web") for one in routes)
    validate(app.openapi())


def test_every_route_that_is_documented_is_in_the_table(site: Site) -> None:
    # Those that all may ask, and the stream of changes, have tests of their own.
    open_to_all = {
        "/changes",
        "/me",
        "/sign-in",
        "/sign-in/oidc",
        "/sign-out",
        "/health/live",
    }
    rooms = ("/fhir", "/dicom-web", "/viewer")
    listed = {(method, path.replace("1.2", "{uid}", 1)) for method, path, _ in TABLE}

    for route in routes_of(site.app):
        if not route.include_in_schema or route.path in open_to_all:
            continue
        if route.path.startswith(rooms) or route.path.startswith("/sign-in"):
            continue
        for method in route.methods or ():
            path = route.path
            for name, value in (
                ("{index}", "0"),
                ("{frame}", "0"),
                ("{number}", "1"),
                ("{tracking_uid}", "1.3"),
                ("{sop_instance_uid}", "1.3"),
            ):
                path = path.replace(name, value)
            assert (method, path) in listed


def test_the_document_of_the_api_is_valid(site: Site) -> None:
    document = site.client("viewer").get("/openapi.json").json()

    validate(document)
    frames = document["paths"]["/studies/{uid}/series/{index}/frames/{frame}"]["get"]
    assert frames["security"] == [{"session": []}, {"basic": []}]
    assert "viewer" in frames["description"]
    assert "401" in frames["responses"]


def test_a_session_signs_requests_until_it_is_ended(own: Site) -> None:
    web = own.client()

    signed = web.post("/sign-in", json={"name": "eve", "password": PASSWORD})
    cookie = signed.headers["set-cookie"]
    me = web.get("/me").json()
    out = web.post("/sign-out")

    assert signed.status_code == 204
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert (me["name"], me["role"]) == ("eve", "editor")
    assert me["may"] == {
        "see": True,
        "correct": True,
        "operate": False,
        "administer": False,
    }
    assert out.status_code == 204
    assert web.get("/studies").status_code == 401


def test_a_session_that_was_ended_is_good_nowhere(own: Site) -> None:
    web, other = own.client(), own.client()
    for one in (web, other):
        one.post("/sign-in", json={"name": "eve", "password": PASSWORD})
    stolen = {"Cookie": f"{COOKIE}={web.cookies[COOKIE]}"}
    before = own.client().get("/studies", headers=stolen)

    web.post("/sign-out")

    assert before.status_code == 200
    assert own.client().get("/studies", headers=stolen).status_code == 401
    assert other.get("/studies").status_code == 200
    assert own.client().post("/sign-out").status_code == 204


def test_a_session_of_the_provider_ends_sooner(own: Site) -> None:
    sessions = Sessions("s", own.store.users, lifetime_s=1000, provider_s=1000)
    user = own.store.users.find("eve")
    assert user is not None
    named = sessions.of_provider(Session("grace", "admin"))
    ours = sessions.of_user(user)
    later = Sessions("s", own.store.users, lifetime_s=1000, provider_s=-1)

    assert later.read(named, with_provider=True) is None
    assert later.read(ours, with_provider=True) == Session("eve", "editor")
    assert sessions.read(named, with_provider=True) == Session("grace", "admin")


def test_behind_tls_the_cookie_is_for_tls_only(tmp_path: Path) -> None:
    with open_site(tmp_path, web={"behind_tls": True}) as site:
        site.add_user("eve", "editor")
        signed = site.client().post(
            "/sign-in", json={"name": "eve", "password": PASSWORD}
        )

    assert "Secure" in signed.headers["set-cookie"]


@pytest.mark.parametrize("change", ["password", "role", "remove"])
def test_a_session_ends_when_its_person_changes(own: Site, change: str) -> None:
    web = own.client()
    web.post("/sign-in", json={"name": "eve", "password": PASSWORD})
    assert web.get("/studies").status_code == 200

    own.add_user("other", "viewer")
    if change == "password":
        own.store.users.change("eve", password_hash=hash_password("another password"))
    elif change == "role":
        own.store.users.change("eve", role="viewer")
    else:
        own.store.users.remove("eve")
        own.add_user("eve", "editor")

    assert web.get("/studies").status_code == 401


def test_a_forged_or_old_session_is_no_session(own: Site) -> None:
    web = own.client()
    web.post("/sign-in", json={"name": "eve", "password": PASSWORD})
    cookie = web.cookies[COOKIE]
    web.cookies.clear()

    for forged in (cookie[:-2] + "xx", "", "a.b.c", cookie.swapcase()):
        answer = own.client().get("/studies", headers={"Cookie": f"{COOKIE}={forged}"})
        assert answer.status_code == 401


def test_a_session_without_its_header_changes_nothing(own: Site) -> None:
    web = own.client()
    web.post("/sign-in", json={"name": "eve", "password": PASSWORD})

    bare = web.post("/studies/1.2/requeue")
    asked = web.post("/studies/1.2/requeue", headers=ASKED)

    assert (bare.status_code, asked.status_code) == (403, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(own: Site, headers: dict[str, str]) -> None:
    session = own.client()
    session.post("/sign-in", json={"name": "eve", "password": PASSWORD})

    for web in (session, own.client("eve")):
        asked = web.post("/studies/1.2/requeue", headers={**ASKED, **headers})
        assert asked.status_code == 403
    entry = own.client().post(
        "/sign-in", json={"name": "eve", "password": PASSWORD}, headers=headers
    )
    assert entry.status_code == 403


def test_wrong_passwords_are_refused_ever_more_slowly(own: Site) -> None:
    web = own.client()
    wrong = {"name": "eve", "password": "not this one"}

    answers = [web.post("/sign-in", json=wrong) for _ in range(7)]
    right = web.post("/sign-in", json={"name": "eve", "password": PASSWORD})

    assert [one.status_code for one in answers] == [401] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert right.status_code == 429
    # Others, elsewhere, are not kept out by that.
    elsewhere = own.client("eve", address="192.0.2.7").get("/studies")
    assert elsewhere.status_code == 200


def test_guesses_that_come_at_once_are_counted_one_by_one(
    own: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = own.parts.access
    together = threading.Barrier(12)
    compared, most = [], []
    real = passwords._verify

    def verify(password_hash: str, password: str) -> bool:
        compared.append(password)
        most.append(len(compared))
        time.sleep(0.01)
        found = real(password_hash, password)
        compared.pop()
        return found

    def guess(number: int) -> object:
        together.wait(30)
        try:
            access.sign_in("eve", f"guess number {number}", address="192.0.2.7")
        except AccessError as error:
            return error.facts["status"]

    monkeypatch.setattr(passwords, "_verify", verify)
    with ThreadPoolExecutor(12) as pool:
        statuses = Counter(pool.map(guess, range(12)))

    assert statuses == {401: 5, 429: 7}
    assert max(most) <= 2


def test_who_comes_while_too_many_are_compared_comes_again(
    own: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_WAITING", -1)
    crowded = Passwords(own.store.users)
    monkeypatch.setattr(own.parts.access, "passwords", crowded)
    inner = []

    def verify(password_hash: str, password: str) -> bool:
        inner.append(own.client("eve").get("/studies"))
        return True

    monkeypatch.setattr(passwords, "_verify", verify)
    outer = [own.client("eve").get("/studies") for _ in range(8)]

    assert {one.status_code for one in outer} == {200}
    assert (inner[0].status_code, inner[0].headers["retry-after"]) == (503, "1")


def test_a_password_that_was_right_lately_is_never_kept_out(own: Site) -> None:
    sender, stranger = own.client("eve"), own.client()
    assert sender.get("/studies").status_code == 200

    for _ in range(8):
        stranger.post("/sign-in", json={"name": "eve", "password": "not this one"})

    assert sender.get("/studies").status_code == 200
    own.store.users.change("eve", password_hash=hash_password("another password"))
    assert sender.get("/studies").status_code == 429


def wait_of(attempts: Attempts, address: str, name: str) -> float:
    """Return how long an attempt would wait, without making it."""
    wait_s = attempts.begin(address=address, name=name)
    if not wait_s:
        attempts.forget(address=address, name=name)
    return wait_s


def test_the_wait_doubles_and_passes() -> None:
    clock = [0.0]
    attempts = Attempts(lambda: clock[0])
    waits = []
    for _ in range(9):
        assert attempts.begin(address="a", name="n") == 0
        waits.append(wait_of(attempts, "a", "n"))
        clock[0] += waits[-1]

    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16]
    assert attempts.begin(address="a", name="n") == 0
    assert wait_of(attempts, "a", "other") == 0
    assert wait_of(attempts, "b", "n") == 0
    attempts.succeeded(address="a", name="n")
    attempts.begin(address="a", name="n")
    assert wait_of(attempts, "a", "n") == 0


def test_an_address_that_tries_many_names_waits_but_never_long() -> None:
    clock = [0.0]
    attempts = Attempts(lambda: clock[0])
    waits = []
    for number in range(40):
        attempts.begin(address="2001:db8::1", name=str(number))
        waits.append(wait_of(attempts, f"2001:db8::{number:x}:1", "n"))
        clock[0] += waits[-1]

    assert waits[:19] == [0] * 19
    assert waits[19:24] == [1, 2, 4, 8, 15]
    assert max(waits) == 15
    assert wait_of(attempts, "2001:db8:0:1::1", "n") == 0
    assert wait_of(attempts, "192.0.2.7", "n") == 0


@pytest.mark.parametrize(
    ("connection", "said", "client"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.3", "198.51.100.3"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.3", "198.51.100.3"),
        ("10.0.0.1", "203.0.113.1, 198.51.100.3, 10.0.0.2", "198.51.100.3"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("::ffff:10.0.0.1", "198.51.100.3:4711", "198.51.100.3"),
        ("fd00::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:DB8::1", "2001:db8::1"),
        ("10.0.0.1", "unknown", ""),
        ("10.0.0.1", "198.51.100.3, , ", "198.51.100.3"),
    ],
)
def test_only_trusted_proxies_say_who_asks(
    connection: str, said: str | None, client: str
) -> None:
    app = FastAPI()
    app.add_middleware(ClientAddress, trusted=["10.0.0.0/8", "fd00::1"])

    @app.get("/")
    def address(request: Request) -> str:
        return address_of(request)

    web = TestClient(app, client=(connection, 4711))
    answer = web.get("/", headers={} if said is None else {"X-Forwarded-For": said})

    assert answer.json() == client


def test_behind_a_proxy_nobody_is_this_machine(tmp_path: Path) -> None:
    with open_site(tmp_path, web={"trusted_proxies": ["127.0.0.1"]}) as site:
        answers = [
            site.client().get("/studies", headers={"X-Forwarded-For": one})
            for one in ("192.0.2.7", "127.0.0.1, 192.0.2.7", "nonsense")
        ]
        own = site.client().get("/studies")

    assert [one.status_code for one in answers] == [401, 401, 401]
    assert own.status_code == 200


def test_an_own_password_allows_no_guesses_at_others() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(20):
        assert attempts.begin(address="a", name="own") == 0
        attempts.succeeded(address="a", name="own")
        assert attempts.begin(address="a", name=str(number)) == 0

    assert wait_of(attempts, "a", "own") == 1


def test_refusals_are_told_without_what_was_typed(own: Site) -> None:
    own.client().post("/sign-in", json={"name": "hunter2", "password": "eve"})
    own.client().post("/sign-in", json={"name": "eve", "password": "hunter2"})

    told = own.store.details.events_after(0, limit=100)

    refused = [one for one in told if one.kind == "sign_in_refused"]
    assert [one.subject for one in refused] == ["unknown", "eve"]
    assert "hunter2" not in str(told)


@pytest.mark.parametrize("header", ["Basic", "Basic !!", "Basic Zm9v", "Bearer x"])
def test_a_malformed_authorization_is_refused(site: Site, header: str) -> None:
    answer = site.client().get("/studies", headers={"Authorization": header})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_a_browser_is_not_made_to_open_its_own_window(site: Site) -> None:
    answer = site.client().get("/studies", headers={"Sec-Fetch-Mode": "cors"})

    assert not answer.headers["www-authenticate"].startswith("Basic")


def test_an_old_hash_is_replaced_when_its_owner_signs_in(own: Site) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
    own.store.users.add("old", password_hash=weak, role="viewer")

    found = Passwords(own.store.users).find("old", PASSWORD, address="a")

    user = own.store.users.find("old")
    assert found is not None
    assert user is not None
    assert user.password_hash != weak
    assert user.session_epoch == 0


def test_the_secret_is_made_once_and_for_the_node_alone(tmp_path: Path) -> None:
    first = read_secret(tmp_path)

    assert read_secret(tmp_path) == first
    assert (tmp_path / "web-secret").stat().st_mode & 0o777 == 0o600


def test_pages_send_who_has_not_signed_in_to_where_they_can(site: Site) -> None:
    answer = site.client().get("/view/1.2", follow_redirects=False)

    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/view/1.2"
    assert site.client().get("/sign-in").status_code == 200


def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(8):
            yield b"x" * 1000

    with open_site(tmp_path, limits={"max_message_bytes": 4000}) as site:
        site.add_user("pacs", "sender")
        web = site.client("pacs")
        told = web.post("/studies/1.2/report", content=b"x" * 4001)
        untold = web.post(
            "/studies/1.2/report",
            content=pieces(),
            headers={"Content-Type": "text/plain"},
        )

    assert (told.status_code, untold.status_code) == (413, 413)
    assert told.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("address", "status"),
    [("10.1.2.3", 200), ("::ffff:10.1.2.3", 200), ("10.2.0.1", 401), ("", 401)],
)
@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics"])
def test_monitoring_reads_how_the_node_is_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, path: str, address: str, status: int
) -> None:
    folder = tmp_path_factory.mktemp("monitored")
    with open_site(folder, web={"monitoring": ["10.1.0.0/16"]}) as site:
        site.add_user("ada", "admin")
        probe = site.client(address=address, host="node.example:8042")

        assert probe.get(path).status_code == status
        for other in ("/studies", "/operations.json", "/openapi.json"):
            assert probe.get(other).status_code == 401
