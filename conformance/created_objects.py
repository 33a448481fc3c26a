"""What is in the objects that the node makes: the tables of the statement's Annex A.

Attributes of the patient, the study and, where it applies, the frame of reference are
those of the source; they are listed once.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COPIED_ATTRIBUTES", "CREATED_OBJECTS", "AttributeRow", "CreatedObject"]


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """An attribute, by its DICOM keyword, and where its value comes from."""

    keyword: str
    value: str
    presence: str = "ALWAYS"
    """PS3.2 N: ALWAYS, VNAP (always, the value not always), ANAP (not always)."""


@dataclass(frozen=True, slots=True)
class CreatedObject:
    """An IOD that the node makes, and what is its own in it."""

    name: str
    sop_class_uids: tuple[str, ...]
    summary: str
    attributes: tuple[AttributeRow, ...]


COPIED_ATTRIBUTES: tuple[AttributeRow, ...] = (
    AttributeRow("PatientName", "source", "VNAP"),
    AttributeRow("PatientID", "source", "VNAP"),
    AttributeRow("PatientBirthDate", "source", "VNAP"),
    AttributeRow("PatientSex", "source", "VNAP"),
    AttributeRow("StudyInstanceUID", "source; derived where the source has none"),
    AttributeRow("StudyDate", "source", "VNAP"),
    AttributeRow("StudyTime", "source", "VNAP"),
    AttributeRow("StudyID", "source", "VNAP"),
    AttributeRow("AccessionNumber", "source", "VNAP"),
    AttributeRow("ReferringPhysicianName", "source", "VNAP"),
    AttributeRow("StudyDescription", "source", "ANAP"),
)
"""Patient and General Study: as in the source instances."""

_EQUIPMENT: tuple[AttributeRow, ...] = (
    AttributeRow("Manufacturer", "`DICOM Grounding Node project`"),
    AttributeRow("ManufacturerModelName", "`dicom-grounding-node`"),
    AttributeRow("DeviceSerialNumber", "first 16 digits of the model's SHA-256"),
    AttributeRow("SoftwareVersions", "node, model"),
    AttributeRow(
        "ContributingEquipmentSequence",
        'this node, purpose (109102, DCM, "Processing Equipment"), with a Device UID '
        "that changes with the model",
    ),
    AttributeRow("ContentDate", "latest date of the source instances"),
    AttributeRow("ContentTime", "latest time of the source instances"),
    AttributeRow("SeriesDescription", "begins with `AI - not for diagnostic use`"),
    AttributeRow("SeriesInstanceUID", "derived from study, model and configuration"),
    AttributeRow("SOPInstanceUID", "derived from study, model and configuration"),
    AttributeRow(
        "SpecificCharacterSet", "the source's where it serves, else ISO_IR 192", "ANAP"
    ),
)

CREATED_OBJECTS: tuple[CreatedObject, ...] = (
    CreatedObject(
        name="Segmentation",
        sop_class_uids=(
            "1.2.840.10008.5.1.4.1.1.66.4",
            "1.2.840.10008.5.1.4.1.1.66.7",
        ),
        summary="One instance for each source series in which something was found, "
        "in the grid of that series. Encoding BINARY, or LABELMAP by profile.",
        attributes=(
            AttributeRow("Modality", "SEG"),
            *_EQUIPMENT,
            AttributeRow("SeriesNumber", "9001 and up"),
            AttributeRow("ContentLabel", "REPORT_PHRASES"),
            AttributeRow("ContentDescription", "Regions of report phrases"),
            AttributeRow("SegmentationType", "BINARY or LABELMAP"),
            AttributeRow(
                "SegmentSequence",
                "one item for each region: label, algorithm AUTOMATIC with its "
                "identification, coded category and type, laterality, anatomic region, "
                "CIELab colour, Tracking ID and Tracking UID",
            ),
            AttributeRow("SegmentsOverlap", "YES or NO, as it is"),
            AttributeRow("ReferencedSeriesSequence", "the source series"),
            AttributeRow("FrameOfReferenceUID", "source", "ANAP"),
            AttributeRow("DimensionOrganizationSequence", "derived UID"),
            AttributeRow("DimensionIndexSequence", "segment, then position"),
            AttributeRow(
                "SharedFunctionalGroupsSequence", "plane orientation, pixel measures"
            ),
            AttributeRow(
                "PerFrameFunctionalGroupsSequence",
                "derivation image (the source frame), frame content, plane position, "
                "segment identification",
            ),
            AttributeRow("LossyImageCompression", "that of the source"),
        ),
    ),
    CreatedObject(
        name="Comprehensive 3D SR",
        sop_class_uids=("1.2.840.10008.5.1.4.1.1.88.34",),
        summary="One instance for each version of a study: TID 1500 Measurement "
        "Report, with one group for each phrase that refers to its segment and one "
        "that carries image coordinates, both with the tracking UID of the segment.",
        attributes=(
            AttributeRow("Modality", "SR"),
            *_EQUIPMENT,
            AttributeRow("SeriesNumber", "9000"),
            AttributeRow("CompletionFlag", "COMPLETE"),
            AttributeRow("VerificationFlag", "UNVERIFIED; the node never verifies"),
            AttributeRow("PreliminaryFlag", "PRELIMINARY"),
            AttributeRow("ContentTemplateSequence", "TID 1500, DCMR"),
            AttributeRow(
                "CurrentRequestedProcedureEvidenceSequence",
                "source images and segmentations",
            ),
            AttributeRow(
                "PredecessorDocumentsSequence",
                "documents that this version supersedes",
                "ANAP",
            ),
            AttributeRow(
                "ContentSequence",
                "each phrase verbatim as TEXT (121106, DCM), its coded finding, site "
                "and status, score and uncertainty as NUM with their meaning, and what "
                "was not processed with its reason",
            ),
            AttributeRow("CodingSchemeIdentificationSequence", "99MEDGLIP", "ANAP"),
        ),
    ),
)
"""The SOP instances that the node creates."""
