"""A single large value of an instance, found by the path that its metadata names."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
from pydicom import Dataset

from dicom_node.errors import DicomwebError
from dicom_node.imaging.dataset import quiet_reading

__all__ = ["PIXEL_PATHS", "read_bulk"]

PIXEL_PATHS = frozenset({"7FE00008", "7FE00009", "7FE00010"})
"""The pixels; these are given frame by frame."""

_PATH = re.compile(r"[0-9A-Fa-f]{8}(/[0-9]{1,6}/[0-9A-Fa-f]{8}){0,64}")


def read_bulk(path: Path, place: str) -> bytes:
    """Return a value as it is stored.

    Parameters
    ----------
    path : pathlib.Path
        The instance's file.
    place : str
        A tag, or tags with the numbers of the items between them, from 0.

    Raises
    ------
    DicomwebError
        There is no such value, or the file cannot be read.

    """
    if not _PATH.fullmatch(place):
        raise DicomwebError("the address names no attribute", status=400)
    *outer, last = place.split("/")
    try:
        with quiet_reading():
            ds: Dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            for name, number in zip(outer[::2], outer[1::2], strict=True):
                ds = ds[int(name, 16)].value[int(number)]
            tag = int(last, 16)
            value = ds.get_item(tag).value if tag in ds else None
    except FileNotFoundError as error:
        raise DicomwebError("the instance's file is gone", status=404) from error
    except (KeyError, IndexError, TypeError):
        value = None
    except Exception as error:  # hostile bytes raise nearly anything in pydicom
        raise DicomwebError("the instance cannot be read", status=500) from error
    if not isinstance(value, bytes):
        raise DicomwebError("there is no such value", status=404)
    return value
