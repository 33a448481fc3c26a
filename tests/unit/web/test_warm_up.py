"""What the first page would wait for is done once the server listens."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from dicom_node.config import WebSettings
from dicom_node.errors import StoreError
from dicom_node.store import Store
from dicom_node.store.pages import StudyPage
from dicom_node.web.api_studies import make_studies_router
from dicom_node.web.server import WebServer
from dicom_node.web.warm_up import WarmUp
from tests.builders.process import wait_until
from tests.builders.websites import open_site


def _get(server: WebServer, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_server_answers_while_it_warms_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_begun, may_end = threading.Event(), threading.Event()

    def wait(**_: object) -> None:
        is_begun.set()
        assert may_end.wait(10)

    with open_site(tmp_path) as site:
        monkeypatch.setattr(site.store.pages, "list_studies", wait)
        server = WebServer(site.app, WebSettings(port=0), parts=site.parts)
        server.start()
        try:
            assert is_begun.wait(10)
            assert _get(server, "/") == 200
        finally:
            may_end.set()
            server.stop()


def test_what_cannot_be_done_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def fail() -> int:
        raise StoreError

    def list_studies(*, limit: int) -> StudyPage:
        asked.append(limit)
        return listing(limit=limit)

    with Store(f"sqlite:///{tmp_path / 'node.db'}") as store:
        store.migrate()
        listing = store.pages.list_studies
        monkeypatch.setattr(store.users, "count", fail)
        monkeypatch.setattr(store.pages, "list_studies", list_studies)
        warm_up = WarmUp(store)

        warm_up.start()
        wait_until(lambda: bool(asked), timeout_s=10, what="the studies to be listed")
        warm_up.close()

    (route,) = make_studies_router().routes
    assert isinstance(route, APIRoute)
    (limit,) = (one for one in route.dependant.query_params if one.name == "limit")
    assert asked == [limit.field_info.default]


def test_every_route_stands_in_the_application_itself(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        routes = site.app.routes

    assert len(routes) > 40
    assert all(isinstance(one, Route) for one in routes)


def test_what_lends_threads_to_requests_is_loaded_before_they_come(
    tmp_path: Path,
) -> None:
    # In a process of its own: here other tests have loaded it.
    code = """
import sys
from dicom_node.store import Store
from dicom_node.web.warm_up import WarmUp

assert "anyio._backends._asyncio" not in sys.modules
with Store(sys.argv[1]) as store:
    store.migrate()
    warm_up = WarmUp(store)
    warm_up.start()
    warm_up._thread.join()
assert "anyio._backends._asyncio" in sys.modules
assert "dicom_node.reports" in sys.modules
"""
    url = f"sqlite:///{tmp_path / 'node.db'}"
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)
