"""Each rule of the objects for archives, broken once on purpose, is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from conformance.validators import check_dataset, is_judged
from dicom_node.errors import InvalidObjectError
from dicom_node.records import ResultObject, StudyResult
from dicom_node.verify import verify_objects
from tests.builders.archive_objects import make_archive
from tests.builders.other_images import make_photograph
from tests.builders.result_cases import full_result, result_of

Change = Callable[[Dataset], None]
Where = Callable[[Dataset], Dataset]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return full_result(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def objects(
    result: StudyResult, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ResultObject, ...]:
    return make_archive(result, tmp_path_factory.mktemp("objects"))


def _set(keyword: str, value: object, where: Where = lambda ds: ds) -> Change:
    def change(ds: Dataset) -> None:
        tag = Tag(keyword)
        where(ds)[tag] = DataElement(
            tag, dictionary_VR(tag), value, validation_mode=config.IGNORE
        )

    return change


def _delete(keyword: str, where: Where = lambda ds: ds) -> Change:
    def change(ds: Dataset) -> None:
        del where(ds)[keyword]

    return change


def _item(*keywords: str) -> Where:
    """Go down the first items of sequences."""

    def where(ds: Dataset) -> Dataset:
        for keyword in keywords:
            ds = ds[keyword].value[0]
        return ds

    return where


def _first(value_type: str, *keywords: str) -> Where:
    def where(ds: Dataset) -> Dataset:
        found = [one for one in ds.ContentSequence if one.ValueType == value_type]
        return _item(*keywords)(found[0])

    return where


def _both(*changes: Change) -> Change:
    def change(ds: Dataset) -> None:
        for one in changes:
            one(ds)

    return change


ANNOTATION = _item("GraphicAnnotationSequence")
GRAPHIC = _item("GraphicAnnotationSequence", "GraphicObjectSequence")
TEXT = _item("GraphicAnnotationSequence", "TextObjectSequence")
DRAWN_ON = _item("GraphicAnnotationSequence", "ReferencedImageSequence")
PRESENTED = _item("ReferencedSeriesSequence", "ReferencedImageSequence")
AREA = _item("DisplayedAreaSelectionSequence")
LAYER = _item("GraphicLayerSequence")
WINDOW = _item("SoftcopyVOILUTSequence")
PICTURED = _item("SourceImageSequence")
SELECTED = _first("IMAGE", "ReferencedSOPSequence")
STATE = _first("IMAGE", "ReferencedSOPSequence", "ReferencedSOPSequence")


def _second_layer(ds: Dataset) -> None:
    ds.GraphicLayerSequence = [ds.GraphicLayerSequence[0]] * 2


def _leaving(ds: Dataset) -> None:
    graphic = GRAPHIC(ds)
    graphic.GraphicData = [*list(graphic.GraphicData)[:-1], 4000.0]


def _fewer_pixels(ds: Dataset) -> None:
    ds["PixelData"].value = ds.PixelData[:2]


def _no_objects(ds: Dataset) -> None:
    ds.ContentSequence = [one for one in ds.ContentSequence if one.ValueType != "IMAGE"]


def _no_words(ds: Dataset) -> None:
    ds.ContentSequence = [
        one
        for one in ds.ContentSequence
        if one.ValueType != "TEXT" or one.RelationshipType != "CONTAINS"
    ]
    for one in ds.ContentSequence:
        if one.ValueType == "TEXT":
            one.TextValue = ""


BROKEN: dict[str, tuple[str, str, Change]] = {
    "no warning": ("pr-1.dcm", "warning", _set("SeriesDescription", "outlines")),
    "no displayed area": (
        "pr-1.dcm",
        "type-1",
        _delete("DisplayedAreaSelectionSequence"),
    ),
    "no proportions": (
        "pr-1.dcm",
        "displayed-area",
        _delete("PresentationPixelSpacing", AREA),
    ),
    "no description": ("pr-1.dcm", "type-2", _delete("ContentDescription")),
    "another modality": ("pr-1.dcm", "modality", _set("Modality", "OT")),
    "no polarity": ("pr-1.dcm", "presentation-lut", _delete("PresentationLUTShape")),
    "half a rescale": ("pr-1.dcm", "modality-lut", _delete("RescaleSlope")),
    "half a window": ("pr-1.dcm", "type-1", _delete("WindowWidth", WINDOW)),
    "a layer twice": ("pr-1.dcm", "graphic-layer", _second_layer),
    "no such layer": (
        "pr-1.dcm",
        "graphic-layer",
        _set("GraphicLayer", "OTHER", ANNOTATION),
    ),
    "a layer without colour": (
        "pr-1.dcm",
        "type-1",
        _delete("GraphicLayerRecommendedDisplayCIELabValue", LAYER),
    ),
    "another number of points": (
        "pr-1.dcm",
        "graphics",
        _set("NumberOfGraphicPoints", 3, GRAPHIC),
    ),
    "text nowhere": ("pr-1.dcm", "graphics", _delete("AnchorPoint", TEXT)),
    "no phrase": ("pr-1.dcm", "outlines", _delete("TextObjectSequence", ANNOTATION)),
    "no outline": (
        "pr-1.dcm",
        "outlines",
        _delete("GraphicObjectSequence", ANNOTATION),
    ),
    "no tracking": ("pr-1.dcm", "tracking", _delete("TrackingUID", GRAPHIC)),
    "on an image that is not presented": (
        "pr-1.dcm",
        "graphics",
        _set("ReferencedSOPInstanceUID", "2.25.5", DRAWN_ON),
    ),
    "on no source": (
        "pr-2.dcm",
        "source-exists",
        _both(
            _set("ReferencedSOPInstanceUID", "2.25.5", DRAWN_ON),
            _set("ReferencedSOPInstanceUID", "2.25.5", PRESENTED),
        ),
    ),
    "of another class": (
        "pr-1.dcm",
        "source-class",
        _set("ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.4", DRAWN_ON),
    ),
    "of another series": (
        "pr-1.dcm",
        "source-series",
        _set("SeriesInstanceUID", "2.25.5", _item("ReferencedSeriesSequence")),
    ),
    "on a frame that is none": (
        "pr-1.dcm",
        "source-frame",
        _set("ReferencedFrameNumber", 9, DRAWN_ON),
    ),
    "beyond the image": ("pr-1.dcm", "outline-inside", _leaving),
    "fewer pixels": (
        "sc-1.dcm",
        "pixels",
        _fewer_pixels,
    ),
    "no conversion type": ("sc-1.dcm", "type-1", _delete("ConversionType")),
    "no orientation": ("sc-1.dcm", "type-2c", _delete("PatientOrientation")),
    "nothing burned in": ("sc-1.dcm", "picture", _set("BurnedInAnnotation", "NO")),
    "an original picture": (
        "sc-1.dcm",
        "picture",
        _set("ImageType", ["ORIGINAL", "PRIMARY"]),
    ),
    "no planar configuration": ("sc-1.dcm", "pixels", _delete("PlanarConfiguration")),
    "lossy by no method": ("sc-1.dcm", "type-1", _set("LossyImageCompression", "01")),
    "of no source": (
        "sc-1.dcm",
        "source-exists",
        _set("ReferencedSOPInstanceUID", "2.25.5", PICTURED),
    ),
    "selected of no source": (
        "ko.dcm",
        "evidence",
        _set("ReferencedSOPInstanceUID", "2.25.5", SELECTED),
    ),
    "shown by no state": (
        "ko.dcm",
        "evidence",
        _set("ReferencedSOPInstanceUID", "2.25.5", STATE),
    ),
    "no evidence": (
        "ko.dcm",
        "type-1",
        _delete("CurrentRequestedProcedureEvidenceSequence"),
    ),
    "another template": (
        "ko.dcm",
        "template",
        _set("TemplateIdentifier", "1500", _item("ContentTemplateSequence")),
    ),
    "nothing selected": ("ko.dcm", "key-objects", _no_objects),
    "not described": ("ko.dcm", "key-objects", _no_words),
    "a key object of another class": (
        "ko.dcm",
        "source-class",
        _set("ReferencedSOPClassUID", "1.2.840.10008.5.1.4.1.1.4", SELECTED),
    ),
    "no document": ("pdf.dcm", "type-1", _delete("EncapsulatedDocument")),
    "no title": ("pdf.dcm", "type-2", _delete("DocumentTitle")),
    "a title that does not warn": ("pdf.dcm", "warning", _set("DocumentTitle", "x")),
    "not a PDF": ("pdf.dcm", "pdf", _set("EncapsulatedDocument", b"hello!")),
    "half a PDF": ("pdf.dcm", "pdf", _set("EncapsulatedDocumentLength", 100)),
    "verified": ("pdf.dcm", "pdf", _set("VerificationFlag", "VERIFIED")),
    "another MIME type": (
        "pdf.dcm",
        "pdf",
        _set("MIMETypeOfEncapsulatedDocument", "text/xml"),
    ),
    "made of no source": (
        "pdf.dcm",
        "source-exists",
        _set("ReferencedSOPInstanceUID", "2.25.5", _item("SourceInstanceSequence")),
    ),
    "no equipment": (
        "pdf.dcm",
        "equipment",
        _delete("ContributingEquipmentSequence"),
    ),
}


def _broken(
    objects: tuple[ResultObject, ...], name: str, change: Change, folder: Path
) -> tuple[ResultObject, ...]:
    changed = []
    for one in objects:
        if one.path.name == name:
            ds = dcmread(one.path)
            change(ds)
            path = folder / name
            ds.save_as(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            one = replace(one, path=path, sha256=digest)
        changed.append(one)
    return tuple(changed)


@pytest.mark.parametrize(("name", "rule", "change"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_of_an_archive_object_is_named(
    name: str,
    rule: str,
    change: Change,
    objects: tuple[ResultObject, ...],
    result: StudyResult,
    tmp_path: Path,
) -> None:
    broken = _broken(objects, name, change, tmp_path)

    with pytest.raises(InvalidObjectError) as caught:
        verify_objects(broken, result.series)

    rules = {one.rule for one in caught.value.violations}  # type: ignore[attr-defined]
    assert rule in rules


def test_a_colour_state_needs_an_input_profile(tmp_path: Path) -> None:
    result = result_of("photograph", tmp_path / "source", ("left kidney",))
    objects = make_archive(result, tmp_path / "out")
    changed = _broken(objects, "pr-1.dcm", _set("ICCProfile", b"mntr" * 8), tmp_path)

    with pytest.raises(InvalidObjectError, match="icc-profile"):
        verify_objects(changed, result.series)


@pytest.mark.parametrize(
    ("rule", "left_out"),
    [("one-report", "pdf.dcm"), ("presentation-exists", "pr-2.dcm")],
)
def test_a_missing_object_is_named(
    rule: str, left_out: str, objects: tuple[ResultObject, ...], result: StudyResult
) -> None:
    rest = [one for one in objects if one.path.name != left_out]

    with pytest.raises(InvalidObjectError, match=rule):
        verify_objects(rest, result.series)


def test_every_kind_is_judged(
    objects: tuple[ResultObject, ...], tmp_path: Path
) -> None:
    assert all(is_judged(one.path) for one in objects)
    assert not is_judged(make_photograph(tmp_path).path)


def test_a_picture_of_another_maker_keeps_the_standard_only(
    objects: tuple[ResultObject, ...],
) -> None:
    picture = next(one for one in objects if one.path.name == "sc-1.dcm")
    ds = dcmread(picture.path)
    ds.file_meta.ImplementationClassUID = "1.2.3"
    for keyword in (
        "Manufacturer",
        "DeviceSerialNumber",
        "ContentDate",
        "SeriesNumber",
    ):
        del ds[keyword]
    ds.SeriesDescription, ds.BurnedInAnnotation = "Screenshot", "NO"

    assert check_dataset(ds) == []
