from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from dicom_node.audit import Counters
from dicom_node.config import WebSettings
from dicom_node.errors import SettingsError
from dicom_node.scp import ServerStatistics
from dicom_node.store import Store
from dicom_node.web import NodeCollector, check_disk, examine
from dicom_node.web.server import WebServer
from tests.builders.stores import received
from tests.builders.websites import Site, open_site

STATISTICS = ServerStatistics(
    open_connections=3,
    open_associations=2,
    associations_accepted=7,
    associations_aborted=1,
    associations_rejected={"calling": 4},
    instances={"new": 5, "duplicate": 1, "conflict": 0},
    instances_refused={0xA700: 6},
    bytes_received=1024,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path) as opened:
        yield opened


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, problems={"disk": "full"}) as opened:
        yield opened


def test_a_process_that_answers_is_live_whatever_is_wrong(full_disk: Site) -> None:
    answer = full_disk.client().get("/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


def test_a_node_without_problems_is_ready(site: Site) -> None:
    answer = site.client().get("/health/ready")

    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": {}})


def test_a_node_that_is_not_ready_gives_its_reasons(full_disk: Site) -> None:
    web = full_disk.client()

    ready, health = web.get("/health/ready"), web.get("/health")

    assert (ready.status_code, ready.json()) == (
        503,
        {"ready": False, "reasons": {"disk": "full"}},
    )
    assert health.status_code == 503
    assert health.json()["checks"] == {"disk": "full", "worker": "ok"}


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/metrics", "/studies", "/nothing"]
)
def test_every_answer_tells_the_browser_to_trust_nothing(site: Site, path: str) -> None:
    headers = site.client().get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"


def test_the_checks_say_what_is_wrong_by_name() -> None:
    report = examine([("disk", lambda: None), ("worker", lambda: "dead")])

    assert (report.is_ready, report.checks, report.problems) == (
        False,
        ("disk", "worker"),
        {"worker": "dead"},
    )


def test_a_disk_below_the_reserve_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(100, 91, 9))

    assert check_disk(tmp_path, min_free_bytes=9) is None
    assert (
        check_disk(tmp_path, min_free_bytes=10) == "9 bytes are free, 10 are reserved"
    )


def test_a_data_folder_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    assert (
        check_disk(tmp_path / "none", min_free_bytes=0)
        == "the data folder cannot be read"
    )


def read_metrics(
    folder: Path, registry: CollectorRegistry
) -> dict[tuple[str, str], float]:
    with open_site(folder / "site", registry=registry) as site:
        text = site.client().get("/metrics").text
    return {
        (sample.name, ",".join(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_are_those_of_server_store_and_work(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    counters = Counters(registry)
    counters.deliveries.labels("pacs", "failed").inc()
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as store:
        store.migrate()
        store.record_instance(received())
        store.switches.set("paused", True, by="terminal")
        registry.register(
            NodeCollector(
                store,
                data_dir=tmp_path,
                statistics=lambda: STATISTICS,
                is_model_loaded=lambda: False,
                destinations=("pacs",),
            )
        )

        found = read_metrics(tmp_path, registry)

    expected = {
        ("dicom_node_instances_received_total", "new"): 5,
        ("dicom_node_instances_received_total", "duplicate"): 1,
        ("dicom_node_instances_refused_total", "0xA700"): 6,
        ("dicom_node_associations_total", "accepted"): 7,
        ("dicom_node_associations_total", "rejected_calling"): 4,
        ("dicom_node_associations_open", ""): 2,
        ("dicom_node_received_bytes_total", ""): 1024,
        ("dicom_node_studies", "collecting"): 1,
        ("dicom_node_studies", "failed"): 0,
        ("dicom_node_deliveries", "pacs,pending"): 0,
        ("dicom_node_delivery_attempts_total", "failed,pacs"): 1,
        ("dicom_node_queue_depth", ""): 0,
        ("dicom_node_paused", ""): 1,
        ("dicom_node_draining", ""): 0,
        ("dicom_node_instances_stored", ""): 1,
        ("dicom_node_model_loaded", ""): 0,
        ("dicom_node_database_up", ""): 1,
    }
    assert {key: found[key] for key in expected} == expected


def test_metrics_without_a_database_say_that_it_is_away(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    with Store(f"sqlite:///{tmp_path / 'empty.sqlite'}") as store:
        registry.register(
            NodeCollector(
                store,
                data_dir=tmp_path,
                statistics=lambda: STATISTICS,
                is_model_loaded=lambda: True,
            )
        )

        found = read_metrics(tmp_path, registry)

    assert found["dicom_node_database_up", ""] == 0
    assert ("dicom_node_studies", "done") not in found


def test_the_server_answers_over_http_and_then_no_more(site: Site) -> None:
    server = WebServer(site.app, WebSettings(port=0))
    server.start()
    url = f"http://127.0.0.1:{server.port}/health/live"

    status = httpx.get(url).status_code
    server.stop()

    assert status == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_the_body_of_an_answer_waits_for_no_acknowledgement_of_its_head(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[int] = []
    accept = socket.socket.accept

    def accept_and_note(self: socket.socket) -> tuple[socket.socket, Any]:
        found, address = accept(self)
        accepted.append(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return found, address

    monkeypatch.setattr(socket.socket, "accept", accept_and_note)
    server = WebServer(site.app, WebSettings(port=0))
    server.start()
    try:
        httpx.get(f"http://127.0.0.1:{server.port}/health/live")
    finally:
        server.stop()

    assert accepted == [1]


def test_nobody_becomes_this_machine_by_saying_so(site: Site) -> None:
    server = WebServer(site.app, WebSettings(port=0))
    server.start()
    try:
        told = httpx.get(
            f"http://127.0.0.1:{server.port}/studies",
            headers={"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"},
        )
    finally:
        server.stop()

    # Nor anybody else: the connection alone counts.
    assert told.status_code == 200


def test_a_port_that_is_taken_is_a_settings_error(site: Site) -> None:
    first = WebServer(site.app, WebSettings(port=0))
    first.start()
    try:
        with pytest.raises(SettingsError, match="cannot listen"):
            WebServer(site.app, WebSettings(port=first.port)).start()
    finally:
        first.stop()
