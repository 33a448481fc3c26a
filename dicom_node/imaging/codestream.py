"""Read the size of a picture from its compressed bytes, without decoding it.

A decoder allocates what the codestream claims, which need not be what the data set
claims: 164 bytes of JPEG 2000 can ask for gigabytes.
"""

from __future__ import annotations

import struct

__all__ = ["codestream_precision", "codestream_size", "has_end"]

_SOC_SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream and its size marker (ISO/IEC 15444-1 A.5.1)."""

_JP2_SEARCH_BYTES = 4096
"""Some writers wrap the codestream in a JP2 file, against PS3.5 A.4.4."""

_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""SOFn of JPEG (ISO/IEC 10918-1 table B.1) and SOF55 of JPEG-LS (14495-1 C.1)."""

_END_OF_IMAGE = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS; no coded value looks like it (ISO/IEC 10918-1 B.1.1.5)."""

_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Return the rows and columns that a JPEG, JPEG-LS or JPEG 2000 frame claims.

    Parameters
    ----------
    frame : bytes
        One compressed frame.

    Returns
    -------
    tuple of int, optional
        None: no such codestream, or no size in it.

    """
    start = frame.find(_SOC_SIZ, 0, _JP2_SEARCH_BYTES)
    if start >= 0 and len(frame) >= start + 24:
        width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
        return height - top, width - left
    if frame[:2] == b"\xff\xd8":
        return _jpeg_size(frame)
    return None


def codestream_precision(frame: bytes) -> int | None:
    """Return of how many bits the unsigned samples of a grey frame are.

    Parameters
    ----------
    frame : bytes
        One compressed frame.

    Returns
    -------
    int, optional
        None: there are several components, signed ones, or none that can be found.

    """
    start = frame.find(_SOC_SIZ, 0, _JP2_SEARCH_BYTES)
    if start >= 0 and len(frame) >= start + 43:
        components, depth = struct.unpack_from(">HB", frame, start + 40)
        return depth + 1 if components == 1 and depth < 0x80 else None
    position = _start_of_frame(frame) if frame[:2] == b"\xff\xd8" else None
    if position is None or position + 10 > len(frame):
        return None
    precision, _, _, components = struct.unpack_from(">BHHB", frame, position + 4)
    return precision if components == 1 else None


def has_end(frame: bytes) -> bool:
    """Return whether a frame is there to its end, as far as it can tell.

    Decoders of JPEG make up what is missing, and say nothing or warn.

    Parameters
    ----------
    frame : bytes
        One compressed frame.

    """
    if frame[:2] != b"\xff\xd8":
        return True
    # A picture within the header has an end of its own; PS3.5 A.4 pads a frame.
    return frame.rfind(_END_OF_IMAGE, _start_of_frame(frame) or 0) >= 0


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    position = _start_of_frame(frame)
    if position is None:
        return None
    rows, columns = struct.unpack_from(">2H", frame, position + 5)
    return rows, columns


def _start_of_frame(frame: bytes) -> int | None:
    """Return where the marker of JPEG's frame header is, all of it there."""
    position = 2
    while position + 9 <= len(frame):
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _START_OF_FRAME:
            return position
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            (length,) = struct.unpack_from(">H", frame, position + 2)
            position += 2 + length
    return None
