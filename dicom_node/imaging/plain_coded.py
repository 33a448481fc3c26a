"""Read the commonest compressed image fast: one grey frame in a plain file.

As `plain` does uncompressed ones: what leaves anything to choose is declined, and
`decode.decode_frames` reads it or says what is wrong with it. Both give the same
values.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dicom_node.imaging.codestream import codestream_precision, has_end
from dicom_node.imaging.fast_codecs import decode_grey, is_available
from dicom_node.imaging.plain import PlainImage, find_pixels

__all__ = ["CodedImage", "read_coded_image"]

_UNDEFINED = 0xFFFFFFFF
_ITEM = struct.Struct("<HHL")
_ITEM_TAG = (0xFFFE, 0xE000)
_END = _ITEM.pack(0xFFFE, 0xE0DD, 0)

_MOST_BYTES = 64 << 20
"""Larger pictures are looked at more closely by `decode.check_pixels`."""

_NO_OFFSETS = (b"", bytes(4))
"""Basic Offset Tables of one frame, PS3.5 A.4."""


@dataclass(frozen=True, slots=True)
class CodedImage:
    """Where one compressed frame lies in its file, and what its values mean."""

    transfer_syntax_uid: str
    image: PlainImage
    size_bytes: int
    """Of the Pixel Data, which end the file."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape

    def read(
        self, file: int, *, stored: bytearray, values: npt.NDArray[np.float32]
    ) -> bool:
        """Read the frame in modality values, as `decode.decode_frames` gives it.

        Parameters
        ----------
        file : int
            Descriptor of the file.
        stored : bytearray
            Not used: decoders make room of their own.
        values : numpy.ndarray
            Receives them; of the image's shape.

        Returns
        -------
        bool
            False: it is not as plain as its header says.

        """
        frame = _only_frame(os.pread(file, self.size_bytes, self.image.offset))
        # Other bits, or signs, are given their meaning elsewhere.
        if (
            frame is None
            or not has_end(frame)
            or codestream_precision(frame) != self.image.bits_stored
        ):
            return False
        try:
            pixels = decode_grey(frame, self.transfer_syntax_uid, size=self.shape)
        except RuntimeError:
            return False
        if pixels.dtype != self.image.dtype:
            return False
        self.image.scale.apply(pixels, out=values)
        return True


def read_coded_image(file: int, *, max_pixels_bytes: int) -> CodedImage | None:
    """Find the pixels of a plain compressed image; None: it is not one.

    Parameters
    ----------
    file : int
        Descriptor of the file.
    max_pixels_bytes : int
        Larger images are declined.

    """
    found = find_pixels(file)
    if found is None or found.length != _UNDEFINED:
        return None
    syntax = found.transfer_syntax_uid.decode("ascii", "replace")
    image = found.image
    needed = image.shape[0] * image.shape[1] * image.dtype.itemsize
    if (
        not is_available(syntax)
        or image.dtype.kind != "u"
        or needed > min(max_pixels_bytes, _MOST_BYTES)
    ):
        return None
    size = os.fstat(file).st_size - image.offset
    return CodedImage(syntax, image, size) if size <= _MOST_BYTES else None


def _only_frame(data: bytes) -> bytes | None:
    """Join the fragments of Pixel Data that hold one frame; None: there may be more."""
    if not data.endswith(_END):
        return None
    starts, position, end = [], 0, len(data) - len(_END)
    while position < end:
        if position + _ITEM.size > end:
            return None
        group, element, length = _ITEM.unpack_from(data, position)
        if (group, element) != _ITEM_TAG:
            return None
        starts.append(position)
        position += _ITEM.size + length
    starts.append(position)
    if position != end or len(starts) < 3:
        return None
    items = [data[start + _ITEM.size : stop] for start, stop in pairwise(starts)]
    return b"".join(items[1:]) if items[0] in _NO_OFFSETS else None
