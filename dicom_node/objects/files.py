"""Writes an object to its file piece by piece, and hashes it on the way."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

from dicom_node.errors import ObjectError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Frames", "PixelStream", "element", "item", "write_object"]

_PER_FRAME_GROUPS = Tag("PerFrameFunctionalGroupsSequence")
_PIXEL_DATA = Tag("PixelData")
_UNDEFINED_LENGTH = 0xFFFFFFFF
"""More than a length can say (PS3.5 7.1.1)."""
_ITEM = struct.Struct("<HHL")
_LONG_ELEMENT = struct.Struct("<HH2sHL")
_SHORT_ELEMENT = struct.Struct("<HH2sH")
_LONG_VRS = frozenset({"OB", "OW", "SQ"})


@dataclass(frozen=True, eq=False)
class PixelStream:
    """Pixel Data that is made while it is written: never all of it in memory."""

    vr: str
    length: int
    """In bytes, even (PS3.5 7.1.1)."""
    pieces: Iterable[bytes]


@dataclass(frozen=True, eq=False)
class Frames:
    """What a data set of many frames leaves out of memory as objects."""

    groups: Sequence[bytes]
    """Encoded items of Per-Frame Functional Groups Sequence, Explicit VR Little
    Endian, with their item tags."""
    pixels: PixelStream | None
    """None: Pixel Data is in the data set."""


def element(tag: int, vr: str, value: bytes, /) -> bytes:
    """Encode an element in Explicit VR Little Endian (PS3.5 7.1.2)."""
    return _header(tag, vr, len(value)) + value


def item(value: bytes, /) -> bytes:
    """Encode an item of a sequence, with its length (PS3.5 7.5)."""
    return _ITEM.pack(0xFFFE, 0xE000, len(value)) + value


def write_object(ds: Dataset, path: Path, *, frames: Frames | None = None) -> str:
    """Write a data set as a DICOM file (PS3.10 7), and return the SHA-256 of it.

    Parameters
    ----------
    ds : pydicom.Dataset
        The object, with its file meta information; Explicit VR Little Endian but for
        its Pixel Data. With `frames`, without what they hold.
    path : pathlib.Path
        The file; one that is there is replaced.
    frames : Frames, optional
        The functional groups of its frames, and their pixels.

    Raises
    ------
    ObjectError
        The pieces of the pixels are not as long as they were said to be.

    """
    whole = Dataset(ds)  # the builder's class would add to it when it is saved
    head = whole if frames is None else whole[:_PER_FRAME_GROUPS]
    head.file_meta = ds.file_meta
    with _Hashed(io.FileIO(path, "w")) as file:
        head.save_as(file, enforce_file_format=True)
        if frames is not None:
            _write_frames(file, whole[_PER_FRAME_GROUPS:], frames)
    return file.digest.hexdigest()


class _Hashed(io.BufferedWriter):
    """A file that is written from its begin to its end, and hashed as it is."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw, 1 << 18)
        self.digest = hashlib.sha256()

    def write(self, data: ReadableBuffer, /) -> int:
        self.digest.update(data)
        return super().write(data)


def _write_frames(file: io.BufferedWriter, tail: Dataset, frames: Frames) -> None:
    # The items go in between two data sets: as a raw element of one they would be
    # decoded again by whoever walks it.
    length = sum(map(len, frames.groups))
    file.write(_header(_PER_FRAME_GROUPS, "SQ", length))
    for group in frames.groups:
        file.write(group)
    target = DicomIO(file)
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, tail)
    if (pixels := frames.pixels) is None:
        return
    if pixels.length >= _UNDEFINED_LENGTH:
        msg = f"{pixels.length} bytes of pixels do not fit in one object"
        raise ObjectError(msg)
    file.write(_header(_PIXEL_DATA, pixels.vr, pixels.length))
    written = sum(map(file.write, pixels.pieces))
    if written != pixels.length:
        msg = f"{written} bytes of pixels were made and {pixels.length} announced"
        raise ObjectError(msg)


def _header(tag: int, vr: str, length: int) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if vr in _LONG_VRS:
        return _LONG_ELEMENT.pack(group, number, vr.encode(), 0, length)
    return _SHORT_ELEMENT.pack(group, number, vr.encode(), length)
