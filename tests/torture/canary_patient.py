"""The canary patient's images, documents and messages: a canary in every text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from dicom_node.reports import make_report_document
from tests.builders.dicom_series import make_ct_series
from tests.builders.documents import encapsulated, make_cda, make_pdf
from tests.builders.hl7_messages import make_oru, obx
from tests.torture.canary import ACCENTED, PATIENT

__all__ = [
    "ACCESSION",
    "BIRTH_DATE",
    "REPORT",
    "TEXTS",
    "CanaryStudy",
    "make_message",
    "make_study",
    "set_text",
]

ACCESSION = f"{PATIENT}-ACC"
BIRTH_DATE = "19370219"
PATIENT_ID = f"{PATIENT}-ID"

REPORT = (
    f"{PATIENT} has an enlarged liver. The spleen of {ACCENTED} is unremarkable. "
    f"Possible cyst in the left kidney. No ascites in {PATIENT}."
)

TEXTS: dict[str, str] = {
    "PatientName": f"{PATIENT}^{ACCENTED}",
    "PatientID": PATIENT_ID,
    "OtherPatientNames": f"{PATIENT}^OTHER",
    "PatientBirthDate": BIRTH_DATE,
    "PatientAddress": f"{PATIENT} Street 1",
    "PatientComments": f"{PATIENT} {ACCENTED} comments",
    "AccessionNumber": ACCESSION,
    "ReferringPhysicianName": f"{PATIENT}^REFERRING",
    "PerformingPhysicianName": f"{PATIENT}^PERFORMING",
    "OperatorsName": f"{PATIENT}^OPERATOR",
    "InstitutionName": f"{PATIENT} Hospital",
    "InstitutionAddress": f"{PATIENT} Avenue",
    "StationName": f"{PATIENT}-ST",
    "StudyDescription": f"CT {PATIENT} {ACCENTED}",
    "SeriesDescription": f"Abdomen {PATIENT}",
    "ProtocolName": f"{PATIENT} protocol",
    "StudyID": f"{PATIENT}-SID",
    "ReasonForStudy": f"liver of {PATIENT}",
    "ImageComments": f"{PATIENT} image",
    "RequestedProcedureDescription": f"{PATIENT} procedure",
}
"""By keyword; every one that says something of a person or is free text."""


@dataclass(frozen=True, slots=True)
class CanaryStudy:
    """A study's UID and files."""

    uid: str
    files: tuple[Path, ...]


def make_study(
    folder: Path, number: int, *, texts: dict[str, str] | None = None, report: str = ""
) -> CanaryStudy:
    """Write a study: a small CT, a series that cannot be decoded, and documents.

    Parameters
    ----------
    folder : pathlib.Path
        Where; it is made.
    number : int
        Keeps studies apart.
    texts : dict of str to str, optional
        Instead of `TEXTS`; then there are only the CT and its report.
    report : str
        Instead of `REPORT`.

    """
    uid = f"2.25.{number}1919"
    said: dict[str, object] = {"SpecificCharacterSet": "ISO_IR 192"}
    said |= TEXTS if texts is None else texts
    series = make_ct_series(
        folder / "ct",
        slices=4,
        study_uid=uid,
        name=f"canary-{number}",
        changes=said,
    )
    files = list(series.paths)
    image = dcmread(files[0])
    sections = [("Findings", report or REPORT)]
    document = make_report_document(sections, template=image)
    document.save_as(folder / "report.dcm", enforce_file_format=True)
    files.append(folder / "report.dcm")
    if texts is None:
        for path in files[:4]:
            _add_private(path)
        broken = make_ct_series(
            folder / "broken",
            slices=1,
            study_uid=uid,
            name=f"broken-{number}",
            series_number=7,
            changes=said,
        )
        _break(broken.paths[0])
        files += [broken.paths[0], *_documents(folder, image, number)]
    return CanaryStudy(uid, tuple(files))


def make_message(*, accession: str = ACCESSION, text: str = REPORT) -> str:
    """Write an HL7 report with a canary in PID, OBR, OBX and NTE."""
    return make_oru(
        obx(text),
        f"NTE|1||{PATIENT} {ACCENTED} note",
        msh={18: "UNICODE UTF-8", 10: f"{PATIENT}-CTL"},
        pid3=f"{PATIENT_ID}^^^{PATIENT}^MR~{PATIENT}-2",
        obr={3: accession, 4: f"X^{PATIENT}", 16: f"{PATIENT}^DOC", 25: "F"},
    )


def set_text(ds: Dataset, keyword: str, value: str) -> None:
    """Set an element to what pydicom would complain of."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    ds[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)


def _add_private(path: Path) -> None:
    ds = dcmread(path)
    block = ds.private_block(0x0099, f"{PATIENT} CREATOR", create=True)
    block.add_new(0x01, "LT", f"{PATIENT} {ACCENTED} private")
    block.add_new(0x02, "UN", PATIENT.encode())
    ds.save_as(path, enforce_file_format=True)


def _break(path: Path) -> None:
    image = dcmread(path)
    image.PixelData = encapsulate([f"{PATIENT} is no codestream.".encode()])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image.save_as(path, enforce_file_format=True)


def _documents(folder: Path, image: Dataset, number: int) -> list[Path]:
    section = f"<component><section><text>{REPORT}</text></section></component>"
    made = {
        "pdf": make_pdf([REPORT[:60], f"The liver of {PATIENT} is enlarged."]),
        "cda": make_cda(section),
    }
    paths = []
    for kind, document in made.items():
        ds = encapsulated(document, kind=kind, number=number)
        ds.StudyInstanceUID = image.StudyInstanceUID
        for keyword in ("SpecificCharacterSet", "PatientID", "PatientName"):
            ds[keyword] = image[keyword]
        ds.DocumentTitle = f"{PATIENT} title"
        paths.append(folder / f"{kind}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    # A file name of the sender's tells nothing to the node.
    renamed = folder / f"{PATIENT}.dcm"
    paths[0].rename(renamed)
    return [renamed, *paths[1:]]
