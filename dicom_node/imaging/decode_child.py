"""The decoding process: its entry point, its limits, and the one request it knows.

It imports pydicom, NumPy and the decoders, and writes decoded frames at their place
in a file that the parent maps.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import warnings
from functools import lru_cache
from pathlib import Path

from pydicom import Dataset

from dicom_node.child_process import Answer, Tell, answer_requests
from dicom_node.errors import OutOfResourcesError, PixelDecodingError
from dicom_node.imaging.dataset import read_dataset
from dicom_node.imaging.decode import check_pixels, decode_frames, decode_stored

__all__ = ["main"]


def main() -> None:
    """Set the limits and answer requests until the parent has enough.

    The arguments are the socket's number and the limit of the address space in
    bytes.
    """
    socket_fd, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    # Warnings of decoders quote values; nobody reads them here.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    answer_requests(_decode_within_limits, socket_fd=socket_fd)


def _decode_within_limits(request: Answer, _tell: Tell) -> Answer:
    try:
        return _decode(request)
    except MemoryError as error:
        raise PixelDecodingError("it takes more memory than is allowed") from error


def _decode(request: Answer) -> Answer:
    """Decode frames of one file into the output file.

    The request holds ``path``; ``frames``: pairs of Frame Number and place in the
    output; ``files``: the output; ``shape`` and ``itemsize`` of a frame;
    ``max_pixels_bytes``.
    With ``stored``, a Frame Number, instead of ``frames`` that frame's stored values
    are the output.
    """
    ds = _open(request["path"], request["max_pixels_bytes"])
    if "stored" in request:
        data = decode_stored(ds, request["stored"])
        file = os.open(request["files"][0], os.O_WRONLY)
        try:
            _write(file, memoryview(data), 0)
        finally:
            os.close(file)
        return {}
    shape = tuple(request["shape"])
    numbers = [number for number, _ in request["frames"]]
    file = os.open(request["files"][0], os.O_WRONLY)
    try:
        frames = decode_frames(ds, numbers)
        for (_, place), frame in zip(request["frames"], frames, strict=True):
            if frame.shape != shape or frame.itemsize != request["itemsize"]:
                raise PixelDecodingError("decoded frames differ from the header")
            _write(file, memoryview(frame.tobytes()), place * frame.nbytes)
    finally:
        os.close(file)
    return {}


@lru_cache(maxsize=1)  # the portions of a long loop come one after the other
def _open(path: str, max_pixels_bytes: int) -> Dataset:
    ds = read_dataset(Path(path))
    check_pixels(ds, max_pixels_bytes=max_pixels_bytes)
    return ds


def _write(file: int, data: memoryview, offset: int) -> None:
    try:
        while data:
            written = os.pwrite(file, data, offset)
            data, offset = data[written:], offset + written
    except OSError as error:
        raise OutOfResourcesError("decoded pixels cannot be written") from error


if __name__ == "__main__":
    main()
