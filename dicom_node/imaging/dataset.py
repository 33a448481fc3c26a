"""Read a data set from a file that may be hostile."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.config import IGNORE, logger, settings
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import ImagingError, PixelDecodingError
from dicom_node.imaging.plain import transfer_syntax_of
from dicom_node.quiet import quiet

__all__ = [
    "is_deflated",
    "quiet_reading",
    "read_dataset",
    "unsigned_short",
    "value_of",
    "values_of",
]

_MAX_HEADER_ELEMENT_BYTES = 1 << 20
"""Longer values of a header are left in the file and count as absent."""

_HEAD_BYTES = 1 << 12
"""Holds the file meta information of nearly every file."""

_LOCK = threading.RLock()


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Silence what pydicom says about values, which it quotes: they name patients.

    The logger and the validation mode belong to the process, so one thread
    at a time.
    """
    with _LOCK, quiet():
        mode, was_disabled = settings.reading_validation_mode, logger.disabled
        settings.reading_validation_mode, logger.disabled = IGNORE, True
        try:
            yield
        finally:
            settings.reading_validation_mode, logger.disabled = mode, was_disabled


def read_dataset(
    path: Path, *, specific_tags: Sequence[str] | None = None
) -> pydicom.FileDataset:
    """Read a data set; with `specific_tags` only these, without pixels.

    Raises
    ------
    ImagingError
        The data set is deflated.
    Exception
        Whatever pydicom raises on broken input, which is no closed list: the
        caller is the door.

    """
    tags = None if specific_tags is None else list(specific_tags)
    if is_deflated(path):
        # pydicom inflates it whole, and 1 MiB of it can hold 1 GiB of zeros.
        raise ImagingError("deflated data sets are not processed")
    ds = pydicom.dcmread(
        path,
        force=True,
        specific_tags=tags,
        stop_before_pixels=tags is not None,
        defer_size=None if tags is None else _MAX_HEADER_ELEMENT_BYTES,
    )
    if "TransferSyntaxUID" not in ds.file_meta:
        ds.file_meta.TransferSyntaxUID = _guessed_syntax(ds)
    if tags is not None:
        _drop_deferred(ds)
    return ds


def _guessed_syntax(ds: pydicom.FileDataset) -> UID:
    """Return the transfer syntax as which a bare data set was read."""
    is_implicit, is_little = ds.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian


def unsigned_short(ds: Dataset, keyword: str) -> int:
    """Return a number from 1 to 65535 that describes the pixels.

    A hostile file may store it with another VR, several values or none: what is not
    an unsigned short (PS3.6) is not believed.

    Raises
    ------
    PixelDecodingError
        It is absent, or no such number.

    """
    tag = _tag_of(keyword)
    element = ds[tag] if tag in ds.keys() else None  # noqa: SIM118 - see `value_of`
    value = element.value if element is not None and element.VR == "US" else None
    if not isinstance(value, int) or not 1 <= value <= 0xFFFF:
        raise PixelDecodingError(f"{keyword} is not a number from 1 to 65535")
    return value


def _drop_deferred(ds: Dataset) -> None:
    for tag in list(ds.keys()):
        element = ds.get_item(tag, keep_deferred=True)
        if (
            isinstance(element, RawDataElement)
            and element.value is None
            and element.length > 0
        ):
            del ds[tag]


def is_deflated(path: Path) -> bool:
    """Return whether a file's data set is deflated as a whole."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[128:132] != b"DICM":
        return False
    if (syntax := transfer_syntax_of(head)) is not None:
        return syntax == DeflatedExplicitVRLittleEndian
    meta = read_file_meta_info(path)
    return str(meta.get("TransferSyntaxUID")) == DeflatedExplicitVRLittleEndian


def value_of(ds: Dataset, keyword: str) -> Any:
    """Return the value of an element; None where it is absent.

    It is `Dataset.get` without its way by attributes and without making a tag of what
    is one, which take many times as long.
    """
    tag = _tag_of(keyword)
    return ds[tag].value if tag in ds.keys() else None  # noqa: SIM118 - see above


@lru_cache(maxsize=512)  # the keywords of this program
def _tag_of(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    return Tag(tag)


def values_of(ds: Dataset, keyword: str) -> list[Any]:
    """Return the values of an element; none where it is absent or empty."""
    value = value_of(ds, keyword)
    if value is None or isinstance(value, str):
        return [value] if value else []
    return list(value) if hasattr(value, "__iter__") else [value]
