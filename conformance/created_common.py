"""What every object that the node creates holds: rows of the statement's tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "PATIENT_AND_STUDY",
    "SERIES_AND_EQUIPMENT",
    "CreatedAttribute",
    "Presence",
    "Source",
    "generated",
    "given",
    "taken",
]

Presence = Literal["ALWAYS", "EMPTY", "ANAP", "VNAP"]
"""ALWAYS present with a value; EMPTY: always present and empty; ANAP: attribute not
always present; VNAP: value not always present (zero length where unknown)."""

Source = Literal["AUTO", "COPY", "FIXED"]
"""AUTO: generated; COPY: taken from the source images; FIXED: the given value."""


@dataclass(frozen=True, slots=True)
class CreatedAttribute:
    """One attribute of a created instance."""

    keyword: str
    presence: Presence
    source: Source
    comment: str
    value: str | None = None
    """The value where it is fixed."""


def generated(
    keyword: str, comment: str, presence: Presence = "ALWAYS"
) -> CreatedAttribute:
    """Describe an attribute that the node makes up."""
    return CreatedAttribute(keyword, presence, "AUTO", comment)


def given(keyword: str, value: str, comment: str = "") -> CreatedAttribute:
    """Describe an attribute that always has one value."""
    return CreatedAttribute(keyword, "ALWAYS", "FIXED", comment, value)


def taken(keyword: str, presence: Presence) -> CreatedAttribute:
    """Describe an attribute that the source images have."""
    return CreatedAttribute(keyword, presence, "COPY", "as in the source images")


PATIENT_AND_STUDY: tuple[CreatedAttribute, ...] = (
    CreatedAttribute(
        "SpecificCharacterSet",
        "ANAP",
        "COPY",
        "as in the source images; ISO_IR 192 where it cannot hold the text",
    ),
    *(
        taken(keyword, "VNAP")
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "ReferringPhysicianName",
            "StudyID",
            "AccessionNumber",
        )
    ),
    CreatedAttribute(
        "StudyInstanceUID",
        "ALWAYS",
        "COPY",
        "as in the source images; derived from the study where it is empty",
    ),
    *(
        taken(keyword, "ANAP")
        for keyword in (
            "IssuerOfPatientID",
            "IssuerOfPatientIDQualifiersSequence",
            "OtherPatientIDsSequence",
            "PatientBirthTime",
            "EthnicGroup",
            "PatientComments",
            "PatientIdentityRemoved",
            "DeidentificationMethodCodeSequence",
            "ClinicalTrialSponsorName",
            "ClinicalTrialProtocolID",
            "ClinicalTrialProtocolName",
            "ClinicalTrialSiteID",
            "ClinicalTrialSiteName",
            "ClinicalTrialSubjectID",
            "ClinicalTrialSubjectReadingID",
            "StudyDescription",
            "IssuerOfAccessionNumberSequence",
            "PhysiciansOfRecord",
            "NameOfPhysiciansReadingStudy",
            "ProcedureCodeSequence",
            "PatientAge",
            "PatientSize",
            "PatientWeight",
            "TimezoneOffsetFromUTC",
        )
    ),
    CreatedAttribute(
        "DeidentificationMethod",
        "ANAP",
        "COPY",
        '"Not stated by the source" where the identity was removed by no named method',
    ),
)

SERIES_AND_EQUIPMENT: tuple[CreatedAttribute, ...] = (
    generated("SeriesInstanceUID", "derived from study, version, model, configuration"),
    generated(
        "SeriesNumber",
        "9000 for the report or PDF, then one for each; from 9500 on if corrected",
    ),
    generated("SeriesDescription", 'begins with "AI - not for diagnostic use"'),
    generated(
        "SeriesDate", "latest date in the source instances; of the last correction"
    ),
    generated(
        "SeriesTime", "latest time in the source instances; of the last correction"
    ),
    generated(
        "ContentDate", "latest date in the source instances; of the last correction"
    ),
    generated(
        "ContentTime", "latest time in the source instances; of the last correction"
    ),
    generated(
        "InstanceCreationDate",
        "latest date in the source instances; of the last correction",
    ),
    generated(
        "InstanceCreationTime",
        "latest time in the source instances; of the last correction",
    ),
    given("InstanceNumber", "1"),
    given("Manufacturer", "DICOM Grounding Node project"),
    given("ManufacturerModelName", "dicom-grounding-node"),
    generated("DeviceSerialNumber", "first 16 digits of the model's SHA-256"),
    generated("SoftwareVersions", "of the node, then of the model"),
    generated(
        "ContributingEquipmentSequence",
        "node and model, (109102, DCM, Processing Equipment), each with a Device UID "
        "that changes with the model",
    ),
    generated("SOPInstanceUID", "derived from study, version, model, configuration"),
    generated("CodingSchemeIdentificationSequence", "private coding schemes", "ANAP"),
)
