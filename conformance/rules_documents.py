"""Rules of pictures, PDF documents and key objects.

Secondary Capture (PS3.3 A.8.1), Encapsulated PDF (A.45.1), Key Object Selection
Document (A.35.4, TID 2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset

from conformance.rules_common import Violation, items_of, missing
from conformance.rules_presentation import image_references

__all__ = [
    "ENCAPSULATED_PDF",
    "KEY_OBJECT_SELECTION",
    "SECONDARY_CAPTURE",
    "KeyObject",
    "check_capture",
    "check_key_objects",
    "check_pdf",
    "key_objects",
]

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"

_CAPTURE_TYPE_1 = (
    "ConversionType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
_PDF_TYPE_1 = (
    "ConversionType",
    "BurnedInAnnotation",
    "MIMETypeOfEncapsulatedDocument",
    "EncapsulatedDocument",
)
_PDF_TYPE_2 = ("AcquisitionDateTime", "DocumentTitle", "ConceptNameCodeSequence")
_KEY_TYPE_1 = (
    "CurrentRequestedProcedureEvidenceSequence",
    "ValueType",
    "ContinuityOfContent",
    "ConceptNameCodeSequence",
    "ContentTemplateSequence",
    "ContentSequence",
)


@dataclass(frozen=True, slots=True)
class KeyObject:
    """A selected object, and the presentation state that it names."""

    where: str
    value_type: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_numbers: tuple[int, ...]
    presentation_uid: str | None


def check_capture(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    """Yield the rules that a secondary capture breaks; with `own`, our promises."""
    yield from missing(ds, _CAPTURE_TYPE_1, "data set")
    if "PatientOrientation" not in ds:
        yield Violation("type-2c", "data set", "PatientOrientation is absent")
    samples, bits = ds.get("SamplesPerPixel", 0), ds.get("BitsAllocated", 0)
    expected = ds.get("Rows", 0) * ds.get("Columns", 0) * samples * (bits // 8)
    is_plain = not ds.file_meta.TransferSyntaxUID.is_encapsulated
    if is_plain and len(ds.get("PixelData") or b"") != expected + expected % 2:
        yield Violation("pixels", "PixelData", "another length than rows and columns")
    if samples == 3 and "PlanarConfiguration" not in ds:
        yield Violation("pixels", "PlanarConfiguration", "absent for colour")
    if ds.get("LossyImageCompression") == "01":
        keywords = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
        yield from missing(ds, keywords, "data set")
    if own:
        for keyword, value in (
            ("ConversionType", "WSD"),
            ("BurnedInAnnotation", "YES"),
            ("PhotometricInterpretation", "RGB"),
        ):
            if ds.get(keyword) != value:
                yield Violation("picture", keyword, f"not {value}")
        if list(ds.get("ImageType") or ()) != ["DERIVED", "SECONDARY"]:
            yield Violation("picture", "ImageType", "not DERIVED, SECONDARY")
        yield from missing(ds, ("LossyImageCompression",), "data set")


def check_pdf(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    """Yield the rules that an encapsulated PDF breaks; with `own`, our promises."""
    yield from missing(ds, _PDF_TYPE_1, "data set")
    for keyword in _PDF_TYPE_2:
        if keyword not in ds:
            yield Violation("type-2", "data set", f"{keyword} is absent")
    if ds.get("MIMETypeOfEncapsulatedDocument") != "application/pdf":
        yield Violation("pdf", "MIMETypeOfEncapsulatedDocument", "not application/pdf")
    data = bytes(ds.get("EncapsulatedDocument") or b"")
    length = int(ds.get("EncapsulatedDocumentLength") or len(data))
    if not data.startswith(b"%PDF-"):
        yield Violation("pdf", "EncapsulatedDocument", "does not begin as a PDF")
    if not length <= len(data) <= length + 1:
        yield Violation("pdf", "EncapsulatedDocumentLength", "is not the length")
    if b"%%EOF" not in data[max(0, length - 32) : length]:
        yield Violation("pdf", "EncapsulatedDocument", "does not end as a PDF")
    if own:
        title = str(ds.get("DocumentTitle") or "")
        if not title.startswith("AI - not for diagnostic"):
            yield Violation("warning", "DocumentTitle", "does not warn")
        for keyword, value in (
            ("BurnedInAnnotation", "YES"),
            ("VerificationFlag", "UNVERIFIED"),
            ("ConversionType", "WSD"),
        ):
            if ds.get(keyword) != value:
                yield Violation("pdf", keyword, f"not {value}")


def check_key_objects(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    """Yield the rules that a key object selection breaks; with `own`, our promises."""
    absent = list(missing(ds, _KEY_TYPE_1, "data set"))
    yield from absent
    if "ReferencedPerformedProcedureStepSequence" not in ds:
        keyword = "ReferencedPerformedProcedureStepSequence"
        yield Violation("type-2", "data set", f"{keyword} is absent")
    if ds.get("Modality") != "KO":
        yield Violation("modality", "Modality", "not KO")
    if absent:
        return
    template = ds.ContentTemplateSequence[0]
    if (template.get("MappingResource"), template.get("TemplateIdentifier")) != (
        "DCMR",
        "2010",
    ):
        yield Violation("template", "1", "not TID 2010")
    named = {
        sop.get("ReferencedSOPInstanceUID")
        for study in items_of(ds, "CurrentRequestedProcedureEvidenceSequence")
        for series in items_of(study, "ReferencedSeriesSequence")
        for sop in items_of(series, "ReferencedSOPSequence")
    }
    selected = list(key_objects(ds))
    if not selected:
        yield Violation("key-objects", "1", "selects nothing")
    for one in selected:
        if one.sop_instance_uid not in named or (
            one.presentation_uid is not None and one.presentation_uid not in named
        ):
            yield Violation("evidence", one.where, "refers to what is no evidence")
    if own and not any(
        item.get("ValueType") == "TEXT" and item.get("TextValue")
        for item in items_of(ds, "ContentSequence")
    ):
        yield Violation("key-objects", "1", "does not describe what it selects")


def key_objects(ds: Dataset) -> Iterator[KeyObject]:
    """Yield what a key object selection selects."""
    for number, item in enumerate(items_of(ds, "ContentSequence"), start=1):
        value_type = str(item.get("ValueType"))
        if value_type not in {"IMAGE", "COMPOSITE", "WAVEFORM"}:
            continue
        references = items_of(item, "ReferencedSOPSequence")
        for sop, (sop_class, uid, frames) in zip(
            references, image_references(references), strict=True
        ):
            states = items_of(sop, "ReferencedSOPSequence")
            yield KeyObject(
                where=f"1.{number}",
                value_type=value_type,
                sop_class_uid=sop_class,
                sop_instance_uid=uid,
                frame_numbers=frames,
                presentation_uid=next(
                    (str(one.get("ReferencedSOPInstanceUID")) for one in states), None
                ),
            )
