"""What the objects that the node creates hold: the tables of the statement.

PS3.2 Annex N asks for the attributes of created SOP instances. A test compares these
tables with objects that the node makes: no attribute is missing from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["CREATED", "CreatedAttribute", "Presence", "Source"]

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


def _auto(
    keyword: str, comment: str, presence: Presence = "ALWAYS"
) -> CreatedAttribute:
    return CreatedAttribute(keyword, presence, "AUTO", comment)


def _fixed(keyword: str, value: str, comment: str = "") -> CreatedAttribute:
    return CreatedAttribute(keyword, "ALWAYS", "FIXED", comment, value)


def _copy(keyword: str, presence: Presence) -> CreatedAttribute:
    return CreatedAttribute(keyword, presence, "COPY", "as in the source images")


_PATIENT_AND_STUDY = (
    CreatedAttribute(
        "SpecificCharacterSet",
        "ANAP",
        "COPY",
        "as in the source images; ISO_IR 192 where it cannot hold the text",
    ),
    *(
        _copy(keyword, "VNAP")
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
        _copy(keyword, "ANAP")
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

_SERIES_AND_EQUIPMENT = (
    _auto("SeriesInstanceUID", "derived from study, version, model, configuration"),
    _auto("SeriesNumber", "9000 for the report, then one for each segmentation"),
    _auto("SeriesDescription", 'begins with "AI - not for diagnostic use"'),
    _auto("SeriesDate", "latest date in the source instances"),
    _auto("SeriesTime", "latest time in the source instances"),
    _auto("ContentDate", "latest date in the source instances"),
    _auto("ContentTime", "latest time in the source instances"),
    _auto("InstanceCreationDate", "latest date in the source instances"),
    _auto("InstanceCreationTime", "latest time in the source instances"),
    _fixed("InstanceNumber", "1"),
    _fixed("Manufacturer", "DICOM Grounding Node project"),
    _fixed("ManufacturerModelName", "dicom-grounding-node"),
    _auto("DeviceSerialNumber", "first 16 digits of the model's SHA-256"),
    _auto("SoftwareVersions", "of the node, then of the model"),
    _auto(
        "ContributingEquipmentSequence",
        "node and model, (109102, DCM, Processing Equipment), each with a Device UID "
        "that changes with the model",
    ),
    _auto("SOPInstanceUID", "derived from study, version, model, configuration"),
    _auto("CodingSchemeIdentificationSequence", "private coding schemes", "ANAP"),
)

_SEGMENTATION = (
    *_PATIENT_AND_STUDY,
    *_SERIES_AND_EQUIPMENT,
    _fixed("Modality", "SEG"),
    _auto("RelatedSeriesSequence", "segmentations that this one supersedes", "ANAP"),
    CreatedAttribute(
        "FrameOfReferenceUID", "ANAP", "COPY", "absent where the source has none"
    ),
    CreatedAttribute(
        "PositionReferenceIndicator",
        "ANAP",
        "AUTO",
        "empty; absent where the source has no frame of reference",
    ),
    _auto("ImageType", "DERIVED, PRIMARY"),
    CreatedAttribute(
        "PatientOrientation", "ANAP", "AUTO", "empty, for sources without a position"
    ),
    _auto("SegmentationType", "BINARY or LABELMAP"),
    _auto("SegmentsOverlap", "YES or NO"),
    _fixed("ContentLabel", "REPORT_PHRASES"),
    _fixed("ContentDescription", "Regions of report phrases"),
    CreatedAttribute("ContentCreatorName", "EMPTY", "AUTO", "no person made it"),
    _auto(
        "SegmentSequence",
        "label and description (the phrase), codes, site, side, algorithm, colour, "
        "tracking identifier and UID",
    ),
    _fixed("SamplesPerPixel", "1"),
    _fixed("PhotometricInterpretation", "MONOCHROME2"),
    _fixed("PixelRepresentation", "0"),
    _auto("BitsAllocated", "1 for BINARY, 8 or 16 for LABELMAP"),
    _auto("BitsStored", "as Bits Allocated"),
    _auto("HighBit", "Bits Stored - 1"),
    CreatedAttribute("PixelPaddingValue", "ANAP", "FIXED", "LABELMAP only", "0"),
    _copy("Rows", "ALWAYS"),
    _copy("Columns", "ALWAYS"),
    _auto("NumberOfFrames", "frames with at least one pixel"),
    _copy("LossyImageCompression", "ALWAYS"),
    _copy("LossyImageCompressionRatio", "ANAP"),
    _copy("LossyImageCompressionMethod", "ANAP"),
    _fixed("PresentationLUTShape", "IDENTITY"),
    _auto("ReferencedSeriesSequence", "every image of the source series"),
    _auto("SharedFunctionalGroupsSequence", "pixel measures, plane orientation"),
    _auto(
        "PerFrameFunctionalGroupsSequence",
        "segment, plane position, source image and frame",
    ),
    _auto("DimensionOrganizationSequence", "one organization"),
    _auto("DimensionIndexSequence", "segment (BINARY), then position"),
    _auto("PixelData", "the regions, in the grid of the source"),
)

_REPORT = (
    *_PATIENT_AND_STUDY,
    *_SERIES_AND_EQUIPMENT,
    _fixed("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.34"),
    _fixed("Modality", "SR"),
    _fixed("CompletionFlag", "COMPLETE"),
    _fixed("VerificationFlag", "UNVERIFIED"),
    _fixed("PreliminaryFlag", "PRELIMINARY"),
    CreatedAttribute(
        "ReferencedRequestSequence", "ANAP", "COPY", "the requests of the source"
    ),
    _auto("PerformedProcedureCodeSequence", "as in the source images", "VNAP"),
    CreatedAttribute("ReferencedPerformedProcedureStepSequence", "EMPTY", "AUTO", ""),
    _auto(
        "CurrentRequestedProcedureEvidenceSequence",
        "images, segmentations and report documents",
        "ANAP",
    ),
    _auto("PredecessorDocumentsSequence", "reports that it supersedes", "ANAP"),
    _fixed("ValueType", "CONTAINER"),
    _fixed("ContinuityOfContent", "SEPARATE"),
    _auto("ConceptNameCodeSequence", "(126000, DCM, Imaging Measurement Report)"),
    _auto("ContentTemplateSequence", "TID 1500, DCMR"),
    _auto(
        "ContentSequence",
        "language, device observer, procedure, image library, two groups for each "
        "region, what became of every phrase and of every series left out",
    ),
)

CREATED: Mapping[str, tuple[CreatedAttribute, ...]] = {
    "1.2.840.10008.5.1.4.1.1.66.4": (
        *_SEGMENTATION,
        _fixed("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4"),
    ),
    "1.2.840.10008.5.1.4.1.1.66.7": (
        *_SEGMENTATION,
        _fixed("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.7"),
    ),
    "1.2.840.10008.5.1.4.1.1.88.34": _REPORT,
}
"""SOP Class UID to the attributes of its instances."""
