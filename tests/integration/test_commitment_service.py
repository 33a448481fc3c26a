"""Commitments through the whole node: queues, restarts, the page of numbers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dicom_node.commands.doctor import examine
from dicom_node.commands.status import read_status, requeue_study
from dicom_node.config import NodeSettings
from dicom_node.service import NodeService
from tests.builders.committing_archive import (
    CommittingArchive,
    report_of,
    run_committing_archive,
    send_report,
)
from tests.builders.process import free_port, wait_until
from tests.builders.raw_peer import RawPeer, make_instance
from tests.builders.study_processor import QuickProcessor


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.deliver.commitment._REPORT_WAIT_S", 0.3)
    monkeypatch.setattr("dicom_node.backoff._FIRST_DELAY_S", 0.2)
    monkeypatch.setattr("dicom_node.workflows.workflows.POLLING_S", 0.05)


def settings_for(folder: Path, archive: CommittingArchive) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {"port": 0, "data_dir": folder, "quiet_time_s": 0.2},
            "web": {"port": 0},
            "limits": {"min_free_bytes": 0},
            "destinations": [
                {
                    "name": "pacs",
                    "ae_title": "ARCHIVE",
                    "host": "127.0.0.1",
                    "port": archive.port,
                    "commitment": "required",
                }
            ],
        }
    )


@contextmanager
def running(settings: NodeSettings) -> Iterator[NodeService]:
    with NodeService(settings, processor=QuickProcessor()) as node:
        yield node


def states(node: NodeService) -> dict[str, int]:
    counts = node.store.counts().deliveries
    return {state: count for (_, state), count in counts.items() if count}


def send_study(node: NodeService) -> None:
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(make_instance("1.2.3.1")).status == 0
        peer.release()


def wait_for(node: NodeService, expected: dict[str, int]) -> None:
    wait_until(
        lambda: states(node) == expected,
        timeout_s=30,
        what=lambda: f"deliveries: {states(node)}",
    )


def wait_until_asked(archive: CommittingArchive) -> None:
    """Wait for the request: a result is stored before commitment is asked for."""
    wait_until(lambda: bool(archive.requests), timeout_s=30, what="a request")


def test_what_is_stored_outlives_a_restart_and_is_not_sent_again(
    tmp_path: Path,
) -> None:
    with run_committing_archive(reports_here=False) as archive:
        settings = settings_for(tmp_path, archive)
        with running(settings) as node:
            send_study(node)
            wait_for(node, {"stored": 1})
            numbers = httpx.get(f"http://127.0.0.1:{node.web_port}/metrics").text
            (told,) = read_status(settings).as_json()["destinations"]
        with running(settings) as node:
            request = archive.requests[0]
            status = send_report(report_of(archive, request), node.port)
            after = states(node)

    assert 'dicom_node_deliveries{destination="pacs",state="stored"} 1.0' in numbers
    assert (told["stored"], told["delivered"], told["pending"]) == (1, 0, 0)
    assert status == 0
    assert after == {"delivered": 1}
    assert len(archive.stored) == 1


def test_what_is_not_committed_goes_out_again_by_itself(tmp_path: Path) -> None:
    with run_committing_archive(reports_here=False) as archive:
        settings = settings_for(tmp_path, archive)
        with running(settings) as node:
            send_study(node)
            wait_for(node, {"stored": 1})
            wait_until_asked(archive)
            (uid,) = archive.stored
            archive.failures = {uid: 0x0110}
            archive.reports_here = True
            report = report_of(archive, archive.requests[0])
            archive.failures = {}

            send_report(report, node.port)
            wait_for(node, {"delivered": 1})

    assert archive.stored == [uid, uid]
    assert len(archive.requests) == 2


def test_a_refusal_is_tried_again_until_the_archive_can_commit(tmp_path: Path) -> None:
    with run_committing_archive(action_status=0x0110) as archive:
        settings = settings_for(tmp_path, archive)
        with running(settings) as node:
            send_study(node)
            wait_until(
                lambda: len(archive.requests) >= 2,
                timeout_s=30,
                what=lambda: f"{len(archive.requests)} requests",
            )
            before = states(node)
            archive.action_status = 0
            wait_for(node, {"delivered": 1})

    assert before == {"stored": 1}
    assert len(archive.stored) == 1


def test_a_person_who_asks_again_makes_the_node_ask_again(tmp_path: Path) -> None:
    with run_committing_archive(reports_here=False) as archive:
        settings = settings_for(tmp_path, archive)
        with running(settings) as node:
            send_study(node)
            wait_for(node, {"stored": 1})
            # It is stored before it is asked for.
            wait_until(
                lambda: archive.requests, timeout_s=30, what=lambda: "no request"
            )
            archive.reports_here = True

            said = requeue_study(settings, "1.2.3")
            wait_for(node, {"delivered": 1})

    assert "its results are sent now" in said
    assert len(archive.stored) == 1
    assert len(archive.requests) == 2


def test_the_doctor_asks_every_kind_of_destination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.commands.doctor._model", lambda _settings: iter(()))
    (tmp_path / "share").mkdir()
    with run_committing_archive() as archive:
        pacs = settings_for(tmp_path / "data", archive).model_dump(mode="json")
        pacs["destinations"] += [
            {"name": "share", "kind": "folder", "folder": str(tmp_path / "share")},
            {"name": "gone", "kind": "folder", "folder": str(tmp_path / "gone")},
            {
                "name": "cloud",
                "kind": "stow",
                "url": f"http://127.0.0.1:{free_port()}/dicom-web",
            },
        ]
        pacs["callers"] = [{"ae_title": "CT1", "address": "127.0.0.1"}]
        found = tuple(examine(NodeSettings.model_validate(pacs)))

    about = {one.text: one.is_good for one in found if "destination " in one.text}
    assert json.dumps(sorted(about.items())).count("true") == 2
    assert any("(ARCHIVE@127.0.0.1" in one and "answers C-ECHO" in one for one in about)
    assert any("share" in one and one.endswith("is writable") for one in about)
    assert any("gone" in one and "the folder is not there" in one for one in about)
    assert any("cloud" in one and "it cannot be reached" in one for one in about)
    assert any("pacs: its reports on commitment are refused" in one for one in about)
    assert threading.active_count() < 50
