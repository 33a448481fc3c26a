"""A node that completes its studies from archives, before it processes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, EncapsulatedPDFStorage

from dicom_node.config import DicomPeer, NodeSettings
from dicom_node.deliver import send_objects
from dicom_node.service import NodeService
from dicom_node.store import StudyState
from tests.builders.archive import Archive
from tests.builders.process import free_port, wait_until
from tests.builders.qr_archive import QrArchive, instance
from tests.builders.study_processor import QuickProcessor
from tests.builders.ups_server import UpsServer, workitem

QUIET_S = 0.3


@pytest.fixture(autouse=True, scope="module")
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicom_node.assembly._SETTLE", timedelta(seconds=QUIET_S))
        patch.setattr("dicom_node.service.work._STOP_GRACE_S", 1)
        patch.setattr("dicom_node.workflows.workflows.POLLING_S", 0.05)
        yield


def make_settings(
    folder: Path, *archives: QrArchive, port: int = 0, **sections: Any
) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            **sections,
            "node": {"port": port, "data_dir": folder / "d", "quiet_time_s": QUIET_S},
            "web": {"enabled": False},
            "limits": {"min_free_bytes": 0},
            "archives": [one.settings.model_dump() for one in archives],
        }
    )


@contextmanager
def running(
    settings: NodeSettings, processor: QuickProcessor | None = None
) -> Iterator[NodeService]:
    with NodeService(settings, processor=processor or QuickProcessor()) as node:
        yield node


def send(node: NodeService, folder: Path, *instances: Dataset) -> None:
    paths = []
    for one in instances:
        path = folder / f"{one.SOPInstanceUID}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    peer = DicomPeer("node", "GROUNDING", "127.0.0.1", node.port)
    outcomes = send_objects(paths, peer, ae_title="PACS")
    assert all(one.is_delivered for one in outcomes), outcomes


def wait_for(is_true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    wait_until(is_true, timeout_s=timeout_s, what=what, interval_s=0.05)


def is_done(node: NodeService, study: str = "1.2.3") -> bool:
    return {
        one.study_instance_uid: one.state for one in node.store.snapshot().studies
    }.get(study) == StudyState.DONE


def a_study() -> list[Dataset]:
    """Return two series of images, a report, and what is not fetched."""
    return [
        *(instance(number=number) for number in (1, 2, 3)),
        *(instance(number=number, series=2) for number in (1, 2)),
        instance(series=3, sop_class=BasicTextSRStorage, Modality="SR"),
        instance(series=4, sop_class=EncapsulatedPDFStorage, Modality="OT"),
        instance(series=5, Modality="PR", sop_class="1.2.840.10008.5.1.4.1.1.11.1"),
    ]


@pytest.mark.parametrize("kind", ["c-get", "c-move"])
def test_what_did_not_come_is_fetched_before_the_study_is_processed(
    tmp_path: Path, kind: str
) -> None:
    processor = QuickProcessor()
    with QrArchive(a_study(), kind=kind, fetch=("series", "reports")) as archive:
        port = free_port()
        archive.move_to = ("127.0.0.1", port)
        with running(make_settings(tmp_path, archive, port=port), processor) as node:
            send(node, tmp_path, instance(number=1))
            wait_for(lambda: is_done(node), "the study")
            retrievals = node.store.retrievals.of_study("1.2.3")

    (ready,) = processor.processed
    uids = {one.sop_instance_uid for one in ready.instances}
    assert uids == {one.SOPInstanceUID for one in a_study()[:-1]}
    # The first version gave way; the second asked again and lacked nothing.
    assert [(one.asked, one.arrived) for one in retrievals] == [(6, 6), (0, 0)]
    levels = [one.QueryRetrieveLevel for one in archive.retrieved]
    assert sorted(levels) == ["IMAGE", "SERIES", "SERIES", "SERIES"]


def test_only_reports_are_fetched_where_only_they_are_asked_for(tmp_path: Path) -> None:
    processor = QuickProcessor()
    with (
        QrArchive(a_study()) as archive,
        running(make_settings(tmp_path, archive), processor) as node,
    ):
        send(node, tmp_path, instance(number=1))
        wait_for(lambda: is_done(node), "the study")

    (ready,) = processor.processed
    assert {one.sop_instance_uid for one in ready.instances} == {
        "1.2.3.1.1",
        "1.2.3.3.1",
        "1.2.3.4.1",
    }


def test_what_is_announced_and_never_comes_is_asked_for_once(tmp_path: Path) -> None:
    processor = QuickProcessor()
    with QrArchive(a_study(), fetch=("series", "reports")) as archive:
        archive.withheld = {"1.2.3.2.2"}
        settings = make_settings(tmp_path, archive)
        with running(settings, processor) as node:
            send(node, tmp_path, instance(number=1))
            wait_for(lambda: is_done(node), "the study")
            first = node.store.retrievals.of_study("1.2.3")
            asked = len(archive.retrieved)
            send(node, tmp_path, instance(number=9))
            wait_for(lambda: len(processor.processed) == 2, "the new version")
            assert len(archive.retrieved) == asked
            # A person asks again, and it has come meanwhile.
            archive.withheld = set()
            wait_for(lambda: is_done(node), "the second version")
            node.store.requeue_study("1.2.3", destinations={})
            wait_for(lambda: len(processor.processed) == 3, "the completed study")

    assert first[0].missing == ("1.2.3.2.2",)
    assert first[0].reason == "1 of 6 instances did not come"
    assert [len(one.instances) for one in processor.processed] == [6, 7, 8]


def test_another_patient_in_the_archive_stops_the_fetching(tmp_path: Path) -> None:
    other = [*a_study()]
    for one in other:
        one.PatientID = "SOMEBODY-ELSE"
    with (
        QrArchive(other, fetch=("series", "reports", "priors")) as archive,
        running(make_settings(tmp_path, archive)) as node,
    ):
        send(node, tmp_path, instance(number=1))
        wait_for(lambda: is_done(node), "the study")
        (retrieval,) = node.store.retrievals.of_study("1.2.3")

    assert archive.retrieved == []
    assert "another Patient ID" in retrieval.reason
    assert "SOMEBODY" not in retrieval.reason


def test_a_prior_is_fetched_told_as_such_and_not_processed(tmp_path: Path) -> None:
    processor = QuickProcessor()
    older = [
        instance("1.9.1", StudyDate="20240101"),
        instance("1.9.2", StudyDate="20250101"),
        instance(
            "1.9.2",
            series=2,
            StudyDate="20250101",
            sop_class=BasicTextSRStorage,
            Modality="SR",
        ),
        instance("1.9.3", StudyDate="20250601", Modality="MR"),
        instance("1.9.4", StudyDate="20250701", BodyPartExamined="HEAD"),
        instance("1.9.5", StudyDate="20250801", PatientID="zzcanary-id"),
        instance("1.9.6", StudyDate="20270101"),
    ]
    new = instance(number=1, BodyPartExamined="CHEST")
    with (
        QrArchive(older, fetch=("priors",)) as archive,
        running(make_settings(tmp_path, archive), processor) as node,
    ):
        send(node, tmp_path, new)
        wait_for(lambda: is_done(node), "the study")
        states = {
            one.study_instance_uid: one.state for one in node.store.snapshot().studies
        }
        (ready,) = processor.processed
        (prior,) = ready.priors
        # A person asks for it: it is a study like any other then.
        node.store.requeue_study("1.9.2", destinations={})
        wait_for(lambda: is_done(node, "1.9.2"), "the prior as a study")

    assert states == {"1.2.3": StudyState.DONE, "1.9.2": StudyState.IDLE}
    assert (prior.study_instance_uid, prior.study_date) == ("1.9.2", "20250101")
    assert [one.sop_instance_uid for one in prior.instances] == [
        "1.9.2.1.1",
        "1.9.2.2.1",
    ]
    assert [one.study_instance_uid for one in processor.processed] == ["1.2.3", "1.9.2"]


@pytest.mark.parametrize("trouble", ["away", "silent", "refusing"])
def test_an_archive_that_does_not_help_holds_nothing_up(
    tmp_path: Path, trouble: str
) -> None:
    archive = QrArchive(a_study(), timeout_s=1.0)
    with (
        nullcontext() if trouble == "away" else archive,
        running(make_settings(tmp_path, archive)) as node,
    ):
        if trouble == "silent":
            archive.is_silent.set()
        elif trouble == "refusing":
            archive.find_status = 0xA700
        send(node, tmp_path, instance(number=1))
        wait_for(lambda: is_done(node), "the study")
        (retrieval,) = node.store.retrievals.of_study("1.2.3")

    assert (retrieval.asked, retrieval.arrived) == (0, 0)
    assert (
        retrieval.reason
        == {
            "away": "it cannot be reached",
            "silent": "it took longer than its timeout_s",
            "refusing": "it answered C-FIND with 0xA700",
        }[trouble]
    )


def test_what_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    with QrArchive(a_study()) as archive:
        archive.extra = [instance("6.6.6", sop_class=BasicTextSRStorage)]
        with running(make_settings(tmp_path, archive)) as node:
            send(node, tmp_path, instance(number=1))
            wait_for(lambda: is_done(node), "the study")
            studies = node.store.snapshot().studies

    assert [one.study_instance_uid for one in studies] == ["1.2.3"]
    assert 0xC000 in archive.store_statuses


def test_an_archive_that_does_not_know_us_cannot_move_and_says_so(
    tmp_path: Path,
) -> None:
    with (
        QrArchive(a_study(), kind="c-move") as archive,
        running(make_settings(tmp_path, archive)) as node,
    ):
        send(node, tmp_path, instance(number=1))
        wait_for(lambda: is_done(node), "the study")
        (retrieval,) = node.store.retrievals.of_study("1.2.3")

    assert (retrieval.asked, retrieval.arrived) == (2, 0)
    assert "it answered C-MOVE with 0xA801" in retrieval.reason


def test_a_node_that_stops_while_it_fetches_goes_on_after_a_restart(
    tmp_path: Path,
) -> None:
    processor = QuickProcessor()
    with QrArchive(a_study(), fetch=("series", "reports")) as archive:
        settings = make_settings(tmp_path, archive)
        archive.is_silent.set()
        with running(settings, processor) as node:
            send(node, tmp_path, instance(number=1))
            wait_for(lambda: bool(archive.found), "a question to the archive")
        assert processor.processed == []
        archive.is_silent.clear()
        with running(settings, processor) as node:
            wait_for(lambda: is_done(node), "the study")

    (ready,) = processor.processed
    assert len(ready.instances) == len(a_study()) - 1


def test_work_from_a_worklist_is_fetched_processed_delivered_and_completed(
    tmp_path: Path,
) -> None:
    item = workitem(
        instances=("1.2.3.1.1", "1.2.3.1.2"),
        retrieve_ae_title="QRSCP",
    )
    with (
        QrArchive(a_study()) as archive,
        Archive() as pacs,
        UpsServer(item) as manager,
    ):
        settings = make_settings(
            tmp_path,
            archive,
            ups={"url": manager.url, "poll_s": 0.2},
            destinations=[pacs.destination.model_dump()],
        )
        with running(settings) as node:
            wait_for(lambda: manager.state() == "COMPLETED", "the workitem")
            assert is_done(node)

    (step,) = item.UnifiedProcedureStepPerformedProcedureSequence
    (output,) = step.OutputInformationSequence
    (reference,) = output.ReferencedSOPSequence
    assert pacs.uids == [reference.ReferencedSOPInstanceUID]
    assert output.DICOMRetrievalSequence[0].RetrieveAETitle == "ARCHIVE"
    assert manager.steps[0] == "10"
    assert manager.steps[-1] == "100"
