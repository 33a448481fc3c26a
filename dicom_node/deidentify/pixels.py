"""Cut off what lies beside the pixels: comments, metadata and bytes after the end.

The pixels themselves stay bit for bit as they are.

References
----------
PS3.5 8.2 and A.4 (encapsulation), annex G (RLE); ISO/IEC 10918-1 B and 14495-1 C
(JPEG, JPEG-LS), 15444-1 A (JPEG 2000).

"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final

from pydicom import Dataset, uid
from pydicom.encaps import encapsulate, generate_frames

from dicom_node.errors import DeidentificationError

__all__ = ["cut_lookup_tables", "cut_pixels"]

_RLE: Final = uid.RLELossless
_JPEG: Final = frozenset(uid.JPEGTransferSyntaxes) | frozenset(
    uid.JPEGLSTransferSyntaxes
)
_JPEG_2000: Final = frozenset(uid.JPEG2000TransferSyntaxes) | frozenset(
    {uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
)

_WIDTHS: Final = {"PixelData": 0, "FloatPixelData": 32, "DoubleFloatPixelData": 64}
"""Bits of a sample; 0: as Bits Allocated says."""

_TABLES: Final = {
    "LUTData": "LUTDescriptor",
    "RedPaletteColorLookupTableData": "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableData": "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableData": "BluePaletteColorLookupTableDescriptor",
    "AlphaPaletteColorLookupTableData": "AlphaPaletteColorLookupTableDescriptor",
}

# JPEG markers (ISO/IEC 10918-1 table B.1).
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_RESTARTS: Final = range(0xD0, 0xD8)
_APPLICATION: Final = range(0xE0, 0xF0)
_JFIF_BYTES, _ADOBE_BYTES = 16, 14
"""Of the segments that tell the colour space, without a thumbnail."""

# JPEG 2000 markers (ISO/IEC 15444-1 table A.2).
_SOC, _SOT, _EOC, _COMMENT = 0xFF4F, 0xFF90, 0xFFD9, 0xFF64
_START_OF_DATA = 0xFF93

_CANNOT = "the encoding of its pixels cannot be looked through"


def cut_pixels(ds: Dataset, transfer_syntax_uid: str) -> None:
    """Leave nothing in pixel data but pixels.

    Parameters
    ----------
    ds : pydicom.Dataset
        An image; its pixel data is replaced where it holds more.
    transfer_syntax_uid : str
        How it is encoded.

    Raises
    ------
    DeidentificationError
        The encoding is damaged, or one that cannot be looked through.

    """
    present = [one for one in _WIDTHS if one in ds]
    if not present:
        return
    try:
        if uid.UID(transfer_syntax_uid).is_encapsulated:
            _cut_frames(ds, transfer_syntax_uid)
            return
        for keyword in present:
            length = _native_bytes(ds, _WIDTHS[keyword])
            if len(ds[keyword].value) > length:
                ds[keyword].value = _even(ds[keyword].value[:length])
    except DeidentificationError:
        raise
    except Exception as error:
        raise DeidentificationError(_CANNOT) from error


def cut_lookup_tables(ds: Dataset) -> None:
    """Cut lookup tables, here and in items, to the entries that they describe."""
    for item in (ds, *_items(ds)):
        for data, descriptor in _TABLES.items():
            if data not in item:
                continue
            described = item.get(descriptor)
            try:
                entries = int(described[0]) or 1 << 16  # PS3.3 C.11.1.1
                value = item[data].value
                limit = entries * 2 if isinstance(value, bytes) else entries
                if not isinstance(value, int) and len(value) > limit:
                    item[data].value = value[:limit]
            except (TypeError, ValueError, IndexError):
                del item[data]


def _items(ds: Dataset) -> Iterator[Dataset]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)


def _native_bytes(ds: Dataset, bits: int) -> int:
    """Return the bytes that the pixels take, without padding."""
    samples = int(ds.get("SamplesPerPixel", 1) or 1)
    pixels = int(ds.Rows) * int(ds.Columns) * _frames(ds)
    if samples == 3 and ds.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2  # PS3.3 C.7.6.3.1.2
    return math.ceil(pixels * samples * (bits or int(ds.BitsAllocated)) / 8)


def _frames(ds: Dataset) -> int:
    return int(ds.get("NumberOfFrames", 1) or 1)


def _cut_frames(ds: Dataset, syntax: str) -> None:
    tables = None
    if "ExtendedOffsetTable" in ds:
        tables = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    count = _frames(ds)
    frames = list(
        generate_frames(ds.PixelData, number_of_frames=count, extended_offsets=tables)
    )
    if len(frames) != count:
        raise DeidentificationError(_CANNOT)
    cut = [_cut_frame(one, ds, syntax) for one in frames]
    # The fragments are made anew: no bytes are left that belong to no frame.
    ds.PixelData = encapsulate(cut)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in ds:
            del ds[keyword]


def _cut_frame(data: bytes, ds: Dataset, syntax: str) -> bytes:
    if syntax == _RLE:
        return _even(_cut_rle(data, int(ds.Rows) * int(ds.Columns)))
    if syntax in _JPEG:
        return _even(_cut_jpeg(data))
    if syntax in _JPEG_2000:
        return _even(_cut_jpeg_2000(data))
    raise DeidentificationError(_CANNOT)


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _require(is_so: bool) -> None:
    if not is_so:
        raise DeidentificationError(_CANNOT)


def _cut_jpeg(data: bytes) -> bytes:
    """Return a JPEG or JPEG-LS stream without comments and application data."""
    _require(data[:2] == bytes((0xFF, _SOI)))
    kept, at = [data[:2]], 2
    while True:
        _require(at + 1 < len(data) and data[at] == 0xFF)
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _EOI:
            return b"".join((*kept, data[at : at + 2]))
        length = _word(data, at + 2)
        end = at + 2 + length
        _require(length >= 2 and end <= len(data))
        if marker == _SOS:
            end = _end_of_scan(data, end)
        if not _says_something(marker, data[at + 4 : end]):
            kept.append(data[at:end])
        at = end


def _says_something(marker: int, segment: bytes) -> bool:
    if marker == _COM:
        return True
    if marker not in _APPLICATION:
        return False
    # What a decoder needs to know the colours stays.
    is_jfif = segment[:5] == b"JFIF\0" and len(segment) == _JFIF_BYTES - 2
    is_adobe = segment[:5] == b"Adobe" and len(segment) == _ADOBE_BYTES - 2
    return not (is_jfif or is_adobe)


def _end_of_scan(data: bytes, at: int) -> int:
    """Return where the next marker is: coded data holds FF before small bytes only."""
    while True:
        at = data.find(b"\xff", at)
        _require(0 <= at < len(data) - 1)
        following = data[at + 1]
        if following >= 0xC0 and following != 0xFF and following not in _RESTARTS:
            return at
        at += 1


def _cut_jpeg_2000(data: bytes) -> bytes:
    """Return a JPEG 2000 codestream without comments in its main header."""
    _require(_word(data, 0) == _SOC)
    kept, at = [data[:2]], 2
    while (marker := _word(data, at)) != _SOT:
        end = at + 2 + _word(data, at + 2)
        _require(marker >= 0xFF00 and at + 4 <= end <= len(data))
        if marker != _COMMENT:
            kept.append(data[at:end])
        at = end
    while _word(data, at) == _SOT:
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        end = at + length if length else data.find(b"\xff\xd9", at)
        _require(at + 14 <= end <= len(data))
        _require(not _has_comment(data, at + 12, end))
        kept.append(data[at:end])
        at = end
    _require(_word(data, at) == _EOC)
    return b"".join((*kept, data[at : at + 2]))


def _has_comment(data: bytes, at: int, end: int) -> bool:
    """Whether a tile-part's header has a comment; its length would have to change."""
    while at < end and (marker := _word(data, at)) != _START_OF_DATA:
        if marker == _COMMENT:
            return True
        _require(marker >= 0xFF00 and _word(data, at + 2) >= 2)
        at += 2 + _word(data, at + 2)
    return False


def _cut_rle(data: bytes, pixels: int) -> bytes:
    """Return a frame of RLE segments with nothing after and between them."""
    count, *offsets = struct.unpack("<16L", data[:64])
    _require(1 <= count <= 15)
    starts = offsets[:count]
    segments = [
        _even(_cut_pack_bits(data, begin, stop, pixels))
        for begin, stop in zip(starts, (*starts[1:], len(data)), strict=True)
    ]
    at, table = 64, []
    for one in segments:
        table.append(at)
        at += len(one)
    table += [0] * (15 - count)
    return struct.pack("<16L", count, *table) + b"".join(segments)


def _cut_pack_bits(data: bytes, begin: int, stop: int, pixels: int) -> bytes:
    _require(64 <= begin < stop <= len(data))
    at, made = begin, 0
    while made < pixels:
        _require(at < stop)
        head = data[at]
        if head < 128:
            made, at = made + head + 1, at + head + 2
        elif head > 128:
            made, at = made + 257 - head, at + 2
        else:
            at += 1
    _require(at <= stop)
    return data[begin:at]
