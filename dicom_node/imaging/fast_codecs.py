"""Decode grey JPEG and JPEG 2000 frames by imagecodecs: a plug-in for pydicom.

Its decoders are libjpeg-turbo and OpenJPEG, handed whole arrays without a stream
between. Colour, whose meaning each library reads differently, is left to the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
from imagecodecs import jpeg2k_decode, jpeg8_decode
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

from dicom_node.imaging.codestream import codestream_precision, codestream_size

__all__ = [
    "FAST_PLUGIN",
    "add_fast_codecs",
    "decode_frame",
    "decode_grey",
    "is_available",
    "use_threads",
]

FAST_PLUGIN = "imagecodecs"
"""Its name among pydicom's."""

_threads = 1


def use_threads(count: int) -> None:
    """Let so many threads of this process share a frame of JPEG 2000 from now on.

    OpenJPEG decodes the code-blocks of a frame side by side (ISO/IEC 15444-1 B.7).
    """
    global _threads
    _threads = count


def _decode_jpeg2000(frame: bytes) -> npt.NDArray[Any]:
    return jpeg2k_decode(frame, numthreads=_threads)


_CODECS: dict[UID, Callable[[bytes], npt.NDArray[Any]]] = {
    **dict.fromkeys(
        (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1),
        jpeg8_decode,
    ),
    # Its OpenJPH is twice as fast for HTJ2K, and gives noise for a damaged frame
    # where OpenJPEG says that it is one.
    **dict.fromkeys(
        (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
        _decode_jpeg2000,
    ),
}


def add_fast_codecs() -> frozenset[UID]:
    """Tell pydicom of the plug-in; return the transfer syntaxes that it decodes."""
    for syntax in _CODECS:
        decoder = get_decoder(syntax)
        if FAST_PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(FAST_PLUGIN, (__name__, decode_frame.__name__))
    return frozenset(_CODECS)


def is_available(uid: str) -> bool:
    """Return whether a transfer syntax is decoded here; pydicom asks this."""
    return uid in _CODECS


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode a grey frame to its samples; pydicom calls this.

    Parameters
    ----------
    src : bytes
        One compressed frame.
    runner : pydicom.pixels.decoders.base.DecodeRunner
        Knows the data set's description of it, and learns the size of a sample.

    Raises
    ------
    RuntimeError
        It cannot be decoded, or is not what its data set says.

    """
    array = decode_grey(src, runner.transfer_syntax, size=(runner.rows, runner.columns))
    # As wide as the codestream's precision asks for.
    runner.set_option("bits_allocated", 8 * array.itemsize)
    return array.tobytes()


def decode_grey(
    frame: bytes, transfer_syntax_uid: str, *, size: tuple[int, int]
) -> npt.NDArray[Any]:
    """Decode a grey frame.

    Parameters
    ----------
    frame : bytes
        One compressed frame.
    transfer_syntax_uid : str
        One for which `is_available`.
    size : tuple of int
        Rows and columns that it must have.

    Returns
    -------
    numpy.ndarray
        ``(rows, columns)``, as wide as the codestream's precision asks for.

    Raises
    ------
    RuntimeError
        It cannot be decoded, is not of this size, or gives values that it cannot
        hold.

    """
    # A decoder looks for a size beyond bytes where `codestream_size` gives up.
    if codestream_size(frame) != size:
        raise RuntimeError("the frame does not say its size, or another")
    array = _CODECS[UID(transfer_syntax_uid)](frame)
    if array.shape != size:
        raise RuntimeError("the frame is not what its header says")
    precision = codestream_precision(frame)
    if precision is not None and int(array.max()) >> precision:
        # Of a damaged lossless frame, libjpeg-turbo says so in a warning alone.
        raise RuntimeError("the frame is damaged: it gives values beyond its range")
    return array
