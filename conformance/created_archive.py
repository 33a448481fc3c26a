"""What the objects of profile ``pacs`` hold: tables of the statement."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.created_common import (
    PATIENT_AND_STUDY,
    SERIES_AND_EQUIPMENT,
    CreatedAttribute,
    generated,
    given,
    taken,
)

__all__ = ["CREATED_FOR_ARCHIVES"]

_CONTENT = ("ContentDate", "ContentTime")

_SUPERSEDED = generated(
    "RelatedSeriesSequence", "series of the same kind that this one supersedes", "ANAP"
)
_LATERALITY = CreatedAttribute(
    "Laterality", "EMPTY", "AUTO", "phrases may be of any side"
)

_PRESENTATION = (
    *PATIENT_AND_STUDY,
    *(row for row in SERIES_AND_EQUIPMENT if row.keyword not in _CONTENT),
    given("Modality", "PR"),
    _LATERALITY,
    _SUPERSEDED,
    given("ContentLabel", "REPORT_PHRASES"),
    given("ContentDescription", "Outlines of report phrases"),
    CreatedAttribute("ContentCreatorName", "EMPTY", "AUTO", "no person made it"),
    generated("PresentationCreationDate", "latest date in the source instances"),
    generated("PresentationCreationTime", "latest time in the source instances"),
    generated("ReferencedSeriesSequence", "images and frames with regions"),
    generated("DisplayedAreaSelectionSequence", "the whole image, in its proportions"),
    generated(
        "GraphicAnnotationSequence",
        "for each region and frame: outlines as polylines in PIXEL units, along the "
        "edges of pixels; the phrase, anchored to them; tracking identifier and UID",
    ),
    generated("GraphicLayerSequence", "one for each phrase, with its colour"),
)

_GRAYSCALE = (
    *_PRESENTATION,
    given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.11.1"),
    taken("RescaleIntercept", "ANAP"),
    taken("RescaleSlope", "ANAP"),
    CreatedAttribute(
        "RescaleType",
        "ANAP",
        "COPY",
        "HU for CT that names none, US (unspecified) for others",
    ),
    taken("ModalityLUTSequence", "ANAP"),
    CreatedAttribute(
        "SoftcopyVOILUTSequence",
        "ANAP",
        "COPY",
        "first window or table; level 40 and width 400 for CT without, the range of "
        "the pixels for others",
    ),
    generated("PresentationLUTShape", "IDENTITY; INVERSE for MONOCHROME1"),
)

_COLOUR = (
    *_PRESENTATION,
    given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.11.2"),
    generated("ICCProfile", "of sRGB, as an input device"),
    given("ColorSpace", "SRGB"),
)

_CAPTURE = (
    *PATIENT_AND_STUDY,
    *(row for row in SERIES_AND_EQUIPMENT if row.keyword != "InstanceNumber"),
    generated("InstanceNumber", "from 1: key frames, then pages of text"),
    given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"),
    given("Modality", "OT"),
    _LATERALITY,
    _SUPERSEDED,
    generated("ImageType", "DERIVED, SECONDARY"),
    given("ConversionType", "WSD"),
    given("SecondaryCaptureDeviceManufacturer", "DICOM Grounding Node project"),
    given("SecondaryCaptureDeviceManufacturerModelName", "dicom-grounding-node"),
    generated("SecondaryCaptureDeviceSoftwareVersions", "of the node"),
    generated("DateOfSecondaryCapture", "latest date in the source instances"),
    generated("TimeOfSecondaryCapture", "latest time in the source instances"),
    CreatedAttribute("PatientOrientation", "EMPTY", "AUTO", "sides are drawn in"),
    given("BurnedInAnnotation", "YES", "words of the report"),
    taken("LossyImageCompression", "ALWAYS"),
    taken("LossyImageCompressionRatio", "ANAP"),
    taken("LossyImageCompressionMethod", "ANAP"),
    generated("SourceImageSequence", "the frame that is shown", "ANAP"),
    generated("DerivationDescription", "how the picture was made", "ANAP"),
    generated("DerivationCodeSequence", "(113085, DCM, Spatial resampling)", "ANAP"),
    given("SamplesPerPixel", "3"),
    given("PhotometricInterpretation", "RGB"),
    given("PlanarConfiguration", "0"),
    generated("Rows", "512 to 1536, or as the legend needs"),
    generated("Columns", "512 to 1536, and the legend"),
    given("BitsAllocated", "8"),
    given("BitsStored", "8"),
    given("HighBit", "7"),
    given("PixelRepresentation", "0"),
    generated("PixelData", "uncompressed: frame, regions, legend, warning"),
)

_KEY_OBJECTS = (
    *PATIENT_AND_STUDY,
    *SERIES_AND_EQUIPMENT,
    given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.59"),
    given("Modality", "KO"),
    CreatedAttribute(
        "ReferencedRequestSequence", "ANAP", "COPY", "the requests of the source"
    ),
    CreatedAttribute("ReferencedPerformedProcedureStepSequence", "EMPTY", "AUTO", ""),
    generated(
        "CurrentRequestedProcedureEvidenceSequence",
        "what is selected, and the presentation states",
    ),
    given("ValueType", "CONTAINER"),
    given("ContinuityOfContent", "SEPARATE"),
    generated("ConceptNameCodeSequence", "(113000, DCM, Of Interest)"),
    generated("ContentTemplateSequence", "TID 2010, DCMR"),
    generated(
        "ContentSequence",
        "device observer, description with the phrases, key frames each with the "
        "presentation state that draws on it, pictures",
    ),
)

_PDF = (
    *PATIENT_AND_STUDY,
    *SERIES_AND_EQUIPMENT,
    given("SOPClassUID", "1.2.840.10008.5.1.4.1.1.104.1"),
    given("Modality", "DOC"),
    given("ConversionType", "WSD"),
    CreatedAttribute("AcquisitionDateTime", "EMPTY", "AUTO", ""),
    given("BurnedInAnnotation", "YES", "patient, and words of the report"),
    given("RecognizableVisualFeatures", "NO"),
    generated("DocumentTitle", 'begins with "AI - not for diagnostic use"'),
    generated("ConceptNameCodeSequence", "(126000, DCM, Imaging Measurement Report)"),
    given("VerificationFlag", "UNVERIFIED"),
    generated("SourceInstanceSequence", "every image that was looked at", "ANAP"),
    generated("PredecessorDocumentsSequence", "PDFs that it supersedes", "ANAP"),
    given("MIMETypeOfEncapsulatedDocument", "application/pdf"),
    generated("EncapsulatedDocument", "the summary"),
    generated("EncapsulatedDocumentLength", "without padding"),
)

CREATED_FOR_ARCHIVES: Mapping[str, tuple[CreatedAttribute, ...]] = {
    "1.2.840.10008.5.1.4.1.1.11.1": _GRAYSCALE,
    "1.2.840.10008.5.1.4.1.1.11.2": _COLOUR,
    "1.2.840.10008.5.1.4.1.1.7": _CAPTURE,
    "1.2.840.10008.5.1.4.1.1.88.59": _KEY_OBJECTS,
    "1.2.840.10008.5.1.4.1.1.104.1": _PDF,
}
"""SOP Class UID to the attributes of its instances."""
