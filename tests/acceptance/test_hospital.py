"""A hospital around the node: Orthanc as PACS, an MLLP sender, a FHIR client, a page.

Report first, images first, a corrected report, a prior study: each ends with the right
objects in Orthanc and the right page.
"""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hl7.client
import pydicom
import pytest
from fhir.resources.diagnosticreport import DiagnosticReport
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage, generate_uid

from dicom_node.config import DestinationSettings, load_settings
from dicom_node.opendata import fetch_totalsegmentator
from dicom_node.store import Store
from dicom_node.web.passwords import hash_password
from tests.builders.hl7_messages import make_oru, obx
from tests.builders.node import RunningNode, run_node
from tests.builders.ohif import VIEWERS
from tests.builders.orthanc import Orthanc, run_orthanc
from tests.builders.pacs_study import write_report
from tests.builders.peers import require_program
from tests.builders.process import free_port, wait_until
from tests.builders.storescp import storescu

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

PASSWORD = "correct horse battery"
PATIENCE_S = 300.0
"""With the model on a busy machine; it needs seconds."""

SLICES = slice(8, 13)
"""Enough of the CT for three organs, and quick."""


@dataclass(frozen=True)
class Hospital:
    """A node beside a PACS."""

    node: RunningNode
    orthanc: Orthanc
    hl7_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.node.web_port}"

    def say(self, message: str) -> str:
        """Send an HL7 message and return the code of its acknowledgement."""
        with hl7.client.MLLPClient("127.0.0.1", self.hl7_port) as client:
            answer = client.send_message(message)
        return str(hl7.parse(answer.decode().strip("\x0b\x1c\r"))["MSA"][0][1])

    def post(self, path: str, resource: str, *, name: str) -> int:
        """Post FHIR as one of the users and return the HTTP status."""
        request = urllib.request.Request(
            self.url + path,
            resource.encode(),
            {
                "Content-Type": "application/fhir+json",
                "Authorization": _basic(name),
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)

    def get(self, path: str) -> Any:
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": _basic("ada")}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def results(self, study: str) -> list[dict[str, Any]]:
        return [
            one for one in self.node.results() if one["study_instance_uid"] == study
        ]

    def wait_for(self, study: str, count: int) -> dict[str, Any]:
        """Wait for so many results of a study, all in the PACS; return the newest."""

        def is_there() -> bool:
            self.node.program.check_alive()
            found = self.results(study)
            return len(found) >= count and _uids(found[-1]) <= set(self.held(study))

        wait_until(is_there, timeout_s=PATIENCE_S, what=self.node.program.tail)
        return self.results(study)[-1]

    def held(self, study: str) -> dict[str, str]:
        """Return Orthanc's instances of a study: SOP Instance UID to identifier."""
        return {
            one["MainDicomTags"]["SOPInstanceUID"]: one["ID"]
            for one in self.orthanc.find("Instance", {"StudyInstanceUID": study})
        }

    def documents(self, study: str, sop_class: str) -> dict[str, pydicom.Dataset]:
        """Return what Orthanc holds of a class in a study."""
        found = {}
        for uid, identifier in self.held(study).items():
            ds = _read(self.orthanc.file(identifier))
            if ds.SOPClassUID == sop_class:
                found[uid] = ds
        return found

    def pages(self, *studies: str, folder: Path) -> dict[str, Any]:
        """Open the studies' pages in a browser and return what is to be read."""
        folder.mkdir(parents=True, exist_ok=True)
        task = {
            "url": self.url,
            "folder": str(folder),
            "password": PASSWORD,
            "studies": studies,
        }
        done = subprocess.run(
            ["node", VIEWERS / "report-page.mjs"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            cwd=VIEWERS,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        seen: dict[str, Any] = json.loads(done.stdout)
        assert seen["complaints"] == []
        pages: dict[str, Any] = seen["studies"]
        return pages


@pytest.fixture(scope="module")
def hospital(
    hospital_network: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hospital]:
    for program in ("Orthanc", "storescu", "chromium", "node"):
        require_program(program)
    folder = tmp_path_factory.mktemp("hospital")
    node_port, hl7_port = free_port(), free_port()
    modalities = {"node": ("GROUNDING", "127.0.0.1", node_port)}
    with (
        run_orthanc(folder / "orthanc", modalities=modalities) as orthanc,
        _node(folder / "node", node_port, hl7_port, orthanc) as node,
    ):
        settings = load_settings(node.config, {})
        with Store(settings.database_url) as store:
            hashed = hash_password(PASSWORD)
            store.users.add("ada", password_hash=hashed, role="admin")
            store.users.add("ris", password_hash=hashed, role="sender")
        yield Hospital(node, orthanc, hl7_port)


@contextmanager
def _node(
    folder: Path, port: int, hl7_port: int, orthanc: Orthanc
) -> Iterator[RunningNode]:
    more = f"""
[hl7]
enabled = true
port = {hl7_port}
[[archives]]
name = "orthanc"
kind = "c-get"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {orthanc.dicom_port}
fetch = ["reports", "priors"]
"""
    destination = DestinationSettings(
        name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port
    )
    with run_node(
        folder, destinations=[destination], dicom_port=port, more=more
    ) as node:
        for other in (hl7_port, node.web_port):
            node.program.wait_for_port(other)
        yield node


def _scan(
    hospital: Hospital, folder: Path, *, accession: str, patient: str, date: str
) -> tuple[str, list[Path]]:
    """Put a CT of a patient into the PACS; return its UID and files."""
    study, series = generate_uid(), generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    source = sorted((fetch_totalsegmentator() / "example_ct_dicom").iterdir())
    for number, path in enumerate(source[SLICES], start=1):
        ds = pydicom.dcmread(path)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID
        ds.SOPInstanceUID = generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.AccessionNumber, ds.StudyDate, ds.StudyTime = accession, date, "101500"
        ds.PatientID, ds.PatientName = patient, f"Hospital^{patient}"
        ds.BodyPartExamined = "ABDOMEN"
        ds.SeriesNumber, ds.InstanceNumber = 1, number
        files.append(folder / f"{accession}-{number}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
        hospital.orthanc.store(files[-1])
    return study, files


@pytest.fixture(scope="module")
def report_first(
    hospital: Hospital, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    code = hospital.say(
        make_oru(
            obx("The liver is enlarged.", code="GDT"),
            obx("There is no ascites.", code="GDT"),
            pid3="P1^^^HOSP^MR",
            obr={3: "HOSP-1", 18: "HOSP-1"},
            msh={10: "A-1"},
        )
    )
    assert code == "AA"
    assert hospital.get("/operations.json")["waiting_reports"] == 1
    study, _ = _scan(
        hospital,
        tmp_path_factory.mktemp("a"),
        accession="HOSP-1",
        patient="P1",
        date="20260101",
    )
    hospital.orthanc.send_study(study, modality="node")
    return study, hospital.wait_for(study, 1)


@pytest.fixture(scope="module")
def corrected(
    hospital: Hospital, report_first: tuple[str, dict[str, Any]]
) -> dict[str, Any]:
    study, _ = report_first
    code = hospital.say(
        make_oru(
            obx("The spleen is enlarged.", code="GDT", status="C"),
            pid3="P1^^^HOSP^MR",
            obr={3: "HOSP-1", 18: "HOSP-1", 25: "C"},
            msh={10: "A-2"},
        )
    )
    assert code == "AA"
    return hospital.wait_for(study, 2)


@pytest.fixture(scope="module")
def images_first(
    hospital: Hospital, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    study, _ = _scan(
        hospital,
        tmp_path_factory.mktemp("b"),
        accession="HOSP-2",
        patient="P2",
        date="20260102",
    )
    hospital.orthanc.send_study(study, modality="node")
    without = hospital.wait_for(study, 1)
    report = DiagnosticReport.model_validate(
        {
            "status": "final",
            "code": {"text": "CT abdomen"},
            "identifier": [
                {
                    "type": {"coding": [{"code": "ACSN"}]},
                    "value": "HOSP-2",
                }
            ],
            "subject": {"identifier": {"value": "P2"}},
            "conclusion": "The aorta is normal. No pneumothorax.",
        }
    )
    status = hospital.post(
        "/fhir/DiagnosticReport", report.model_dump_json(), name="ris"
    )
    assert status in {200, 201, 202}
    return study, without, hospital.wait_for(study, 2)


@pytest.fixture(scope="module")
def with_prior(
    hospital: Hospital, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("c")
    prior, files = _scan(
        hospital,
        folder / "prior",
        accession="HOSP-0",
        patient="P3",
        date="20250110",
    )
    hospital.orthanc.store(
        write_report(
            folder / "prior.dcm", like=files[0], findings="The liver is enlarged."
        )
    )
    study, files = _scan(
        hospital, folder / "now", accession="HOSP-3", patient="P3", date="20260115"
    )
    hospital.orthanc.store(
        write_report(
            folder / "now.dcm", like=files[0], findings="The spleen is enlarged."
        )
    )
    # The PACS sends images alone; the node asks it for the rest.
    storescu(
        files,
        port=hospital.node.dicom_port,
        called="GROUNDING",
        options=["--propose-j2k-lossless"],
    )
    return study, prior, hospital.wait_for(study, 1)


def test_a_report_that_came_first_waits_for_its_images(
    hospital: Hospital, report_first: tuple[str, dict[str, Any]]
) -> None:
    study, document = report_first

    by_text = {one["text"]: one for one in document["phrases"]}
    (liver,) = (one for text, one in by_text.items() if "liver" in text)
    (ascites,) = (one for text, one in by_text.items() if "ascites" in text)
    assert liver["source"].startswith("hl7:")
    assert liver["regions"]
    assert (ascites["status"], ascites["regions"]) == ("absent", [])
    assert len(hospital.documents(study, SegmentationStorage)) >= 1


def test_a_corrected_report_supersedes_what_was_said_before(
    hospital: Hospital,
    report_first: tuple[str, dict[str, Any]],
    corrected: dict[str, Any],
) -> None:
    study, before = report_first

    reports = hospital.documents(study, Comprehensive3DSRStorage)
    (new,) = _uids(corrected) & set(reports)
    assert [one["text"] for one in corrected["phrases"]] == ["The spleen is enlarged"]
    assert _predecessors(reports[new]) == _uids(before) & set(reports)


def test_a_report_that_comes_after_the_images_makes_a_new_version(
    hospital: Hospital, images_first: tuple[str, dict[str, Any], dict[str, Any]]
) -> None:
    study, without, document = images_first

    reports = hospital.documents(study, Comprehensive3DSRStorage)
    (new,) = _uids(document) & set(reports)
    assert {one["source"] for one in without["phrases"]} == {"vocabulary"}
    assert all(one["source"].startswith("fhir:") for one in document["phrases"])
    assert {one["status"] for one in document["phrases"]} == {"present", "absent"}
    assert _predecessors(reports[new]) == _uids(without) & set(reports)


def test_the_report_and_the_prior_study_are_fetched_from_the_pacs(
    hospital: Hospital, with_prior: tuple[str, str, dict[str, Any]]
) -> None:
    study, prior, document = with_prior

    assert [one["text"] for one in document["phrases"]] == ["The spleen is enlarged"]
    (told,) = document["priors"]
    assert (told["study_instance_uid"], told["study_date"]) == (prior, "20250110")
    assert [one["text"] for one in told["phrases"]] == ["The liver is enlarged"]
    assert hospital.results(prior) == []
    assert not hospital.documents(prior, SegmentationStorage)
    assert hospital.documents(study, SegmentationStorage)


@pytest.mark.usefixtures("corrected")
def test_the_pages_show_each_study_as_it_is(
    hospital: Hospital,
    report_first: tuple[str, dict[str, Any]],
    images_first: tuple[str, dict[str, Any], dict[str, Any]],
    with_prior: tuple[str, str, dict[str, Any]],
    artifacts: Path,
) -> None:
    first, later, current = report_first[0], images_first[0], with_prior[0]

    pages = hospital.pages(first, later, current, folder=artifacts / "hospital")

    shown = {
        study: " ".join(one["text"] for one in page["phrases"])
        for study, page in pages.items()
    }
    assert "spleen is enlarged" in shown[first]
    assert "liver" not in shown[first]
    assert "aorta" in shown[later]
    assert "pneumothorax" in shown[later]
    assert "spleen is enlarged" in shown[current]
    assert "Prior" in pages[current]["text"]
    assert "liver" not in shown[current]


def _basic(name: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{PASSWORD}'.encode()).decode()}"


def _uids(document: dict[str, Any]) -> set[str]:
    return {one["sop_instance_uid"] for one in document["objects"]}


def _predecessors(report: pydicom.Dataset) -> set[str]:
    return {
        str(one.ReferencedSOPInstanceUID)
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }


def _read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), stop_before_pixels=True)
