"""A running node, an MLLP sender and a FHIR client: each report reaches its study."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import structlog
from hl7.client import MLLPClient
from prometheus_client.parser import text_string_to_metric_families
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.audit import configure_logging
from dicom_node.config import DicomPeer, NodeSettings
from dicom_node.deliver import send_objects
from dicom_node.records import ReportStatus, StudyReady
from dicom_node.service import NodeService
from dicom_node.web.passwords import hash_password
from tests.builders.fhir_resources import body, make_report
from tests.builders.hl7_messages import make_oru, obx
from tests.builders.process import wait_until
from tests.builders.study_processor import QuickProcessor

QUIET_S = 0.3
PASSWORD = "a long enough password"
CANARIES = ("ZZCANARY", "pleural effusion", "ACC-77")


@pytest.fixture(autouse=True)
def node_log() -> Iterator[io.StringIO]:
    """Write the node's log to where a test can read it."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging(stream=stream, as_json=True)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = before


@pytest.fixture(autouse=True, scope="module")
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicom_node.assembly._SETTLE", timedelta(seconds=QUIET_S))
        patch.setattr("dicom_node.service.work._STOP_GRACE_S", 1)
        patch.setattr("dicom_node.workflows.workflows.POLLING_S", 0.05)
        yield


@contextmanager
def running(folder: Path) -> Iterator[tuple[NodeService, QuickProcessor]]:
    settings = NodeSettings.model_validate(
        {
            "node": {"port": 0, "data_dir": folder / "data", "quiet_time_s": QUIET_S},
            "web": {"port": 0},
            "hl7": {"enabled": True, "port": 0},
            "limits": {"min_free_bytes": 0},
        }
    )
    processor = QuickProcessor()
    with NodeService(settings, processor=processor) as node:
        yield node, processor


def send_image(node: NodeService, folder: Path) -> None:
    """Send an image of study 1.2.3, order ACC-77."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3.1.1"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.1"
    ds.Modality = "CT"
    ds.AccessionNumber = "ACC-77"
    ds.PatientName = "ZZCANARY^PATIENT"
    ds.PatientID = "ZZCANARY-ID"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / "image.dcm"
    ds.save_as(path, enforce_file_format=True)
    peer = DicomPeer("node", "GROUNDING", "127.0.0.1", node.port)
    outcomes = send_objects([path], peer, ae_title="PACS")
    assert all(one.is_delivered for one in outcomes), outcomes


def send_hl7(node: NodeService, text: str, **fields: object) -> bytes:
    """Send a report of order ACC-77 and return the answer."""
    message = make_oru(
        obx(text),
        **{"pid3": "ZZCANARY-ID^^^HOSP^MR", "obr": {3: "ACC-77", 25: "F"}, **fields},  # type: ignore[arg-type]
    )
    assert node.hl7_port is not None
    with MLLPClient("127.0.0.1", node.hl7_port) as client:
        answer: bytes = client.send_message(message)
    return answer


def wait_for(is_true: Callable[[], bool], what: str) -> None:
    wait_until(is_true, timeout_s=30, what=what, interval_s=0.05)


def texts(ready: StudyReady) -> list[str]:
    return [one.text for one in ready.reports]


def test_a_report_that_comes_first_waits_for_its_images(
    tmp_path: Path, node_log: io.StringIO
) -> None:
    with running(tmp_path) as (node, processor):
        answer = send_hl7(node, "Left pleural effusion.")
        assert node.store.reports.count_waiting() == 1
        send_image(node, tmp_path)
        wait_for(lambda: bool(processor.processed), "the study")
        metrics = httpx.get(f"http://127.0.0.1:{node.web_port}/metrics").text

    assert b"MSA|AA" in answer
    assert texts(processor.processed[0]) == ["Left pleural effusion."]
    counted = {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "dicom_node_report_messages_total"
        and sample.labels["channel"] == "hl7"
    }
    assert counted["accepted"] == 1
    assert sum(counted.values()) == 1
    for canary in CANARIES:
        assert canary not in node_log.getvalue()
        assert canary not in metrics


def test_a_report_survives_a_restart_before_its_images_come(tmp_path: Path) -> None:
    with running(tmp_path) as (node, _):
        send_hl7(node, "Left pleural effusion.")

    with running(tmp_path) as (node, processor):
        send_image(node, tmp_path)
        wait_for(lambda: bool(processor.processed), "the study")

    assert texts(processor.processed[0]) == ["Left pleural effusion."]


def test_a_corrected_report_over_fhir_makes_a_new_version(tmp_path: Path) -> None:
    with running(tmp_path) as (node, processor):
        node.store.users.add(
            "ris", password_hash=hash_password(PASSWORD), role="sender"
        )
        send_image(node, tmp_path)
        wait_for(lambda: len(processor.processed) == 1, "the images")
        for number, (status, text) in enumerate(
            [("final", "Left pleural effusion."), ("corrected", "No effusion.")],
            start=2,
        ):
            report = make_report(
                status=status,
                conclusion=text,
                subject={"identifier": {"value": "ZZCANARY-ID"}},
                study=[
                    {
                        "identifier": {
                            "system": "urn:dicom:uid",
                            "value": "urn:oid:1.2.3",
                        }
                    }
                ],
            )
            answer = httpx.post(
                f"http://127.0.0.1:{node.web_port}/fhir/DiagnosticReport",
                content=body(report),
                headers={"content-type": "application/fhir+json"},
                auth=("ris", PASSWORD),
            )
            assert answer.status_code == 201, answer.text
            wait_for(
                lambda n=number: len(processor.processed) == n, f"version {number}"
            )

    _, first, second = processor.processed
    assert texts(first) == ["IMPRESSION:\nLeft pleural effusion."]
    assert texts(second) == ["IMPRESSION:\nNo effusion."]
    assert second.reports[0].status is ReportStatus.CORRECTED
    assert second.predecessor_version == first.content_version


def test_a_report_of_another_patient_is_refused(
    tmp_path: Path, node_log: io.StringIO
) -> None:
    with running(tmp_path) as (node, processor):
        send_image(node, tmp_path)
        wait_for(lambda: bool(processor.processed), "the study")

        answer = send_hl7(
            node, "Left pleural effusion.", pid3="OTHER", extra=["ZDS|1.2.3"]
        )

        assert node.store.reports.of_study("1.2.3") == ()
    assert b"MSA|AE" in answer
    assert b"OTHER" not in answer
    assert "OTHER" not in node_log.getvalue()
