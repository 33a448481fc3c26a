"""A study as a PACS holds it: the real CT, and the report that was dictated on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DataSequence
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node.opendata import fetch_totalsegmentator

__all__ = ["FINDINGS", "IMPRESSION", "PacsStudy", "make_study", "write_report"]

FINDINGS = (
    "The liver is enlarged. The spleen is normal in size. "
    "The stomach is distended. There is no ascites."
)
"""Findings of the dictated report: three organs that are there, one negation."""

IMPRESSION = "Hepatomegaly."
"""Impression of the dictated report."""


@dataclass(frozen=True)
class PacsStudy:
    """Files of one study.

    ``images`` are sorted by file name, which is the order of Instance Number.
    ``study_instance_uid`` and ``series_instance_uid`` are empty where the PACS has
    none.
    """

    study_instance_uid: str
    series_instance_uid: str
    images: tuple[Path, ...]
    report: Path


def make_study(
    folder: Path,
    *,
    study_instance_uid: str | None = None,
    findings: str = FINDINGS,
    impression: str = IMPRESSION,
) -> PacsStudy:
    """Write the real CT and a report on it as a PACS would hand them out.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files go.
    study_instance_uid : str, optional
        The study's UID; a new one when absent. ``""`` leaves the study and series
        UIDs empty, as they are in the source; only the SOP class and instance UIDs,
        without which nothing can be sent, are then taken from the file meta
        information.
    findings, impression : str
        Text of the report's sections.

    Returns
    -------
    PacsStudy
        20 CT slices, JPEG 2000 as in the source, and a Basic Text SR document.

    """
    folder.mkdir(parents=True, exist_ok=True)
    study_uid = generate_uid() if study_instance_uid is None else study_instance_uid
    series_uid = generate_uid() if study_uid else ""
    images: list[Path] = []
    for source in sorted((fetch_totalsegmentator() / "example_ct_dicom").iterdir()):
        ds = pydicom.dcmread(source)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
        if study_uid:
            # Another test may send the same slices: instances of its own, too.
            ds.SOPInstanceUID = generate_uid(entropy_srcs=[study_uid, source.name])
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.StudyInstanceUID = study_uid
            ds.SeriesInstanceUID = series_uid
            ds.PatientID = "TEST-1"
            ds.PatientName = "Test^Patient"
            ds.SeriesNumber = 1
        path = folder / f"ct-{len(images):02}.dcm"
        ds.save_as(path, enforce_file_format=True)
        images.append(path)
    report = write_report(
        folder / "report.dcm",
        like=images[0],
        findings=findings,
        impression=impression,
    )
    return PacsStudy(study_uid, series_uid, tuple(images), report)


def write_report(
    path: Path, *, like: Path, findings: str, impression: str = ""
) -> Path:
    """Write a Basic Text SR document (PS3.16 TID 2000) into the study of an image."""
    image = pydicom.dcmread(like, stop_before_pixels=True)
    now = datetime.now(UTC)
    ds = Dataset()
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
    ):
        setattr(ds, keyword, image.get(keyword, ""))
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = BasicTextSRStorage
    ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.SeriesNumber = 900
    ds.InstanceNumber = 1
    ds.Modality = "SR"
    ds.SeriesDescription = "Report"
    ds.Manufacturer = "Test hospital"
    ds.ReferencedPerformedProcedureStepSequence = DataSequence()
    ds.PerformedProcedureCodeSequence = DataSequence()
    ds.ContentDate, ds.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ValueType = "CONTAINER"
    ds.ContinuityOfContent = "SEPARATE"
    ds.ConceptNameCodeSequence = _coded("18748-4", "LN", "Diagnostic imaging report")
    ds.ContentSequence = DataSequence(
        _section(heading, item, text)
        for heading, item, text in (
            (("59776-5", "LN", "Findings"), ("121071", "DCM", "Finding"), findings),
            (
                ("19005-8", "LN", "Impressions"),
                ("121073", "DCM", "Impression"),
                impression,
            ),
        )
        if text
    )
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


def _section(heading: Sequence[str], item: Sequence[str], text: str) -> Dataset:
    section = Dataset()
    section.RelationshipType = "CONTAINS"
    section.ValueType = "CONTAINER"
    section.ContinuityOfContent = "SEPARATE"
    section.ConceptNameCodeSequence = _coded(*heading)
    content = Dataset()
    content.RelationshipType = "CONTAINS"
    content.ValueType = "TEXT"
    content.ConceptNameCodeSequence = _coded(*item)
    content.TextValue = text
    section.ContentSequence = DataSequence([content])
    return section


def _coded(value: str, scheme: str, meaning: str) -> DataSequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        value,
        scheme,
        meaning,
    )
    return DataSequence([code])
