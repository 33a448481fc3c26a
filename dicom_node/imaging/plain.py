"""Read the commonest image fast: one uncompressed grey frame in a plain file.

A plain file has its meta information, Explicit VR Little Endian, its elements in
order, and pixels of 8 or 16 bits whose description leaves nothing to choose. Whatever
else a file is, broken or merely rarer, `read_plain_image` declines it, and
`decode.decode_frames` reads it or says what is wrong with it. Both give the same
values.
"""

from __future__ import annotations

import math
import os
import re
import struct
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_node.imaging.grey import GreyScale

__all__ = [
    "FoundPixels",
    "PlainImage",
    "find_pixels",
    "read_plain_image",
    "transfer_syntax_of",
]

_HEAD_BYTES = 1 << 16
"""How much of a file is read to find its pixels; what comes before them is smaller."""

_ELEMENT = struct.Struct("<HH2sH")
_LENGTH = struct.Struct("<L")
_SHORT = {b"US": struct.Struct("<H"), b"SS": struct.Struct("<h")}

_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = _LONG_VRS | frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
"""PS3.5 6.2 and 7.1.2."""

_PIXEL_VRS = frozenset({b"OW", b"OB"})

_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_NOWHERE = sys.maxsize

_META_START = 132
_TRANSFER_SYNTAX = 0x00020010
_EXPLICIT_LITTLE = b"1.2.840.10008.1.2.1"

_SAMPLES = 0x00280002
_PHOTOMETRIC = 0x00280004
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_ALLOCATED = 0x00280100
_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_REPRESENTATION = 0x00280103
_PADDING = 0x00280120
_PADDING_LIMIT = 0x00280121
_INTERCEPT = 0x00281052
_SLOPE = 0x00281053
_PIXEL_DATA = 0x7FE00010

_WANTED = frozenset(
    {_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED, _STORED}
    | {_HIGH_BIT, _REPRESENTATION, _PADDING, _PADDING_LIMIT, _INTERCEPT, _SLOPE}
)
_NOT_PLAIN = frozenset(
    {
        0x00280006,  # Planar Configuration: of several samples
        0x00283000,  # Modality LUT Sequence
        0x52009229,  # Shared Functional Groups Sequence
        0x52009230,  # Per-Frame Functional Groups Sequence
        0x7FE00001,  # Extended Offset Table
        0x7FE00008,  # Float Pixel Data
        0x7FE00009,  # Double Float Pixel Data
    }
)

_DECIMAL = re.compile(rb" *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)? *\0?")
"""A decimal string (PS3.5 6.2) of one value."""

Elements = dict[int, tuple[bytes, bytes]]
"""VR and value by tag."""


@dataclass(frozen=True, slots=True)
class PlainImage:
    """Where the stored values of one frame lie in its file, and what they mean."""

    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[np.integer]
    bits_stored: int
    scale: GreyScale

    def read(
        self, file: int, *, stored: bytearray, values: npt.NDArray[np.float32]
    ) -> bool:
        """Read the frame in modality values, as `decode.decode_frames` gives it.

        Parameters
        ----------
        file : int
            Descriptor of the file.
        stored : bytearray
            Room for the stored values, used again and again: memory that is touched
            for the first time costs more than reading into it.
        values : numpy.ndarray
            Receives them; of the image's shape.

        Returns
        -------
        bool
            False: the file is shorter than it was.

        """
        count = self.shape[0] * self.shape[1]
        room = memoryview(stored)[: count * self.dtype.itemsize]
        if os.preadv(file, [room], self.offset) != len(room):
            return False
        pixels = np.frombuffer(room, self.dtype).reshape(self.shape)
        unused = 8 * self.dtype.itemsize - self.bits_stored
        if unused:  # Whatever is in the other bits (overlays) is no pixel.
            np.left_shift(pixels, unused, out=pixels)
            np.right_shift(pixels, unused, out=pixels)
        self.scale.apply(pixels, out=values)
        return True


@dataclass(frozen=True, slots=True)
class FoundPixels:
    """What a plain file says of its pixels.

    Attributes
    ----------
    transfer_syntax_uid : bytes
        Every one but Implicit VR and Big Endian has this form.
    image : PlainImage
        Its values as they are when nothing has compressed them.
    length : int
        Of the Pixel Data in bytes; 0xFFFFFFFF: they are encapsulated.

    """

    transfer_syntax_uid: bytes
    image: PlainImage
    length: int


def transfer_syntax_of(head: bytes) -> str | None:
    """Return what the file meta information names; None: it cannot be told here.

    Parameters
    ----------
    head : bytes
        The first bytes of a file.

    """
    elements, _ = _meta(head)
    vr, value = elements.get(_TRANSFER_SYNTAX, (b"", b""))
    text = value.strip(b"\0 ")
    return text.decode() if vr == b"UI" and text.isascii() and text else None


def read_plain_image(file: int, *, max_pixels_bytes: int) -> PlainImage | None:
    """Find the pixels of a plain image; None: it is not one.

    Parameters
    ----------
    file : int
        Descriptor of the file.
    max_pixels_bytes : int
        Larger images are declined.

    """
    found = find_pixels(file)
    if found is None or found.transfer_syntax_uid != _EXPLICIT_LITTLE:
        return None
    image, length = found.image, found.length
    needed = image.shape[0] * image.shape[1] * image.dtype.itemsize
    size = os.fstat(file).st_size
    # Elements behind the pixels may say other things of them.
    if not needed <= min(length, max_pixels_bytes) or image.offset + length != size:
        return None
    return image


def find_pixels(file: int) -> FoundPixels | None:
    """Find the pixels of one grey frame in a plain file; None: it is not one.

    Parameters
    ----------
    file : int
        Descriptor of the file.

    """
    head = os.pread(file, _HEAD_BYTES, 0)
    meta, position = _meta(head)
    vr, syntax = meta.get(_TRANSFER_SYNTAX, (b"", b""))
    found = _walk(head, position) if vr == b"UI" else None
    if found is None:
        return None
    elements, offset, length = found
    image = _describe(elements, offset)
    if image is None:
        return None
    return FoundPixels(syntax.rstrip(b"\0 "), image, length)


def _meta(head: bytes) -> tuple[Elements, int]:
    """Walk over group 0002, and return where the data set begins."""
    elements: Elements = {}
    if head[128:_META_START] != b"DICM":
        return elements, 0
    position, end = _META_START, len(head)
    while position + 12 <= end:
        group, element, vr, length = _ELEMENT.unpack_from(head, position)
        if group != 2 or vr not in _VRS:
            break
        position += 8
        if vr in _LONG_VRS:
            (length,) = _LENGTH.unpack_from(head, position)
            position += 4
        elements[group << 16 | element] = (vr, head[position : position + length])
        position += length
    return elements, position


def _walk(head: bytes, position: int) -> tuple[Elements, int, int] | None:
    """Walk to the pixels; return elements, and offset and length of the pixels."""
    elements: Elements = {}
    end, last = len(head), 0
    # Sequences without a length are walked through, and the items in them: of the
    # innermost the tag that ends it, and where it ends if it is an item with a length.
    ends_with, ends_at = 0, _NOWHERE
    around: list[tuple[int, int]] = []
    while position + 12 <= end:
        if position >= ends_at:
            if position > ends_at:
                return None
            ends_with, ends_at = around.pop()
            continue
        group, number, vr, length = _ELEMENT.unpack_from(head, position)
        tag = group << 16 | number
        position += 8
        if group == 0xFFFE or ends_with == _SEQUENCE_END:
            (length,) = _LENGTH.unpack_from(head, position - 4)
            if tag == _ITEM and ends_with == _SEQUENCE_END:
                around.append((ends_with, ends_at))
                ends_with = _ITEM_END
                ends_at = _NOWHERE if length == _UNDEFINED else position + length
            elif around and tag == ends_with and ends_at == _NOWHERE and not length:
                ends_with, ends_at = around.pop()
            else:
                return None
            continue
        if vr not in _VRS or (not around and (tag <= last or tag in _NOT_PLAIN)):
            return None
        if vr in _LONG_VRS:
            (length,) = _LENGTH.unpack_from(head, position)
            position += 4
        if not around:
            if tag == _PIXEL_DATA:
                return (elements, position, length) if vr in _PIXEL_VRS else None
            if tag in _WANTED:
                elements[tag] = (vr, head[position : position + length])
            last = tag
        if length != _UNDEFINED:
            position += length
        elif vr == b"SQ":
            around.append((ends_with, ends_at))
            ends_with, ends_at = _SEQUENCE_END, _NOWHERE
        else:
            return None
    return None


def _describe(elements: Elements, offset: int) -> PlainImage | None:
    wanted = (_SAMPLES, _ROWS, _COLUMNS, _ALLOCATED, _STORED, _HIGH_BIT)
    numbers = [_short(elements, tag, signed=False) for tag in wanted]
    samples, rows, columns, allocated, stored, high = numbers
    sign = _short(elements, _REPRESENTATION, signed=False)
    vr, photometric = elements.get(_PHOTOMETRIC, (b"", b""))
    kind = photometric.rstrip(b" \0")
    slope, intercept = _rescale(elements)
    if (
        samples != 1
        or not rows
        or not columns
        or not stored
        or allocated not in {8, 16}
        or stored > allocated
        or high != stored - 1
        or sign not in {0, 1}
        or vr != b"CS"
        or kind not in {b"MONOCHROME1", b"MONOCHROME2"}
        or not _is_one_frame(elements)
        or slope is None
        or intercept is None
    ):
        return None
    padding = None
    if _PADDING in elements or _PADDING_LIMIT in elements:
        first = _short(elements, _PADDING, signed=True)
        second = first
        if _PADDING_LIMIT in elements:
            second = _short(elements, _PADDING_LIMIT, signed=True)
        if first is None or second is None:
            return None
        padding = (min(first, second), max(first, second))
    low, top = (
        (-(1 << stored - 1), (1 << stored - 1) - 1) if sign else (0, (1 << stored) - 1)
    )
    return PlainImage(
        offset=offset,
        shape=(rows, columns),
        dtype=np.dtype(f"<{'i' if sign else 'u'}{allocated // 8}"),
        bits_stored=stored,
        scale=GreyScale(
            slope=slope,
            intercept=intercept,
            ends=(low * slope + intercept, top * slope + intercept),
            is_inverse=kind == b"MONOCHROME1",
            padding=padding,
        ),
    )


def _is_one_frame(elements: Elements) -> bool:
    vr, value = elements.get(_FRAMES, (b"IS", b"1"))
    return vr == b"IS" and value.rstrip(b" \0") == b"1"


def _short(elements: Elements, tag: int, *, signed: bool) -> int | None:
    vr, value = elements.get(tag, (b"", b""))
    if len(value) != 2 or vr not in _SHORT or (vr == b"SS" and not signed):
        return None
    number: int = _SHORT[vr].unpack(value)[0]
    return number


def _rescale(elements: Elements) -> tuple[float | None, float | None]:
    """Return slope and intercept; None: not plain. Both absent: the stored values."""
    if _SLOPE not in elements and _INTERCEPT not in elements:
        return 1.0, 0.0
    numbers = []
    for tag in (_SLOPE, _INTERCEPT):
        vr, value = elements.get(tag, (b"", b""))
        plain = vr == b"DS" and _DECIMAL.fullmatch(value) is not None
        number = float(value.strip(b" \0")) if plain else math.nan
        if not math.isfinite(number):
            return None, None
        numbers.append(number)
    slope, intercept = numbers
    return (slope, intercept) if slope else (None, None)
