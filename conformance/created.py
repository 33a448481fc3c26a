"""What the objects that the node creates hold: the tables of the statement.

PS3.2 Annex N asks for the attributes of created SOP instances. A test compares these
tables with objects that the node makes: no attribute is missing from them.
"""

from __future__ import annotations

from collections.abc import Mapping

from conformance.created_archive import CREATED_FOR_ARCHIVES
from conformance.created_common import (
    PATIENT_AND_STUDY,
    SERIES_AND_EQUIPMENT,
    CreatedAttribute,
    generated,
    given,
    taken,
)

__all__ = ["CREATED"]

_SEGMENTATION = (
    *PATIENT_AND_STUDY,
    *SERIES_AND_EQUIPMENT,
    given("Modality", "SEG"),
    generated(
        "RelatedSeriesSequence", "segmentations that this one supersedes", "ANAP"
    ),
    CreatedAttribute(
        "FrameOfReferenceUID", "ANAP", "COPY", "absent where the source has none"
    ),
    CreatedAttribute(
        "PositionReferenceIndicator",
        "ANAP",
        "AUTO",
        "empty; absent where the source has no frame of reference",
    ),
    generated("ImageType", "DERIVED, PRIMARY"),
    CreatedAttribute(
        "PatientOrientation", "ANAP", "AUTO", "empty, for sources without a position"
    ),
    generated("SegmentationType", "BINARY, FRACTIONAL or LABELMAP"),
    CreatedAttribute(
        "SegmentationFractionalType", "ANAP", "FIXED", "FRACTIONAL only", "PROBABILITY"
    ),
    CreatedAttribute(
        "MaximumFractionalValue", "ANAP", "FIXED", "FRACTIONAL only", "255"
    ),
    generated("SegmentsOverlap", "YES or NO"),
    given("ContentLabel", "REPORT_PHRASES"),
    generated(
        "ContentDescription", "Regions of report phrases; says so if a person drew them"
    ),
    generated(
        "ContentCreatorName", "empty, or the one person who drew all of it", "VNAP"
    ),
    generated(
        "SegmentSequence",
        "label and description (the phrase), codes, site, side, algorithm, colour, "
        "tracking identifier and UID",
    ),
    given("SamplesPerPixel", "1"),
    given("PhotometricInterpretation", "MONOCHROME2"),
    given("PixelRepresentation", "0"),
    generated("BitsAllocated", "1 for BINARY, 8 for FRACTIONAL, 8 or 16 for LABELMAP"),
    generated("BitsStored", "as Bits Allocated"),
    generated("HighBit", "Bits Stored - 1"),
    CreatedAttribute("PixelPaddingValue", "ANAP", "FIXED", "LABELMAP only", "0"),
    taken("Rows", "ALWAYS"),
    taken("Columns", "ALWAYS"),
    generated("NumberOfFrames", "frames with at least one pixel"),
    taken("LossyImageCompression", "ALWAYS"),
    taken("LossyImageCompressionRatio", "ANAP"),
    taken("LossyImageCompressionMethod", "ANAP"),
    given("PresentationLUTShape", "IDENTITY"),
    generated("ReferencedSeriesSequence", "every image of the source series"),
    generated("SharedFunctionalGroupsSequence", "pixel measures, plane orientation"),
    generated(
        "PerFrameFunctionalGroupsSequence",
        "segment, plane position, source image and frame",
    ),
    generated("DimensionOrganizationSequence", "one organization"),
    generated("DimensionIndexSequence", "segment (BINARY, FRACTIONAL), then position"),
    generated(
        "PixelData",
        "the regions, in the grid of the source; of FRACTIONAL, what the model gives "
        "each pixel",
    ),
)

_REPORT = (
    *PATIENT_AND_STUDY,
    *SERIES_AND_EQUIPMENT,
    given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.34"),
    given("Modality", "SR"),
    given("CompletionFlag", "COMPLETE"),
    generated(
        "VerificationFlag",
        "UNVERIFIED; VERIFIED in a corrected report that its author takes "
        "responsibility for",
    ),
    generated("PreliminaryFlag", "PRELIMINARY; FINAL where verified"),
    generated(
        "VerifyingObserverSequence",
        "name, organization and time, no identification code; only where verified",
        "ANAP",
    ),
    CreatedAttribute(
        "ReferencedRequestSequence", "ANAP", "COPY", "the requests of the source"
    ),
    generated("PerformedProcedureCodeSequence", "as in the source images", "VNAP"),
    CreatedAttribute("ReferencedPerformedProcedureStepSequence", "EMPTY", "AUTO", ""),
    generated(
        "CurrentRequestedProcedureEvidenceSequence",
        "images, segmentations and report documents",
        "ANAP",
    ),
    generated(
        "PredecessorDocumentsSequence",
        "reports that it supersedes; of a corrected report, the one corrected",
        "ANAP",
    ),
    given("ValueType", "CONTAINER"),
    given("ContinuityOfContent", "SEPARATE"),
    generated("ConceptNameCodeSequence", "(126000, DCM, Imaging Measurement Report)"),
    generated("ContentTemplateSequence", "TID 1500, DCMR"),
    generated(
        "ContentSequence",
        "language, device observer, procedure, image library, a group for each link of "
        "a region (its segment, its boxes), what became of every phrase and "
        "of every series left out",
    ),
)

CREATED: Mapping[str, tuple[CreatedAttribute, ...]] = {
    "1.2.840.10008.5.1.4.1.1.66.4": (
        *_SEGMENTATION,
        given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4"),
    ),
    "1.2.840.10008.5.1.4.1.1.66.7": (
        *_SEGMENTATION,
        given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.7"),
    ),
    "1.2.840.10008.5.1.4.1.1.88.34": _REPORT,
    **CREATED_FOR_ARCHIVES,
}
"""SOP Class UID to the attributes of its instances."""
