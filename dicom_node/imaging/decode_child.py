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
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.child.answers import Answer, Tell, answer_requests
from dicom_node.errors import OutOfResourcesError, PixelDecodingError
from dicom_node.imaging.dataset import read_dataset
from dicom_node.imaging.decode import (
    Frame,
    check_pixels,
    decode_frames,
    decode_stored,
)
from dicom_node.imaging.fast_codecs import use_threads
from dicom_node.imaging.plain import PlainImage, read_plain_image
from dicom_node.imaging.plain_coded import CodedImage, read_coded_image

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
    """Decode frames of some files into the output file.

    The request holds ``images``: of each its ``path`` and ``frames``, pairs of Frame
    Number and place in the output; ``files``: the output; ``shape`` and ``itemsize``
    of a frame; ``max_pixels_bytes`` of an image; ``threads`` that may share a frame.
    With ``path`` and ``stored``, a Frame Number, instead of ``images`` that frame's
    stored values are the output.
    """
    most = request["max_pixels_bytes"]
    output = os.open(request["files"][0], os.O_WRONLY)
    try:
        if "stored" in request:
            data = decode_stored(_open(request["path"], most), request["stored"])
            _write(output, memoryview(data), 0)
            return {}
        use_threads(request["threads"])
        shape, itemsize = tuple(request["shape"]), request["itemsize"]
        for image in request["images"]:
            for place, frame in _frames(image, most):
                if frame.shape != shape or frame.itemsize != itemsize:
                    raise PixelDecodingError("decoded frames differ from the header")
                plain_bytes = frame.reshape(-1).view(np.uint8).data
                _write(output, plain_bytes, place * frame.nbytes)
    finally:
        os.close(output)
    return {}


def _frames(image: Answer, max_pixels_bytes: int) -> Iterator[tuple[int, Frame]]:
    """Yield frames with their places; the next one may lie in the same memory."""
    numbers = [number for number, _ in image["frames"]]
    places = [place for _, place in image["frames"]]
    plain = _read_plain(image["path"], max_pixels_bytes) if numbers == [1] else None
    if plain is not None:
        yield places[0], plain
        return
    ds = _open(image["path"], max_pixels_bytes)
    yield from zip(places, decode_frames(ds, numbers), strict=True)


def _read_plain(path: str, max_pixels_bytes: int) -> Frame | None:
    file = os.open(path, os.O_RDONLY)
    try:
        image: PlainImage | CodedImage | None
        image = read_plain_image(file, max_pixels_bytes=max_pixels_bytes)
        if image is None:
            image = read_coded_image(file, max_pixels_bytes=max_pixels_bytes)
        if image is None:
            return None
        stored, values = _room(image.shape)
        return values if image.read(file, stored=stored, values=values) else None
    finally:
        os.close(file)


@lru_cache(maxsize=1)  # slices of a series are of one size
def _room(shape: tuple[int, int]) -> tuple[bytearray, npt.NDArray[np.float32]]:
    return bytearray(2 * shape[0] * shape[1]), np.empty(shape, np.float32)


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
