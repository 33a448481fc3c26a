"""Single frames of a file, as they are stored: native ones sliced, others found.

Frames of one bit a pixel follow each other without a gap (PS3.5 8.2): one that does
not begin on a byte is shifted, so that each comes as if it were alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID

from dicom_node.errors import DicomwebError, ImagingError, NodeError
from dicom_node.imaging.dataset import quiet_reading, unsigned_short

__all__ = [
    "PixelLayout",
    "parse_frame_list",
    "read_layout",
    "stored_frame",
]

_MAX_FRAMES = 1000
"""Frames that one request may name."""

_BLOCK_BYTES = 1 << 18
_PIXEL_TAGS = (0x7FE00010, 0x7FE00009, 0x7FE00008)


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where a file's pixels are and how they are arranged."""

    path: Path
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int
    """Where the value begins in the file, in bytes."""
    length: int
    """Of the value in bytes; of encapsulated pixels, to the file's end."""
    frame_bits: int
    """Of a native frame."""
    swapped_bytes: int
    """Bytes in each group that is stored in the opposite order; 1: none is."""
    frames: int
    is_encapsulated: bool
    extended_offsets: tuple[bytes, bytes] | None = None

    def blocks(self) -> Iterator[bytes]:
        """Yield the whole value of native pixels, numbers little endian."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.length
            while left > 0 and (block := file.read(min(_BLOCK_BYTES, left))):
                left -= len(block)
                yield _little(block, self.swapped_bytes)


def parse_frame_list(text: str) -> tuple[int, ...]:
    """Read a list of frame numbers, PS3.18 10.4.1.1.6.

    Raises
    ------
    DicomwebError
        It is none, or too long.

    """
    parts = text.split(",")
    if len(parts) > _MAX_FRAMES:
        raise DicomwebError(f"at most {_MAX_FRAMES} frames at once", status=400)
    if not all(part.isdecimal() and len(part) <= 9 for part in parts):
        raise DicomwebError("the frames are not numbers from 1", status=400)
    return tuple(map(int, parts))


def read_layout(path: Path, *, sop_instance_uid: str) -> PixelLayout:
    """Find the pixels of a file.

    Raises
    ------
    DicomwebError
        It holds none, or they cannot be understood.

    """
    try:
        with quiet_reading():
            return _read_layout(path, sop_instance_uid)
    except FileNotFoundError as error:
        raise DicomwebError("the instance's file is gone", status=404) from error
    except DicomwebError:
        raise
    except NodeError as error:
        raise DicomwebError(str(error), status=404) from error
    except Exception as error:  # hostile bytes raise nearly anything in pydicom
        msg = f"the pixels cannot be read ({type(error).__name__})"
        raise DicomwebError(msg, status=500) from error


def stored_frame(layout: PixelLayout, number: int) -> bytes:
    """Return a frame as it is stored, numbers little endian.

    Parameters
    ----------
    layout : PixelLayout
        Of its file.
    number : int
        From 1.

    Raises
    ------
    DicomwebError
        There is no such frame.

    """
    if not 1 <= number <= layout.frames:
        raise DicomwebError(f"there is no frame {number}", status=404)
    try:
        with layout.path.open("rb") as file:
            if layout.is_encapsulated:
                return _fragments(file, layout, number)
            return _native(file, layout, number)
    except DicomwebError:
        raise
    except Exception as error:  # offsets and lengths are whatever the file says
        msg = f"frame {number} cannot be found ({type(error).__name__})"
        raise DicomwebError(msg, status=500) from error


def _read_layout(path: Path, sop_instance_uid: str) -> PixelLayout:
    with path.open("rb") as file:
        ds = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        is_little = ds.original_encoding[1] is not False
        is_implicit = bool(ds.original_encoding[0])
        head = file.read(12)
        offset = file.tell() - (4 if is_implicit else 0)
    order: Literal["little", "big"] = "little" if is_little else "big"
    if len(head) < 12:
        raise DicomwebError("the instance has no pixels", status=404)
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if tag not in _PIXEL_TAGS:
        raise DicomwebError("the instance has no pixels", status=404)
    # An element that gives no VR is an implicit one, whatever the syntax says.
    has_vr = not is_implicit and head[4:6].isalpha()
    length = int.from_bytes(head[8:12] if has_vr else head[4:8], order)
    if not has_vr and not is_implicit:
        offset -= 4
    size = os.stat(path).st_size - offset  # noqa: PTH116 - of the open file's path
    syntax = UID(str(ds.file_meta.get("TransferSyntaxUID") or "1.2.840.10008.1.2"))
    is_encapsulated = length == 0xFFFFFFFF
    if syntax.is_encapsulated != is_encapsulated:
        raise ImagingError("the pixels are not encoded as their transfer syntax says")
    allocated = unsigned_short(ds, "BitsAllocated")
    count = ds.get("NumberOfFrames")
    frames = max(int(count or 1), 1)
    group = max(allocated // 8, 2 if head[4:6] == b"OW" else 1)
    return PixelLayout(
        path=path,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=str(syntax),
        offset=offset,
        length=size if is_encapsulated else min(length, size),
        frame_bits=_frame_bits(ds, allocated),
        swapped_bytes=1 if is_little else group,
        frames=frames,
        is_encapsulated=is_encapsulated,
        extended_offsets=_extended_offsets(ds),
    )


def _frame_bits(ds: Dataset, allocated: int) -> int:
    rows, columns = unsigned_short(ds, "Rows"), unsigned_short(ds, "Columns")
    samples = unsigned_short(ds, "SamplesPerPixel")
    bits = rows * columns * samples * allocated
    if str(ds.get("PhotometricInterpretation")) == "YBR_FULL_422":
        bits = bits * 2 // 3  # PS3.3 C.7.6.3.1.2: chroma is shared by two
    return bits


def _extended_offsets(ds: Dataset) -> tuple[bytes, bytes] | None:
    offsets = ds.get("ExtendedOffsetTable")
    lengths = ds.get("ExtendedOffsetTableLengths")
    return (offsets, lengths) if offsets and lengths else None


def _fragments(file: BinaryIO, layout: PixelLayout, number: int) -> bytes:
    file.seek(layout.offset)
    return get_frame(
        file,
        number - 1,
        number_of_frames=layout.frames,
        extended_offsets=layout.extended_offsets,
    )


def _native(file: BinaryIO, layout: PixelLayout, number: int) -> bytes:
    first_bit = (number - 1) * layout.frame_bits
    end_bit = first_bit + layout.frame_bits
    first, end = first_bit // 8, -(-end_bit // 8)
    group = layout.swapped_bytes
    start, stop = first // group * group, -(-end // group) * group
    if end > layout.length:
        raise DicomwebError(f"frame {number} is cut short", status=404)
    file.seek(layout.offset + start)
    read = _little(file.read(min(stop, layout.length) - start), group)
    data = np.frombuffer(read, np.uint8)[first - start : end - start]
    if layout.frame_bits % 8 == 0 and first_bit % 8 == 0:
        return data.tobytes()
    # The first pixel is in the lowest bit (PS3.5 8.1.1).
    bits = np.unpackbits(data, bitorder="little")
    begin = first_bit % 8
    alone = bits[begin : begin + layout.frame_bits]
    return np.packbits(alone, bitorder="little").tobytes()


def _little(block: bytes, group: int) -> bytes:
    """Turn each group of bytes around."""
    if group == 1 or len(block) % group:
        return block
    return np.frombuffer(block, np.uint8).reshape(-1, group)[:, ::-1].tobytes()
