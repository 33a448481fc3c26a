"""The functional groups of a SEG's frames, as the bytes that its file holds.

A CT with 50 segments has thousands of frames, and building the eight small data sets
of each took most of the time of a SEG, and a good part of its memory. All segments on
a frame of the source share what is said of that frame: it is encoded once, and only
the frame content and the segment are particular to a frame.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import highdicom as hd
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

from dicom_node.objects.files import element, item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.objects.planes import Grid
    from dicom_node.records import FrameReference

__all__ = ["FrameItems", "orientation_item"]

_FRAME_CONTENT = Tag("FrameContentSequence")
_DIMENSION_INDEX_VALUES = Tag("DimensionIndexValues")
_DERIVATION_IMAGE = Tag("DerivationImageSequence")
_SOURCE_IMAGE = Tag("SourceImageSequence")
_REFERENCED_CLASS = Tag("ReferencedSOPClassUID")
_REFERENCED_INSTANCE = Tag("ReferencedSOPInstanceUID")
_REFERENCED_FRAME = Tag("ReferencedFrameNumber")
_LOCATIONS_PRESERVED = Tag("SpatialLocationsPreserved")
_PLANE_POSITION = Tag("PlanePositionSequence")
_POSITION = Tag("ImagePositionPatient")
_PLANE_ORIENTATION = Tag("PlaneOrientationSequence")
_ORIENTATION = Tag("ImageOrientationPatient")
_SEGMENT_IDENTIFICATION = Tag("SegmentIdentificationSequence")
_REFERENCED_SEGMENT_NUMBER = Tag("ReferencedSegmentNumber")


class FrameItems:
    """Encodes the items of Per-Frame Functional Groups Sequence over one grid."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._shared: dict[int, tuple[bytes, bytes]] = {}
        codes = Dataset()
        codes.DerivationCodeSequence = [
            hd.sr.CodedConcept("113076", "DCM", "Segmentation")
        ]
        self._derivation = _encoded(codes)
        codes = Dataset()
        codes.PurposeOfReferenceCodeSequence = [
            hd.sr.CodedConcept(
                "121322", "DCM", "Source image for image processing operation"
            )
        ]
        self._purpose = _encoded(codes)

    def encode(
        self, frame_index: int, *, position_index: int, segment_number: int | None
    ) -> bytes:
        """Return the functional groups of one frame (PS3.3 C.7.6.16.2, C.8.20.3).

        Parameters
        ----------
        frame_index : int
            The frame of the source that it lies on, from 0.
        position_index : int
            Rank of its position among those of the object, from 1.
        segment_number : int or None
            Its segment, from 1; None: a label map's frame, which has no single one.

        """
        if frame_index not in self._shared:
            self._shared[frame_index] = self._encode_shared(frame_index)
        # In the order of their tags: Derivation Image, Frame Content, Plane Position
        # and Orientation, Segment Identification.
        before, after = self._shared[frame_index]
        segment = b""
        indices = struct.pack("<L", position_index)
        if segment_number is not None:
            indices = struct.pack("<LL", segment_number, position_index)
            number = struct.pack("<H", segment_number)
            segment = _sequence(
                _SEGMENT_IDENTIFICATION,
                element(_REFERENCED_SEGMENT_NUMBER, "US", number),
            )
        content = _sequence(
            _FRAME_CONTENT, element(_DIMENSION_INDEX_VALUES, "UL", indices)
        )
        return item(b"".join((before, content, after, segment)))

    def _encode_shared(self, index: int) -> tuple[bytes, bytes]:
        geometry, frame = self._grid.geometry[index], self._grid.series.frames[index]
        derivation = _sequence(_SOURCE_IMAGE, self._encode_source(frame))
        origin = _sequence(_DERIVATION_IMAGE, derivation + self._derivation)
        position = _text(_POSITION, "DS", "\\".join(geometry.position))
        groups = _sequence(_PLANE_POSITION, position)
        if self._grid.shared_orientation is None:
            orientation = _text(_ORIENTATION, "DS", "\\".join(geometry.orientation))
            groups += _sequence(_PLANE_ORIENTATION, orientation)
        return origin, groups

    def _encode_source(self, frame: FrameReference) -> bytes:
        parts = [
            _text(_REFERENCED_CLASS, "UI", frame.sop_class_uid),
            _text(_REFERENCED_INSTANCE, "UI", frame.sop_instance_uid),
        ]
        if (number := frame.referenced_frame_number) is not None:
            parts.append(_text(_REFERENCED_FRAME, "IS", str(number)))
        parts += [_text(_LOCATIONS_PRESERVED, "CS", "YES"), self._purpose]
        return b"".join(parts)


def orientation_item(orientation: Sequence[str]) -> Dataset:
    """Return an item of Plane Orientation Sequence (PS3.3 C.7.6.16.2.4)."""
    plane = Dataset()
    plane.ImageOrientationPatient = list(orientation)
    return plane


def _sequence(tag: int, value: bytes) -> bytes:
    return element(tag, "SQ", item(value))


def _text(tag: int, vr: str, value: str) -> bytes:
    encoded = value.encode("iso8859")
    padding = b"\0" if vr == "UI" else b" "  # PS3.5 6.2
    return element(tag, vr, encoded + padding * (len(encoded) % 2))


def _encoded(ds: Dataset) -> bytes:
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, ds)
    return target.getvalue()
