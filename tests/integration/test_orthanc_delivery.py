"""Orthanc as the other side: it commits to our results, asks us, and takes STOW-RS."""

from __future__ import annotations

import io
import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicom_node.config import DestinationSettings, NodeSettings
from dicom_node.deliver import Sendable, check, send
from dicom_node.service import NodeService
from tests.builders.network import loopback_network
from tests.builders.orthanc import Orthanc, run_orthanc
from tests.builders.peers import cannot_run, require_program
from tests.builders.process import free_port, wait_until
from tests.builders.raw_peer import RawPeer, make_instance
from tests.builders.study_processor import QuickProcessor

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(180)]


@dataclass
class Hospital:
    """A node and an Orthanc that know each other."""

    node: NodeService
    orthanc: Orthanc
    folder: Path

    def deliveries(self) -> dict[tuple[str, str], int]:
        counts = self.node.store.counts().deliveries
        return {key: count for key, count in counts.items() if count}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    require_program("Orthanc")
    folder = tmp_path_factory.mktemp("hospital")
    try:
        network = loopback_network()
        network.__enter__()
    except (OSError, PermissionError):
        cannot_run("a network namespace cannot be made here")
    try:
        port, http = free_port(), free_port()
        share = folder / "share"
        share.mkdir()
        settings = NodeSettings.model_validate(
            {
                "node": {"port": 0, "data_dir": folder / "data", "quiet_time_s": 0.3},
                "web": {"enabled": False},
                "limits": {"min_free_bytes": 0},
                "callers": [
                    {"ae_title": "ORTHANC", "address": "127.0.0.1"},
                    {"ae_title": "PACS", "address": "127.0.0.1"},
                ],
                "destinations": [
                    {
                        "name": "orthanc",
                        "ae_title": "ORTHANC",
                        "host": "127.0.0.1",
                        "port": port,
                        "commitment": "required",
                    },
                    {
                        "name": "web",
                        "kind": "stow",
                        "url": f"http://127.0.0.1:{http}/dicom-web",
                    },
                    {"name": "share", "kind": "folder", "folder": share},
                ],
            }
        )
        with (
            NodeService(settings, processor=QuickProcessor(objects=2)) as node,
            run_orthanc(
                folder / "orthanc",
                dicom_port=port,
                http_port=http,
                modalities={"node": ["GROUNDING", "127.0.0.1", node.port]},
            ) as orthanc,
        ):
            yield Hospital(node, orthanc, folder)
    finally:
        network.__exit__(None, None, None)


def post(orthanc: Orthanc, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{orthanc.http_port}{path}",
        data=json.dumps(body).encode(),
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def store(hospital: Hospital, *uids: str, study: str) -> None:
    with RawPeer(hospital.node.port) as peer:
        peer.associate()
        for uid in uids:
            ds = make_instance(uid, StudyInstanceUID=study)
            assert peer.store(ds).status == 0
        peer.release()


def test_a_result_is_delivered_to_every_kind_of_destination(hospital: Hospital) -> None:
    store(hospital, "1.2.3.1", study="1.2.3")

    wait_until(
        lambda: (
            hospital.deliveries()
            == {
                ("orthanc", "delivered"): 2,
                ("web", "delivered"): 2,
                ("share", "delivered"): 2,
            }
        ),
        timeout_s=60,
        what=lambda: f"deliveries: {hospital.deliveries()}",
    )

    (made,) = (hospital.folder / "share").iterdir()
    written = {
        str(ds.SOPInstanceUID): ds for ds in map(pydicom.dcmread, made.glob("*.dcm"))
    }
    kept = {
        one["MainDicomTags"]["SOPInstanceUID"]: pydicom.dcmread(
            io.BytesIO(hospital.orthanc.file(one["ID"]))
        )
        for one in hospital.orthanc.find("Instance", {})
    }
    # By C-STORE and by STOW-RS: the data sets are those that were made.
    assert kept == written


def test_orthanc_said_so_itself(hospital: Hospital) -> None:
    with hospital.node.store._database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT role, peer, state FROM commitments WHERE role = 'scu'"
        ).all()
        events = connection.exec_driver_sql(
            "SELECT detail FROM events WHERE kind = 'result_delivered'"
        ).all()

    assert [tuple(row) for row in rows] == [("scu", "orthanc", "reported")]
    told = [json.loads(one[0]) for one in events]
    assert all(
        one["transaction_uid"] for one in told if one["destination"] == "orthanc"
    )


def test_orthanc_is_told_what_the_node_has(hospital: Hospital) -> None:
    store(hospital, "1.2.3.71", "1.2.3.72", study="1.2.37")
    ct = "1.2.840.10008.5.1.4.1.1.2"
    asked = post(
        hospital.orthanc,
        "/modalities/node/storage-commitment",
        {"DicomInstances": [[ct, "1.2.3.71"], [ct, "1.2.3.72"], [ct, "1.2.3.79"]]},
    )
    report: dict[str, Any] = {}

    def is_there() -> bool:
        report.update(hospital.orthanc.get(asked["Path"]))
        return report["Status"] != "Pending"

    wait_until(is_there, timeout_s=30, what=lambda: f"the report: {report}")

    assert report["Status"] == "Failure"
    assert sorted(one["SOPInstanceUID"] for one in report["Success"]) == [
        "1.2.3.71",
        "1.2.3.72",
    ]
    (failure,) = report["Failures"]
    assert failure["SOPInstanceUID"] == "1.2.3.79"
    assert failure["FailureReason"] == 0x0112


def test_orthanc_answers_the_doctor_and_takes_a_batch(
    hospital: Hospital, tmp_path: Path
) -> None:
    web = DestinationSettings(
        name="web",
        kind="stow",
        url=f"http://127.0.0.1:{hospital.orthanc.http_port}/dicom-web",
    )
    made = []
    for number in range(150):
        ds = make_instance(f"1.2.3.9.{number}", StudyInstanceUID="1.2.39")
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        path = tmp_path / f"{number}.dcm"
        ds.save_as(path, enforce_file_format=True)
        made.append(
            Sendable(
                path,
                str(ds.SOPClassUID),
                str(ds.SOPInstanceUID),
                "1.2.840.10008.1.2.1",
                "1.2.39",
            )
        )
    began = time.monotonic()

    outcomes = send(made, web, ae_title="GROUNDING")
    print(f"150 instances by STOW-RS in {time.monotonic() - began:.2f} s")

    assert check(web, ae_title="GROUNDING") == "answers QIDO-RS"
    assert all(one.is_delivered for one in outcomes), outcomes[0]
    found = hospital.orthanc.find("Instance", {"StudyInstanceUID": "1.2.39"})
    assert len(found) == 150
