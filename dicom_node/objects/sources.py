"""The source instances as results need them: headers and frame geometry.

Headers are read without pixels and never changed on disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import format_number_as_ds

from conformance.rules_common import items_of
from dicom_node.charsets import is_mislabelled_utf8
from dicom_node.errors import ObjectError
from dicom_node.quiet import quiet

if TYPE_CHECKING:
    from dicom_node.records import FrameReference, ImageSeries, StudyResult

__all__ = [
    "UNREADABLE",
    "FrameGeometry",
    "SourceHeaders",
    "decimal_string",
    "frame_geometry",
    "number_of",
    "study_header",
]

_GEOMETRY_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PatientOrientation",
    "SliceThickness",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    LookupError,
)
"""What pydicom raises for values that it cannot convert."""

_UTF_8 = "ISO_IR 192"

_IDENTIFYING = frozenset(
    map(
        tag_for_keyword,
        ("PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber"),
    )
)
"""What archives compare."""

_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""What Specific Character Set applies to (PS3.5 6.1.2.3)."""


class SourceHeaders:
    """Headers of source instances, read once each."""

    def __init__(self) -> None:
        self._geometry: dict[Path, Dataset] = {}

    def geometry(self, path: Path) -> Dataset:
        """Return the elements of an instance that say where its frames are.

        Raises
        ------
        ObjectError
            The file cannot be read.

        """
        if path not in self._geometry:
            self._geometry[path] = read_header(path, _GEOMETRY_KEYWORDS)
        return self._geometry[path]


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """Where a frame is: decimal strings as the source writes them.

    ``position`` is Image Position (Patient), ``orientation`` Image Orientation
    (Patient). A frame without either has no geometry.
    """

    position: tuple[str, ...]
    orientation: tuple[str, ...]


def read_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Read an instance without its pixels; all elements or only some.

    Text that is UTF-8 and whose label says otherwise gets the label that is true.

    Raises
    ------
    ObjectError
        The file cannot be read.

    """
    tags = None if keywords is None else [tag_for_keyword(word) for word in keywords]
    try:
        with quiet():
            ds = dcmread(
                path,
                stop_before_pixels=True,
                force=True,
                specific_tags=tags,  # type: ignore[arg-type]
            )
            _correct_label(ds)
            return ds
    except (OSError, InvalidDicomError, EOFError, *UNREADABLE) as error:
        msg = "a source instance cannot be read again"
        raise ObjectError(msg, reason=type(error).__name__) from error


def _correct_label(ds: Dataset) -> None:
    label = ds.get("SpecificCharacterSet") or ""
    names = [label] if isinstance(label, str) else [str(name) for name in label]
    encodings = convert_encodings(names)
    if all(text.isascii() for _, text in _raw_texts(ds)):
        return
    # Items without a label of their own are decoded by this one, too.
    labelled = list(_same_label(ds))
    texts = [one for part in labelled for one in _raw_texts(part)]
    if not is_mislabelled_utf8([text for _, text in texts], encodings):
        return
    for tag, text in texts:
        is_alone = text.isascii() or is_mislabelled_utf8([text], encodings)
        if tag in _IDENTIFYING and not is_alone:
            # Whoever goes by the label reads a name or a number: it stays that.
            return
    ds.SpecificCharacterSet = _UTF_8
    implicit, little = ds.original_encoding
    for part in labelled:
        part.set_original_encoding(implicit, little, convert_encodings(_UTF_8))


def _same_label(ds: Dataset) -> Iterator[Dataset]:
    """Yield a data set and the items in it that have no character set of their own."""
    yield ds
    for tag in list(ds.keys()):
        raw = ds.get_item(tag)
        vr = raw.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else None)
        if vr == "SQ" and ds[tag].VR == "SQ":
            for item in ds[tag].value:
                if "SpecificCharacterSet" not in item:
                    yield from _same_label(item)


def _raw_texts(ds: Dataset) -> Iterator[tuple[int, bytes]]:
    """Yield the text of a data set as it came, its private elements left out."""
    for tag in ds.keys():  # noqa: SIM118 - iterating would decode the values
        raw = ds.get_item(tag)
        if not isinstance(raw, RawDataElement) or not dictionary_has_tag(tag):
            continue
        if raw.value and (raw.VR or dictionary_VR(tag)) in _TEXT_VRS:
            yield tag, raw.value


def study_header(result: StudyResult) -> Dataset:
    """Return the header that results take the patient and the study from.

    The first frame of the first series; where no series could be processed, the
    first instance of the study.

    Raises
    ------
    ObjectError
        The result names no instance, or the first one cannot be read.

    """
    for series in result.series:
        for frame in series.frames:
            return read_header(frame.path)
    for instance in result.instances:
        return read_header(instance.path)
    msg = "the result names no source instance to take the study from"
    raise ObjectError(msg)


def frame_geometry(
    series: ImageSeries, headers: SourceHeaders
) -> tuple[FrameGeometry, ...] | None:
    """Return where each frame is, in the series' order; None if any is nowhere."""
    found = []
    for frame in series.frames:
        header = headers.geometry(frame.path)
        position = _position(header, frame)
        orientation = _orientation(header, frame.frame_number)
        if position is None and frame.position_lps is not None:
            position = tuple(decimal_string(value) for value in frame.position_lps)
        if orientation is None and series.affine_lps is not None:
            axes = series.affine_lps[:3, :3] / np.linalg.norm(
                series.affine_lps[:3, :3], axis=0
            )
            orientation = tuple(decimal_string(v) for v in (*axes[:, 2], *axes[:, 1]))
        if position is None or orientation is None:
            return None
        found.append(FrameGeometry(position, orientation))
    return tuple(found)


def decimal_string(value: float) -> str:
    """Write a number as DS, at most 16 characters (PS3.5 6.2)."""
    number = float(value) + 0.0  # no negative zero
    if number == 0.0:
        return "0"
    text = repr(number)
    text = text.removesuffix(".0")
    return text if len(text) <= 16 else str(format_number_as_ds(number))


def _position(header: Dataset, frame: FrameReference) -> tuple[str, ...] | None:
    for item in _groups(header, frame.frame_number, "PlanePositionSequence"):
        return _decimals(item, "ImagePositionPatient", 3)
    if frame.number_of_frames > 1:  # one position cannot be that of every frame
        return None
    return _decimals(header, "ImagePositionPatient", 3)


def _orientation(header: Dataset, frame_number: int) -> tuple[str, ...] | None:
    for item in _groups(header, frame_number, "PlaneOrientationSequence"):
        return _decimals(item, "ImageOrientationPatient", 6)
    return _decimals(header, "ImageOrientationPatient", 6)


def _groups(header: Dataset, frame_number: int, keyword: str) -> Iterator[Dataset]:
    """Yield a frame's own functional group, else the shared one (C.7.6.16.1)."""
    per_frame = items_of(header, "PerFrameFunctionalGroupsSequence")
    own = per_frame[frame_number - 1 : frame_number]
    for groups in (*own, *items_of(header, "SharedFunctionalGroupsSequence")[:1]):
        yield from items_of(groups, keyword)[:1]


def number_of(ds: Dataset, keyword: str) -> float | None:
    """Return a finite number; None where it is absent or not a number."""
    try:
        number = float(ds.get(keyword))
    except UNREADABLE:
        return None
    return number if math.isfinite(number) else None


def _decimals(ds: Dataset, keyword: str, count: int) -> tuple[str, ...] | None:
    """Read decimal strings verbatim; None unless `count` finite numbers."""
    try:
        with quiet():
            values = list(ds.get(keyword) or ())
            numbers = [float(value) for value in values]
    except UNREADABLE:
        return None
    if len(numbers) != count or not np.isfinite(numbers).all():
        return None
    texts = (
        getattr(value, "original_string", None) or decimal_string(number)
        for value, number in zip(values, numbers, strict=True)
    )
    return tuple(
        text.strip() if len(text.strip()) <= 16 else decimal_string(float(text))
        for text in texts
    )
