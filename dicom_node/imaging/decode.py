"""Decode frames to modality values or RGB; runs in the decoding process.

Grey frames come out as float32 in modality units (Hounsfield units for CT), in the
sense of MONOCHROME2: larger is brighter. Colour frames come out as 8-bit RGB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_node.errors import PixelDecodingError
from dicom_node.imaging.codestream import (
    codestream_precision,
    codestream_size,
    has_end,
)
from dicom_node.imaging.dataset import unsigned_short, value_of
from dicom_node.imaging.fast_codecs import FAST_PLUGIN, add_fast_codecs
from dicom_node.imaging.grey import GreyScale, darken_outside

__all__ = ["Frame", "check_pixels", "decode_frames", "decode_stored"]

Frame: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
"""``(rows, columns)`` float32 or ``(rows, columns, 3)`` uint8."""

_PLUGINS = {
    # Four times faster than libjpeg's JPEG-LS; the others have one choice each.
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
}
_DEFAULT_PLUGIN = "pylibjpeg"

_FAST = add_fast_codecs()
"""Transfer syntaxes whose grey frames have a faster decoder."""

_FAST_ALONE = frozenset({JPEGLossless, JPEGLosslessSV1})
"""Those whose grey frames nothing else may decode: libjpeg gives wrong values for a
point transform, and those of a damaged frame without a word."""

_LOSSLESS = frozenset(
    {
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
    }
)
"""Codestreams that give exactly what was encoded: nothing overshoots."""

_MAX_RATIO = 1000
"""Decoded bytes per compressed byte; blank frames alone go beyond."""

_UNSUSPICIOUS_BYTES = 64 << 20
"""Pixels up to this size are decoded whatever the ratio: blank frames are real."""

_MAX_RLE_RATIO = 64
"""Two bytes of RLE give at most 128 (PS3.5 G.3.1)."""

_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def check_pixels(ds: Dataset, *, max_pixels_bytes: int) -> None:
    """Refuse pixels whose decoding would cost more than they can hold.

    Parameters
    ----------
    ds : pydicom.Dataset
        With its file meta information.
    max_pixels_bytes : int
        Largest decoded size of all frames together.

    Raises
    ------
    PixelDecodingError
        The description of the pixels contradicts itself, the standard, the limit
        or the number of bytes that are there.

    """
    rows, columns = unsigned_short(ds, "Rows"), unsigned_short(ds, "Columns")
    samples = unsigned_short(ds, "SamplesPerPixel")
    allocated = unsigned_short(ds, "BitsAllocated")
    keyword = _pixel_keyword(ds)
    if samples not in {1, 3, 4} or allocated not in {1, 8, 16, 32, 64}:
        raise PixelDecodingError("unknown samples per pixel or bits allocated")
    if keyword == "PixelData":
        stored = unsigned_short(ds, "BitsStored")
        high = ds.get("HighBit", stored - 1)
        if not isinstance(high, int) or stored > allocated or high >= allocated:
            raise PixelDecodingError("bits stored do not fit into bits allocated")
        if high != stored - 1 and _is_laid_out(ds):
            # Older editions let values lie higher up (PS3.5 8.1.1). Readers disagree:
            # DCMTK moves them down, pydicom does not; and some headers are wrong.
            msg = f"High Bit is {high}; {stored} Bits Stored ask for {stored - 1}"
            raise PixelDecodingError(msg)
    frames = int(value_of(ds, "NumberOfFrames") or 1)
    decoded = rows * columns * samples * max(frames, 1) * max(allocated // 8, 1)
    if decoded > max_pixels_bytes:
        msg = f"the pixels take {decoded} bytes, more than {max_pixels_bytes}"
        raise PixelDecodingError(msg)
    payload = len(ds[keyword].value or b"")
    if not _transfer_syntax(ds).is_encapsulated:
        needed = decoded // 8 if allocated == 1 else decoded
        if str(ds.get("PhotometricInterpretation")) == "YBR_FULL_422":
            needed = needed * 2 // 3  # PS3.3 C.7.6.3.1.2: chroma is shared by two
        if payload < needed:
            msg = f"{payload} bytes of pixel data where {needed} are needed"
            raise PixelDecodingError(msg)
    elif decoded > max(_UNSUSPICIOUS_BYTES, _MAX_RATIO * payload):
        msg = f"{payload} compressed bytes claim to hold {decoded}"
        raise PixelDecodingError(msg)


def _is_laid_out(ds: Dataset) -> bool:
    """Return whether High Bit says where values are; a codestream says it itself."""
    syntax = _transfer_syntax(ds)
    return not syntax.is_encapsulated or syntax == RLELossless


def decode_frames(ds: Dataset, frame_numbers: Sequence[int]) -> Iterator[Frame]:
    """Decode frames of a checked data set, one after the other.

    Parameters
    ----------
    ds : pydicom.Dataset
        Checked by `check_pixels`.
    frame_numbers : sequence of int
        From 1.

    Yields
    ------
    numpy.ndarray
        See `Frame`.

    Raises
    ------
    PixelDecodingError
        A frame is missing or contradicts its data set.

    """
    decoder = _decoder(ds)
    for number in frame_numbers:
        _check_frame(ds, number)
        stored = _decode(decoder, ds, number)
        yield (
            _to_rgb(stored, ds) if _is_colour(ds) else _to_modality(stored, ds, number)
        )


def decode_stored(ds: Dataset, number: int) -> bytes:
    """Decode a frame to the values that it stores, as Explicit VR Little Endian.

    Samples are interleaved; YBR becomes RGB.

    Parameters
    ----------
    ds : pydicom.Dataset
        Checked by `check_pixels`.
    number : int
        Frame Number, from 1.

    Raises
    ------
    PixelDecodingError
        The frame is missing or contradicts its data set.

    """
    decoder = _decoder(ds)
    _check_frame(ds, number)
    stored = _decode(decoder, ds, number)
    return stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()


def _decoder(ds: Dataset) -> Decoder:
    try:
        return get_decoder(_transfer_syntax(ds))
    except NotImplementedError as error:
        msg = f"transfer syntax {_transfer_syntax(ds)} cannot be decoded"
        raise PixelDecodingError(msg) from error


def _check_frame(ds: Dataset, number: int) -> None:
    if not 1 <= number <= int(ds.get("NumberOfFrames") or 1):
        msg = f"there is no frame {number}"
        raise PixelDecodingError(msg)
    if _transfer_syntax(ds).is_encapsulated:
        _check_codestream(ds, number)


def _decode(decoder: Decoder, ds: Dataset, number: int) -> npt.NDArray[Any]:
    syntax = _transfer_syntax(ds)
    plugin = _PLUGINS.get(syntax, _DEFAULT_PLUGIN) if syntax.is_encapsulated else ""
    if syntax in _FAST and ds.SamplesPerPixel == 1:
        # What it does not read, rarer processes of JPEG among it, others may.
        with nullcontext() if syntax in _FAST_ALONE else suppress(RuntimeError):
            array, _ = decoder.as_array(
                ds, index=number - 1, decoding_plugin=FAST_PLUGIN
            )
            return array
    # YBR becomes RGB here; for JPEG 2000 the codestream decides, not the header.
    array, _ = decoder.as_array(ds, index=number - 1, decoding_plugin=plugin)
    return array


def _check_codestream(ds: Dataset, number: int) -> None:
    frame = get_frame(
        ds.PixelData, number - 1, number_of_frames=int(ds.get("NumberOfFrames") or 1)
    )
    if _transfer_syntax(ds) == RLELossless:
        decoded = ds.Rows * ds.Columns * ds.SamplesPerPixel * (ds.BitsAllocated // 8)
        if decoded > _MAX_RLE_RATIO * len(frame):
            msg = f"{len(frame)} bytes of RLE claim to hold {decoded}"
            raise PixelDecodingError(msg)
        return
    size = codestream_size(frame)
    if size is not None and size != (ds.Rows, ds.Columns):
        msg = f"the codestream holds {size[0]} x {size[1]} pixels, not Rows x Columns"
        raise PixelDecodingError(msg)
    precision = codestream_precision(frame)
    if precision is not None and precision > ds.BitsAllocated:
        # The upper bits would be cut off.
        raise PixelDecodingError("the codestream holds values beyond Bits Allocated")
    if not has_end(frame):
        raise PixelDecodingError("the codestream ends before its End of Image marker")


def _to_rgb(stored: npt.NDArray[Any], ds: Dataset) -> npt.NDArray[np.uint8]:
    if str(ds.PhotometricInterpretation) == "PALETTE COLOR":
        stored = apply_color_lut(stored, ds)[..., :3]
        bits = stored.dtype.itemsize * 8
    else:
        stored = stored[..., :3]
        bits = int(ds.BitsStored)
    if bits <= 8:
        return stored.astype(np.uint8)
    return (stored >> (bits - 8)).astype(np.uint8)


def _to_modality(
    stored: npt.NDArray[Any], ds: Dataset, number: int
) -> npt.NDArray[np.float32]:
    is_inverse = str(ds.PhotometricInterpretation) == "MONOCHROME1"
    low, high = _stored_range(stored, ds)
    outside = _outside(stored, ds)
    if _transfer_syntax(ds) in _LOSSLESS:
        _check_range(stored if outside is None else stored[~outside], low, high)
    if table := ds.get("ModalityLUTSequence"):
        looked_up = _look_up(stored, table[0], is_inverse=is_inverse)
    else:
        slope, intercept = _rescale(ds, number)
        looked_up = np.empty(stored.shape, np.float32)
        GreyScale(
            slope=slope,
            intercept=intercept,
            ends=(low * slope + intercept, high * slope + intercept),
            is_inverse=is_inverse,
        ).apply(stored, out=looked_up)
    if outside is not None:
        darken_outside(looked_up, outside)
    return looked_up


def _check_range(inside: npt.NDArray[Any], low: float, high: float) -> None:
    """Refuse values that Bits Stored cannot express.

    Unused bits that a codestream holds may be an overlay, the sign of a value or a part
    of one that the header forgot: nothing tells which.
    """
    if inside.size and not (low <= inside.min() and inside.max() <= high):
        raise PixelDecodingError("the codestream holds values beyond Bits Stored")


def _look_up(
    stored: npt.NDArray[Any], item: Dataset, *, is_inverse: bool
) -> npt.NDArray[np.float32]:
    """Apply a modality LUT, PS3.3 C.11.1.1.1."""
    lut = np.asarray(item.LUTData, np.float64)
    if is_inverse:
        lut = float(lut.min()) + float(lut.max()) - lut
    first = int(item.LUTDescriptor[1])
    index = np.clip(stored.astype(np.int64) - first, 0, len(lut) - 1)
    return lut[index].astype(np.float32)


def _rescale(ds: Dataset, number: int) -> tuple[float, float]:
    # Functional groups (PS3.3 C.7.6.16.2.9) replace the top level.
    candidates = [ds]
    for keyword, index in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", number - 1),
    ):
        groups = value_of(ds, keyword) or []
        if index < len(groups):
            candidates[:0] = groups[index].get("PixelValueTransformationSequence") or []
    for candidate in candidates:
        slope = _number(value_of(candidate, "RescaleSlope"))
        intercept = _number(value_of(candidate, "RescaleIntercept"))
        # Half of them means nothing; pydicom and DCMTK leave it out, too.
        if slope and intercept is not None:
            return slope, intercept
    return 1.0, 0.0


def _number(value: Any) -> float | None:
    """Return a finite number; None where an element is absent, empty or several."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _stored_range(stored: npt.NDArray[Any], ds: Dataset) -> tuple[float, float]:
    if stored.dtype.kind == "f":
        finite = stored[np.isfinite(stored)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    bits = int(ds.BitsStored)
    if ds.PixelRepresentation:
        return -float(2 ** (bits - 1)), float(2 ** (bits - 1) - 1)
    return 0.0, float(2**bits - 1)


def _outside(stored: npt.NDArray[Any], ds: Dataset) -> npt.NDArray[np.bool_] | None:
    """Return where there is padding, or no number; None: nowhere."""
    kind = {"FloatPixelData": "Float", "DoubleFloatPixelData": "DoubleFloat"}.get(
        _pixel_keyword(ds), ""
    )
    outside = ~np.isfinite(stored) if kind else None
    value = ds.get(f"{kind}PixelPaddingValue")
    if isinstance(value, int | float):
        limit = ds.get(f"{kind}PixelPaddingRangeLimit")
        other = limit if isinstance(limit, int | float) else value
        low, high = min(value, other), max(value, other)
        padding = (stored >= low) & (stored <= high)
        outside = padding if outside is None else outside | padding
    return outside


def _is_colour(ds: Dataset) -> bool:
    return (
        ds.SamplesPerPixel != 1
        or str(ds.get("PhotometricInterpretation")) == "PALETTE COLOR"
    )


def _pixel_keyword(ds: Dataset) -> str:
    for keyword in _KEYWORDS:
        if keyword in ds:
            return keyword
    raise PixelDecodingError("there is no pixel data")


def _transfer_syntax(ds: Dataset) -> UID:
    return UID(ds.file_meta.TransferSyntaxUID)
