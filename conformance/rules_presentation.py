"""Rules of softcopy presentation states, grayscale and colour (PS3.3 A.33)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from conformance.rules_common import Violation, items_of, missing

__all__ = [
    "PRESENTATION_CLASSES",
    "Drawing",
    "check_presentation",
    "drawings",
    "image_references",
]

_GRAYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"
_COLOUR = "1.2.840.10008.5.1.4.1.1.11.2"

PRESENTATION_CLASSES = frozenset({_GRAYSCALE, _COLOUR})
"""Grayscale and Color Softcopy Presentation State Storage."""

_TYPE_1 = (
    "ContentLabel",
    "PresentationCreationDate",
    "PresentationCreationTime",
    "ReferencedSeriesSequence",
    "DisplayedAreaSelectionSequence",
)
_TYPE_2 = ("ContentDescription", "ContentCreatorName")

_AREA = (
    "DisplayedAreaTopLeftHandCorner",
    "DisplayedAreaBottomRightHandCorner",
    "PresentationSizeMode",
)
_GRAPHIC = (
    "GraphicAnnotationUnits",
    "GraphicDimensions",
    "NumberOfGraphicPoints",
    "GraphicData",
    "GraphicType",
)
_RESCALE = ("RescaleIntercept", "RescaleSlope", "RescaleType")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A group of annotations: on which images, and the points drawn there."""

    where: str
    images: tuple[tuple[str, str, tuple[int, ...]], ...]
    """SOP Class UID, SOP Instance UID and frame numbers; none: not by frame."""
    points: tuple[tuple[float, float], ...]
    """(column, row) in PIXEL units, the top left corner of the image at (0, 0)."""


def check_presentation(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    """Yield the rules that a presentation state breaks; with `own`, our promises."""
    yield from missing(ds, _TYPE_1, "data set")
    for keyword in _TYPE_2:
        if keyword not in ds:
            yield Violation("type-2", "data set", f"{keyword} is absent")
    if ds.get("Modality") != "PR":
        yield Violation("modality", "Modality", "not PR")
    if ds.SOPClassUID == _GRAYSCALE:
        yield from _check_grayscale(ds)
    else:
        yield from missing(ds, ("ICCProfile",), "data set")
        if bytes(ds.get("ICCProfile") or b"")[12:16] != b"scnr":
            yield Violation("icc-profile", "ICCProfile", "not of an input device")
    for number, area in enumerate(items_of(ds, "DisplayedAreaSelectionSequence"), 1):
        where = f"DisplayedAreaSelectionSequence[{number}]"
        yield from missing(area, _AREA, where)
        proportions = ("PresentationPixelSpacing", "PresentationPixelAspectRatio")
        if sum(one in area for one in proportions) != 1:
            yield Violation("displayed-area", where, "needs spacing or aspect ratio")
    yield from _check_layers(ds)
    yield from _check_graphics(ds)
    if own:
        yield from _check_promises(ds)


def drawings(ds: Dataset) -> Iterator[Drawing]:
    """Yield the annotations of a presentation state."""
    for number, item in enumerate(items_of(ds, "GraphicAnnotationSequence"), start=1):
        points: list[tuple[float, float]] = []
        for graphic in items_of(item, "GraphicObjectSequence"):
            if graphic.get("GraphicAnnotationUnits") == "PIXEL":
                points += _pairs(graphic.get("GraphicData"))
        for text in items_of(item, "TextObjectSequence"):
            if text.get("AnchorPointAnnotationUnits") == "PIXEL":
                points += _pairs(text.get("AnchorPoint"))
        yield Drawing(
            f"GraphicAnnotationSequence[{number}]",
            tuple(image_references(items_of(item, "ReferencedImageSequence"))),
            tuple(points),
        )


def image_references(
    items: Sequence[Dataset],
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield SOP Class UID, SOP Instance UID and frame numbers of references."""
    for item in items:
        numbers = item.get("ReferencedFrameNumber") or ()
        if isinstance(numbers, int | str):
            numbers = (numbers,)
        yield (
            str(item.get("ReferencedSOPClassUID")),
            str(item.get("ReferencedSOPInstanceUID")),
            tuple(int(one) for one in numbers),
        )


def _pairs(values: object) -> list[tuple[float, float]]:
    data = [float(one) for one in values] if isinstance(values, Sequence) else []
    return list(zip(data[::2], data[1::2], strict=False))


def _check_grayscale(ds: Dataset) -> Iterator[Violation]:
    if ds.get("PresentationLUTShape") not in {"IDENTITY", "INVERSE"} and not items_of(
        ds, "PresentationLUTSequence"
    ):
        yield Violation("presentation-lut", "data set", "neither a shape nor a table")
    given = [keyword for keyword in _RESCALE if keyword in ds]
    if given and len(given) < len(_RESCALE):
        yield Violation("modality-lut", "data set", "an incomplete rescale")
    if given and "ModalityLUTSequence" in ds:
        yield Violation("modality-lut", "data set", "a rescale and a table")
    windows = items_of(ds, "SoftcopyVOILUTSequence")
    for number, item in enumerate(windows, start=1):
        where = f"SoftcopyVOILUTSequence[{number}]"
        if not items_of(item, "VOILUTSequence"):
            yield from missing(item, ("WindowCenter", "WindowWidth"), where)
        if len(windows) > 1 and not items_of(item, "ReferencedImageSequence"):
            yield Violation("softcopy-voi", where, "does not say for which images")


def _check_layers(ds: Dataset) -> Iterator[Violation]:
    layers = [item.get("GraphicLayer") for item in items_of(ds, "GraphicLayerSequence")]
    if len(set(layers)) != len(layers):
        yield Violation("graphic-layer", "GraphicLayerSequence", "a layer twice")
    for number, item in enumerate(items_of(ds, "GraphicLayerSequence"), start=1):
        where = f"GraphicLayerSequence[{number}]"
        yield from missing(item, ("GraphicLayer", "GraphicLayerOrder"), where)
    for number, item in enumerate(items_of(ds, "GraphicAnnotationSequence"), start=1):
        if item.get("GraphicLayer") not in layers:
            where = f"GraphicAnnotationSequence[{number}]"
            yield Violation("graphic-layer", where, "no such layer")


def _check_graphics(ds: Dataset) -> Iterator[Violation]:
    named = {
        uid
        for series in items_of(ds, "ReferencedSeriesSequence")
        for _, uid, _ in image_references(items_of(series, "ReferencedImageSequence"))
    }
    for number, item in enumerate(items_of(ds, "GraphicAnnotationSequence"), start=1):
        where = f"GraphicAnnotationSequence[{number}]"
        graphics = items_of(item, "GraphicObjectSequence")
        if not graphics and not items_of(item, "TextObjectSequence"):
            yield Violation("graphics", where, "neither graphics nor text")
        for _, uid, _ in image_references(items_of(item, "ReferencedImageSequence")):
            if uid not in named:
                yield Violation("graphics", where, "on an image it does not present")
        for one in graphics:
            yield from missing(one, _GRAPHIC, where)
            points = _pairs(one.get("GraphicData"))
            if len(points) != one.get("NumberOfGraphicPoints"):
                yield Violation("graphics", where, "another number of points")
        for one in items_of(item, "TextObjectSequence"):
            yield from missing(one, ("UnformattedTextValue",), where)
            if "AnchorPoint" not in one and "BoundingBoxTopLeftHandCorner" not in one:
                yield Violation("graphics", where, "text without a place")


def _check_promises(ds: Dataset) -> Iterator[Violation]:
    """Yield what a presentation state of this node promises and does not keep."""
    for number, item in enumerate(items_of(ds, "GraphicLayerSequence"), start=1):
        where = f"GraphicLayerSequence[{number}]"
        keywords = (
            "GraphicLayerDescription",
            "GraphicLayerRecommendedDisplayCIELabValue",
        )
        yield from missing(item, keywords, where)
    annotations = items_of(ds, "GraphicAnnotationSequence")
    if not annotations:
        yield Violation("outlines", "data set", "draws nothing")
    for number, item in enumerate(annotations, start=1):
        where = f"GraphicAnnotationSequence[{number}]"
        if not items_of(item, "GraphicObjectSequence"):
            yield Violation("outlines", where, "no outline")
        if not items_of(item, "TextObjectSequence"):
            yield Violation("outlines", where, "does not hold the phrase")
        for one in items_of(item, "GraphicObjectSequence"):
            if not one.get("TrackingUID") or not one.get("TrackingID"):
                yield Violation("tracking", where, "no tracking identifier or UID")
                break
