from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from dicom_node.config import WebSettings
from dicom_node.identity import content_version
from dicom_node.scp import ServerStatistics
from dicom_node.web.metrics import NodeCollector
from dicom_node.web.server import WebServer
from tests.builders.finished_study import store_series
from tests.builders.reports import incoming
from tests.builders.stores import NOON, received
from tests.builders.websites import PASSWORD, Site, open_site

RULES = [
    {"name": "no-mr", "when": 'Modality == "MR"', "action": "ignore"},
    {
        "name": "ct-at-night",
        "when": 'Modality == "CT"',
        "priority": "low",
        "off_peak": True,
    },
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104}
    with open_site(
        tmp_path, problems={"disk": "full"}, rules=RULES, destinations=[pacs]
    ) as opened:
        opened.add_user("ann", "admin")
        opened.add_user("vic", "viewer")
        yield opened


def test_the_operations_tell_queue_destinations_model_and_checks(site: Site) -> None:
    site.store.record_instance(received())

    found = site.client("vic").get("/operations.json").json()

    assert found["ready"] is False
    assert found["checks"] == {"disk": "full", "worker": "ok"}
    assert found["queue"] == {
        "waiting": 0,
        "processing": 0,
        "is_paused": False,
        "is_draining": False,
        "off_peak": 0,
    }
    (pacs,) = found["destinations"]
    assert (pacs["name"], pacs["kind"], pacs["pending"]) == ("pacs", "dimse", 0)
    assert found["model"]["name"] == "model"
    assert found["model"]["is_loaded"] is True
    assert found["associations"] == {"open": 2, "accepted": 7, "rejected": 4}
    assert found["disk"]["total_bytes"] > found["disk"]["free_bytes"] > 0
    assert found["uptime_s"] > 0


def test_an_admin_pauses_and_drains_and_it_is_told_who(site: Site) -> None:
    admin = site.client("ann")

    admin.post("/operations/pause", json={"paused": True})
    admin.post("/operations/drain", json={"draining": True})

    queue = admin.get("/operations.json").json()["queue"]
    assert (queue["is_paused"], queue["is_draining"]) == (True, True)
    assert site.store.switches.all() == {"draining": True, "paused": True}
    told = site.store.details.events_after(0, limit=100)
    switched = [one for one in told if one.kind == "switch_changed"]
    assert [(one.subject, one.detail["by"]) for one in switched] == [
        ("paused", "ann"),
        ("draining", "ann"),
    ]


def test_the_rules_are_tried_on_a_file_that_is_not_kept(
    site: Site, tmp_path: Path
) -> None:
    path = store_series(site.store, tmp_path / "elsewhere", slices=1)[0]

    found = (
        site.client("vic")
        .post("/rules/test", files={"file": ("x.dcm", path.read_bytes())})
        .json()
    )

    assert (found["rule"], found["action"]) == ("ct-at-night", "process")
    assert (found["priority"], found["off_peak"]) == ("low", True)
    assert [(one["rule"], one["matched"]) for one in found["trace"]] == [
        ("no-mr", False),
        ("ct-at-night", True),
    ]
    assert found["tags"]["Modality"] == "CT"


def test_a_file_that_is_no_dicom_is_refused(site: Site) -> None:
    answer = site.client("vic").post("/rules/test", files={"file": ("x", b"text")})

    assert answer.status_code == 400


def test_the_list_goes_on_where_a_page_ends(site: Site) -> None:
    for number in range(7):
        site.store.record_instance(
            received(
                number,
                after_s=float(number // 2),
                study_instance_uid=f"1.2.{number}",
                study={"PatientName": f"Doe^N{number}", "PatientID": f"P{number}"},
            )
        )
    web = site.client("vic")
    pages, before = [], None
    while True:
        page = web.get(
            "/studies", params={"limit": 3} | ({"before": before} if before else {})
        ).json()
        pages.append([one["study_instance_uid"] for one in page["studies"]])
        before = page["next"]
        if before is None:
            break

    assert pages == [
        ["1.2.6", "1.2.5", "1.2.4"],
        ["1.2.3", "1.2.2", "1.2.1"],
        ["1.2.0"],
    ]
    assert web.get("/studies", params={"before": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("P2", ["1.2.2"]),
        ("1.2.3", ["1.2.3"]),
        ("doe", ["1.2.3", "1.2.2", "1.2.1"]),
        ("n1 DOE", ["1.2.1"]),
        ("nobody", []),
    ],
)
def test_a_study_is_found_by_patient_number_or_name(
    site: Site, text: str, found: list[str]
) -> None:
    for number in (1, 2, 3):
        site.store.record_instance(
            received(
                number,
                after_s=float(number),
                study_instance_uid=f"1.2.{number}",
                study={"PatientName": f"Doe^N{number}", "PatientID": f"P{number}"},
            )
        )

    page = site.client("vic").get("/studies", params={"q": text}).json()

    assert [one["study_instance_uid"] for one in page["studies"]] == found
    assert page["counts"] == {"collecting": 3}


def test_open_pages_are_told_of_changes_until_the_server_stops(site: Site) -> None:
    server = WebServer(site.app, WebSettings(port=0), parts=site.parts)
    server.start()
    url = f"http://127.0.0.1:{server.port}/changes"
    seen: list[dict[str, str]] = []
    opened = threading.Event()

    def listen() -> None:
        with httpx.stream("GET", url, auth=("vic", PASSWORD), timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                opened.set()
                if line.startswith("data: "):
                    seen.append(json.loads(line.removeprefix("data: ")))

    page = threading.Thread(target=listen)
    page.start()
    assert opened.wait(20)
    deadline = 20
    while not seen and deadline:
        # The first look only learns where the events end.
        site.store.record_instance(received(100 - deadline, study_instance_uid="1.2.9"))
        threading.Event().wait(0.5)
        deadline -= 1
    server.stop()
    page.join(20)

    assert not page.is_alive()
    assert {"study_instance_uid": "1.2.9", "kind": "instance_received"} in seen


def test_strangers_are_told_no_changes(site: Site) -> None:
    assert site.client().get("/changes").status_code == 401


def test_scripts_are_named_by_their_content(site: Site) -> None:
    web = site.client("vic")
    page = web.get("/").text
    name = page.split('src="')[1].split('"')[0]

    script = web.get(name)
    plain = web.get(f"/static/{name.split('/', 3)[3]}")
    again = web.get(name, headers={"If-None-Match": script.headers["etag"]})

    assert "immutable" in script.headers["cache-control"]
    assert plain.headers["cache-control"] == "no-cache"
    assert script.content == plain.content
    assert script.headers["content-type"].startswith("text/javascript")
    assert again.status_code == 304
    assert web.get("/static/../app.py").status_code == 404
    assert web.get("/static/%2e%2e/app.py").status_code == 404


def test_an_admin_lists_waiting_reports_and_ends_the_wait_of_one(site: Site) -> None:
    kept = site.store.reports.record(incoming(patient_id="P-SECRET"))
    admin = site.client("ann")

    answer = admin.get("/reports/waiting")
    assert answer.json()["total"] == 1
    (one,) = answer.json()["reports"]
    assert (one["report_id"], one["channel"]) == (kept.report_id, "hl7")
    assert "Hepatomegaly" not in answer.text
    assert "P-SECRET" not in answer.text

    path = f"/reports/waiting/{kept.report_id}"
    assert [admin.delete(path).status_code for _ in range(2)] == [204, 404]
    assert admin.get("/reports/waiting").json() == {"total": 0, "reports": []}


def test_the_metrics_count_studies_in_which_nothing_could_be_grounded(
    site: Site, tmp_path: Path
) -> None:
    site.store.record_instance(received())
    (study,) = site.store.collecting_studies()
    key = site.store.open_version(study.study_id, now=NOON, version_of=content_version)
    assert key is not None
    site.store.work.start_version(
        key.version_id, run=1, fingerprint="f", data_dir=tmp_path, now=NOON
    )
    site.store.work.finish_version(
        key.version_id,
        run=1,
        fingerprint="f",
        objects=(),
        result_dir=tmp_path / "results",
        data_dir=tmp_path,
        destinations={},
        now=NOON,
        reason="nothing could be grounded: all series are too thick",
    )

    registry = CollectorRegistry()
    registry.register(
        NodeCollector(
            site.store,
            data_dir=tmp_path,
            statistics=lambda: ServerStatistics(0, 0, 0, 0, {}, {}, {}, 0),
            is_model_loaded=lambda: True,
        )
    )
    assert registry.get_sample_value("dicom_node_studies_not_grounded") == 1.0
    (told,) = site.client("vic").get("/studies").json()["studies"]
    assert told["state"] == "done"
    assert told["reason"].startswith("nothing could be grounded")
    (shown,) = site.store.snapshot().studies
    assert shown.reason == told["reason"]
