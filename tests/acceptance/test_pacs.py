"""A PACS sends a real CT with its report; results come back to every destination."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    SegmentationStorage,
)

from dicom_node.config import DestinationSettings
from tests.builders.node import RunningNode, run_node
from tests.builders.orthanc import Orthanc, run_orthanc
from tests.builders.pacs_study import PacsStudy, make_study
from tests.builders.peers import require_program
from tests.builders.process import wait_until
from tests.builders.storescp import StoreScp, run_storescp, storescu

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

QUIET_TIME_S = 2.0
GROUNDING_S = 400.0
"""Patience with the model on a busy machine; it needs seconds."""


@dataclass(frozen=True)
class Hospital:
    """A node between a PACS that sends and two archives that receive."""

    node: RunningNode
    archive: StoreScp
    orthanc: Orthanc

    def send(self, *paths: Path) -> None:
        storescu(
            paths,
            port=self.node.dicom_port,
            called=self.node.ae_title,
            options=["--propose-j2k-lossless"],
        )

    def wait_until_delivered(self, document: dict[str, object]) -> None:
        """Wait until both archives have every object of one result."""
        uids = _uids(document)

        def are_there() -> bool:
            self.node.program.check_alive()
            return uids <= set(self.archive.arrivals()) and uids <= set(
                _in_orthanc(self.orthanc)
            )

        wait_until(
            are_there,
            timeout_s=60,
            what=lambda: f"the delivery\n{self.node.program.tail()}",
        )


@pytest.fixture(scope="module")
def hospital(
    hospital_network: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hospital]:
    for program in ("storescu", "storescp", "Orthanc"):
        require_program(program)
    folder = tmp_path_factory.mktemp("hospital")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        run_storescp(folder / "archive", ae_title="ARCHIVE") as archive,
        run_orthanc(folder / "orthanc") as orthanc,
    ):
        destinations = [
            # Connections are taken and never answered, or refused at once: neither
            # may hold up the two that work.
            _destination("silent", ae_title="SILENT", port=silent.getsockname()[1]),
            _destination("down", ae_title="DOWN", port=1),
            _destination("archive", ae_title="ARCHIVE", port=archive.port),
            _destination("orthanc", ae_title="ORTHANC", port=orthanc.dicom_port),
        ]
        with run_node(
            folder / "node", destinations=destinations, quiet_time_s=QUIET_TIME_S
        ) as node:
            yield Hospital(node, archive, orthanc)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PacsStudy:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def first(hospital: Hospital, study: PacsStudy) -> dict[str, object]:
    """Send the study without its last slice; return its result."""
    hospital.send(*study.images[:-1], study.report)
    (document,) = hospital.node.wait_for_results(1, timeout_s=GROUNDING_S)
    hospital.wait_until_delivered(document)
    return document


@pytest.fixture(scope="module")
def second(
    hospital: Hospital, study: PacsStudy, first: dict[str, object]
) -> dict[str, object]:
    """Send the slice that was held back; return the new version's result."""
    hospital.send(study.images[-1])
    _, document = hospital.node.wait_for_results(2, timeout_s=GROUNDING_S)
    hospital.wait_until_delivered(document)
    return document


def test_seg_and_sr_come_back_to_both_destinations_exactly_once(
    hospital: Hospital, first: dict[str, object]
) -> None:
    arrivals = hospital.archive.arrivals()

    assert {SegmentationStorage, Comprehensive3DSRStorage} <= {
        ds.SOPClassUID for ds in _received(hospital)
    }
    assert set(arrivals.values()) == {1}
    assert set(arrivals) == _uids(first)
    assert hospital.orthanc.stored_count() == len(_uids(first))


def test_results_are_filed_under_the_study_and_patient(
    hospital: Hospital, study: PacsStudy, first: dict[str, object]
) -> None:
    hospital.orthanc.store(study.images[0])

    (found,) = hospital.orthanc.find(
        "Study", {"StudyInstanceUID": study.study_instance_uid}
    )
    modalities = {
        one["MainDicomTags"]["Modality"]
        for one in hospital.orthanc.find(
            "Series", {"StudyInstanceUID": study.study_instance_uid}
        )
    }
    assert found["PatientMainDicomTags"]["PatientID"] == "TEST-1"
    assert {"CT", "SEG", "SR"} <= modalities


def test_every_phrase_of_the_report_is_answered(first: dict[str, object]) -> None:
    phrases = first["phrases"]
    assert isinstance(phrases, list)
    by_text = {one["text"]: one for one in phrases}

    liver = next(one for text, one in by_text.items() if "liver" in text)
    ascites = next(one for text, one in by_text.items() if "ascites" in text)
    assert liver["status"] == "present"
    assert liver["regions"]
    assert liver["regions"][0]["seg"] is not None
    assert ascites["status"] == "absent"
    assert ascites["regions"] == []


def test_a_late_slice_makes_a_version_that_supersedes_the_first(
    hospital: Hospital, first: dict[str, object], second: dict[str, object]
) -> None:
    received = {
        str(ds.SOPInstanceUID): ds for ds in map(_read, hospital.archive.files())
    }

    assert first["study_instance_uid"] == second["study_instance_uid"]
    assert not _uids(first) & _uids(second)
    predecessors = {
        str(one.ReferencedSOPInstanceUID)
        for uid in _uids(second)
        if received[uid].Modality == "SR"
        for study_item in received[uid].PredecessorDocumentsSequence
        for series_item in study_item.ReferencedSeriesSequence
        for one in series_item.ReferencedSOPSequence
    }
    assert predecessors == {
        uid for uid in _uids(first) if received[uid].Modality == "SR"
    }
    assert set(hospital.archive.arrivals().values()) == {1}


def test_what_arrives_is_what_the_node_made(
    hospital: Hospital, first: dict[str, object], second: dict[str, object]
) -> None:
    made = hospital.node.object_paths()

    for path in hospital.archive.files():
        uid = str(_read(path).SOPInstanceUID)
        assert _data_set_bytes(path.read_bytes()) == _data_set_bytes(
            made[uid].read_bytes()
        )


def test_dciodvfy_finds_no_error_in_what_arrived(
    hospital: Hospital, first: dict[str, object], second: dict[str, object]
) -> None:
    judge = Path(sys.executable).with_name("dciodvfy")

    errors = {}
    for path in hospital.archive.files():
        result = subprocess.run(
            [judge, "-new", path], capture_output=True, text=True, check=False
        )
        lines = (result.stdout + result.stderr).splitlines()
        assert lines, "dciodvfy says at least which object it read"
        errors[path.name] = [line for line in lines if line.startswith("Error")]
    assert errors == {name: [] for name in errors}


def test_results_that_come_back_are_not_processed_again(
    hospital: Hospital, study: PacsStudy, second: dict[str, object]
) -> None:
    before = hospital.archive.arrivals()

    hospital.send(*hospital.archive.files())
    hospital.send(*study.images, study.report)
    time.sleep(3 * QUIET_TIME_S)

    assert len(hospital.node.results()) == 2
    assert hospital.archive.arrivals() == before


def test_a_study_without_study_and_series_uids_gets_its_results(
    hospital: Hospital, second: dict[str, object], tmp_path: Path
) -> None:
    raw = make_study(tmp_path, study_instance_uid="")

    hospital.send(*raw.images, raw.report)
    document = _wait_for_regions(hospital, besides=second)
    hospital.wait_until_delivered(document)

    assert document["study_instance_uid"]
    assert {
        str(ds.StudyInstanceUID)
        for ds in _received(hospital)
        if str(ds.SOPInstanceUID) in _uids(document)
    } == {document["study_instance_uid"]}


def _wait_for_regions(
    hospital: Hospital, *, besides: dict[str, object]
) -> dict[str, Any]:
    """Wait for a result that shows something, of another study than a known one.

    On a busy machine the images may come together before the report: then what is
    made of them alone is a version of its own, and the report's is finished later.
    """

    def shown() -> list[dict[str, Any]]:
        hospital.node.program.check_alive()
        return [
            one
            for one in hospital.node.results()
            if one["study_instance_uid"] != besides["study_instance_uid"]
            and any(phrase["regions"] for phrase in one["phrases"])
        ]

    wait_until(lambda: bool(shown()), timeout_s=GROUNDING_S, what="regions")
    return shown()[-1]


def _destination(name: str, *, ae_title: str, port: int) -> DestinationSettings:
    return DestinationSettings(
        name=name, ae_title=ae_title, host="127.0.0.1", port=port
    )


def _uids(document: dict[str, object]) -> set[str]:
    objects = document["objects"]
    assert isinstance(objects, list)
    return {one["sop_instance_uid"] for one in objects}


def _in_orthanc(orthanc: Orthanc) -> set[str]:
    return {
        one["MainDicomTags"]["SOPInstanceUID"] for one in orthanc.find("Instance", {})
    }


def _received(hospital: Hospital) -> list[pydicom.Dataset]:
    return [_read(path) for path in hospital.archive.files()]


def _read(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


def _data_set_bytes(file: bytes) -> bytes:
    """Cut the preamble and the file meta information off (PS3.10 7.1)."""
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]
